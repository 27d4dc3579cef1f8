import pytest
import torch
from given_texts import GivenTexts
from torch import nn
from torch.testing import assert_close

from flythinker.errors import FlyThinkerError
from flythinker.generation.cpu.int8 import Int8Linear, int8_linear, rounded_linear
from flythinker.hardware import can_use_int8, processor
from tiny import random_ids, tiny_flythinker


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
@pytest.mark.parametrize("tokens", [1, 5])
def test_one_row_and_many_are_multiplied_by_the_rounded_weight(bias, dtype, tolerance, tokens):
    torch.manual_seed(0)
    linear = nn.Linear(64, 32, bias=bias, dtype=dtype)
    x = torch.randn(1, tokens, 64, dtype=dtype)
    with torch.inference_mode():
        expected = rounded_linear(linear)(x)
        assert_close(int8_linear(linear)(x), expected, atol=tolerance, rtol=tolerance)
        assert not torch.equal(expected, linear(x))


def test_the_kernel_is_used_where_it_is_fast():
    float32, bf16 = (nn.Linear(64, 32, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert type(int8_linear(float32)) is not Int8Linear
    if not can_use_int8(torch.bfloat16):
        pytest.skip(f"{processor().name} has no 8-bit kernel ({processor().aten})")
    assert type(int8_linear(bf16)) is Int8Linear


def test_rounding_is_within_half_a_step_of_each_row():
    torch.manual_seed(0)
    linear = nn.Linear(64, 32, bias=False)
    with torch.no_grad():
        linear.weight[3] *= 100  # a row of large weights costs the others nothing
    step = linear.weight.abs().amax(dim=1, keepdim=True) / 127
    error = (rounded_linear(linear).weight - linear.weight).abs()
    assert (error <= step / 2 + 1e-6).all()


@pytest.mark.parametrize("part", ["generator", "reasoner"])
def test_the_runner_rounds_the_parts_that_are_named(part):
    reference, model = tiny_flythinker(), tiny_flythinker()
    for module in list(getattr(reference, part).modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                setattr(module, name, rounded_linear(child))
    rounded, expected = GivenTexts(model, 1, int8=[part]), GivenTexts(reference, 1)
    prompt = random_ids(9).tolist()
    logits = rounded.join(prompt)
    assert_close(logits, expected.join(prompt), atol=1e-4, rtol=0)
    assert not torch.allclose(logits, GivenTexts(tiny_flythinker(), 1).join(prompt), atol=1e-4)
    for token in random_ids(3, seed=1):
        ids = token.view(1, 1)
        assert_close(rounded.read(ids), expected.read(ids), atol=1e-4, rtol=0)


def test_layers_elsewhere_are_refused():
    with pytest.raises(FlyThinkerError, match="8-bit layers are for the CPU"):
        int8_linear(nn.Linear(4, 4, device="meta"))
