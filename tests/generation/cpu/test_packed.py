import pytest
import torch
from torch import nn
from torch.testing import assert_close

from flythinker.generation.cpu.packed import PackedLinear, pack, packed
from flythinker.hardware import can_pack, processor
from tiny import FAMILIES, random_ids, tiny_generator


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("tokens", [1, 7, 40])
def test_it_computes_what_the_linear_layer_does(bias, dtype, tolerance, tokens):
    if not can_pack(dtype):
        pytest.skip(f"{processor().name} packs no {dtype} ({processor().instruction_sets})")
    torch.manual_seed(0)
    linear = nn.Linear(48, 32, bias=bias).to(dtype)
    x = torch.randn(2, tokens, 48, dtype=dtype)
    with torch.inference_mode():
        assert_close(PackedLinear(linear)(x), linear(x), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_packed_model_has_the_same_logits_and_embeddings(family):
    model, ids = tiny_generator(family), random_ids(2, 9)
    with torch.inference_mode():
        expected = model(ids).logits
        pack(model)
        assert_close(model(ids).logits, expected, atol=1e-4, rtol=0)
    assert not any(type(module) is nn.Linear for module in model.modules())
    assert model.get_input_embeddings().weight.shape[0] == 128  # a tied table stays to be looked up


def test_what_cannot_be_packed_stays():
    layers = nn.Sequential(nn.Linear(4, 4, dtype=torch.float64), nn.Linear(4, 4, device="meta"))
    pack(layers)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.Linear]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_layer_that_cannot_be_packed_here_is_the_plain_one(dtype):
    linear = nn.Linear(48, 32, dtype=dtype)
    layer = packed(linear)
    assert type(layer) is (PackedLinear if can_pack(dtype) else nn.Linear)
    x = torch.randn(1, 48, dtype=dtype)
    assert_close(layer(x), linear(x), atol=2e-2, rtol=2e-2)
