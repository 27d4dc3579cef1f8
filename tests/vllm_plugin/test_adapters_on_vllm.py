"""Persons' adapters by vLLM's multi-LoRA: each text is that of the merged model."""

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from dataclasses import replace
from pathlib import Path
from typing import Any

from parity import config, greedy, largest_difference, model, prompts, write, written
from test_families_on_vllm import SETTINGS
from torch import nn

from flythinker import FlyThinkerForCausalLM
from flythinker.adapter import Adapter, save_for_vllm
from random_adapters import merged, random_adapter

TOKENS = 24
LORA = {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 4, "max_lora_rank": 8}


def adapters_of(ours: FlyThinkerForCausalLM) -> dict[str, Adapter]:
    """Two persons' of the Reasoner (with the projection), and one of the Generator."""
    made = {
        "ann": random_adapter(ours, "reasoner", seed=1),
        "ben": random_adapter(ours, "reasoner", seed=2, rank=8),
        "cleo": random_adapter(ours, "generator", seed=3),
    }
    return {who: replace(one, about=replace(one.about, scale=2.0)) for who, one in made.items()}


class Persons:
    """Persons with adapters, and "nobody": what vLLM and transformers write with them."""

    def __init__(self, ours: FlyThinkerForCausalLM, folder: Path) -> None:
        from vllm.lora.request import LoRARequest

        self.models, self.requests = {"nobody": ours}, {"nobody": None}
        for number, (who, adapter) in enumerate(adapters_of(ours).items(), 1):
            save_for_vllm(folder / who, adapter)
            self.models[who] = merged(ours, adapter)
            self.requests[who] = LoRARequest(who, number, str(folder / who))

    def check(self, llm: Any, who: list[str], batch: list[list[int]]) -> list[Any]:
        """Write a batch; each text must be that of the person's own model."""
        outputs = write(llm, batch, TOKENS, [self.requests[one] for one in who])
        own = [self.models[one] for one in who]
        assert written(outputs) == [greedy(m, p, TOKENS) for m, p in zip(own, batch, strict=True)]
        differences = [largest_difference(m, o) for m, o in zip(own, outputs, strict=True)]
        assert max(differences) < 1e-3
        return outputs


@pytest.fixture(scope="module")
def ours() -> FlyThinkerForCausalLM:
    return model(config("llama", 64), config("llama", 32), projection="linear")


@pytest.fixture(scope="module")
def llm(start: Any, ours: FlyThinkerForCausalLM) -> Any:
    return start(ours, **LORA)


@pytest.fixture(scope="module")
def persons(ours: FlyThinkerForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Persons:
    return Persons(ours, tmp_path_factory.mktemp("adapters"))


def test_persons_write_differently(persons: Persons) -> None:
    """Else nothing below would show a missing change."""
    for prompt in prompts(40, 70):
        texts = {tuple(greedy(own, prompt, TOKENS)) for own in persons.models.values()}
        assert len(texts) == len(persons.models)


def test_each_alone(llm: Any, persons: Persons) -> None:
    for who in persons.models:
        persons.check(llm, [who], prompts(50, seed=1))


def test_several_in_one_batch(llm: Any, persons: Persons) -> None:
    """More persons than vLLM has places for, in chunks of 32 tokens, and texts of nobody."""
    who = ["ann", "nobody", "ben", "ann", "nobody", "cleo", "ben"]
    persons.check(llm, who, prompts(1, 7, 33, 64, 100, 150, 20, seed=2))


def test_a_prompt_read_with_one_adapter_serves_no_other(llm: Any, persons: Persons) -> None:
    prefix, end = prompts(96, 5, seed=3)
    for cached in (0, 96):
        for who in persons.models:
            (output,) = persons.check(llm, [who], [prefix + end])
            assert output.num_cached_tokens == cached


def test_an_adapter_of_another_model(llm: Any, persons: Persons, tmp_path: Path) -> None:
    """Of the same sizes; what is written meanwhile goes on."""
    from vllm.lora.request import LoRARequest

    other = model(config("llama", 64), config("llama", 32, initializer_range=0.1))
    save_for_vllm(tmp_path / "dan", random_adapter(other))
    with pytest.raises(Exception, match="made for another model"):
        llm.llm_engine.add_lora(LoRARequest("dan", 9, str(tmp_path / "dan")))
    persons.check(llm, ["ann"], prompts(40, seed=4))


def test_two_families_with_adapters(start_one: Any, tmp_path: Path) -> None:
    gemma = config("gemma3_text", 64, **SETTINGS["gemma3_text"])
    ours = model(gemma, config("qwen3", 64), projection="linear", fusion_weight=2.0)
    persons = Persons(ours, tmp_path / "adapters")
    persons.check(start_one(ours, **LORA), ["ann", "cleo", "nobody"], prompts(40, 9, 70, seed=5))


class Joining(nn.Module):
    """A part in which vLLM joins some layers under one name."""

    def __init__(self, *layers: str) -> None:
        super().__init__()
        self.packed_modules_mapping = {"qkv_proj": list(layers)}


@pytest.mark.parametrize(
    ("reasoner", "said"),
    [
        (Joining("q_proj", "k_proj", "v_proj"), "which vLLM's class has not as such a layer"),
        (Joining("qkv_proj"), "join other layers under one name"),
    ],
)
def test_parts_that_cannot_take_adapters(reasoner: Joining, said: str) -> None:
    from vllm.config.lora import LoRAConfig

    from flythinker.vllm_plugin.adapters import restrict

    parts = nn.ModuleDict(
        {"generator": Joining("q_proj", "k_proj", "v_proj"), "reasoner": reasoner}
    )
    with pytest.raises(ValueError, match=said):
        restrict(LoRAConfig(), parts, ["reasoner.q_proj"])
