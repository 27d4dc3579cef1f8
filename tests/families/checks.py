"""What a family must do: the checks of one row of docs/families.md."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from flythinker import FlyThinkerForCausalLM
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.errors import FlyThinkerError
from flythinker.generation.batch_writer import BatchWriter, generate_texts
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model.cache import CACHE_NAME
from flythinker.model_folder import PersonalModel
from tiny import EOS, PAD, VOCAB, padded, random_ids
from tiny_families import tiny_parts

NEAR = {"atol": 2e-3, "rtol": 2e-3}
LENGTHS = (17, 9)  # of prompts; longer than every window
GREEDY = Sampling(max_new_tokens=12, min_new_tokens=12, temperature=0)


@dataclass
class Row:
    """What was seen of a family.

    Attributes:
        name: its model type.
        failed: what went wrong in a check, by the check's name; nothing where all is well.
        refusal: why no `Writer` writes with it; empty where one does.
    """

    name: str
    failed: dict[str, str] = field(default_factory=dict)
    refusal: str = ""

    @property
    def verdict(self) -> str:
        """ "whole", "general way", "refused" or what is wrong."""
        if not self.failed:
            return "general way" if self.refusal else "whole"
        return "refused" if self.failed.keys() == {"refused"} else "wrong"


def check_family(name: str) -> Row:
    """Try everything with a tiny model of a family."""
    row = Row(name)
    try:
        model = _model(name)
    except FlyThinkerError as refusal:
        row.failed["refused"] = str(refusal)
        return row
    with TemporaryDirectory() as folder:
        checks: dict[str, Callable[[], None]] = {
            "forward": lambda: _forward(model),
            "cached": lambda: _cached(model),
            "padded": lambda: _padded(model),
            "saved": lambda: _saved(model, Path(folder)),
            "LoRA": lambda: _lora(model),
            "writer": lambda: _writes(model, row, draft_tokens=0),
            "drafts": lambda: _writes(model, row, draft_tokens=8),
        }
        for check, run in checks.items():
            try:
                run()
            except Exception as error:  # whatever a family does is a cell of the table
                row.failed[check] = f"{type(error).__name__}: {error}".partition("\n")[0]
    return row


def _model(name: str) -> FlyThinkerForCausalLM:
    generator, reasoner = tiny_parts(name)
    return FlyThinkerForCausalLM.from_generator_reasoner_pretrained(generator, reasoner)


@torch.no_grad()
def _forward(model: FlyThinkerForCausalLM) -> None:
    ids = random_ids(2, 12)
    with_thoughts, without = model(ids).logits, model(ids, fusion_weight=0).logits
    assert with_thoughts.isfinite().all(), "logits are not finite"
    assert not torch.allclose(with_thoughts, without), "thoughts change nothing"


@torch.no_grad()
def _cached(model: FlyThinkerForCausalLM) -> None:
    ids = random_ids(2, 18)
    read = model(ids[:, :10], use_cache=True)
    pieces, cache = [read.logits], read[CACHE_NAME]
    for column in range(10, 18):
        pieces.append(model(ids[:, column : column + 1], cache=cache).logits)
    _assert_same(torch.cat(pieces, dim=1), model(ids).logits, "cached")


@torch.no_grad()
def _padded(model: FlyThinkerForCausalLM) -> None:
    rows = [random_ids(length, seed=length) for length in LENGTHS]
    logits = model(**padded(rows, "left")).logits
    for row, own in zip(rows, logits, strict=True):
        _assert_same(own[-len(row) :], model(row[None]).logits[0], "padded")


@torch.no_grad()
def _saved(model: FlyThinkerForCausalLM, folder: Path) -> None:
    ids = random_ids(1, 20)
    model.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    _assert_same(loaded(ids).logits, model(ids).logits, "loaded")


def _lora(model: FlyThinkerForCausalLM) -> None:
    ids = random_ids(2, 16)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(copy.deepcopy(model), config)
    weights = [each for each in adapted.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-3)
    before = adapted(ids, labels=ids).loss
    before.backward()
    optimizer.step()
    names = [name for name, each in adapted.named_parameters() if each.grad is not None]
    for part in ("generator", "reasoner"):
        assert any(part in name for name in names), f"the {part} learns nothing"
    assert adapted(ids, labels=ids).loss < before, "a step does not lower the loss"


def _writes(model: FlyThinkerForCausalLM, row: Row, draft_tokens: int) -> None:
    prompts = [Prompt(_repeating(length), [], ()) for length in LENGTHS]
    # that begins as one before: a Writer does not read the beginning again
    prompts.append(Prompt([*prompts[0].prompt_ids, 5, 9, 4], [], ()))
    personal = _personal(model)
    writer: Writer | BatchWriter
    try:
        writer = Writer(_personal(copy.deepcopy(model)), slots=2, draft_tokens=draft_tokens)
    except FlyThinkerError as refusal:
        row.refusal = str(refusal)
        if draft_tokens:  # written without them, as before
            return
        writer = BatchWriter(personal, generate_texts, 2)
    texts = writer.write(prompts, GREEDY)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text == generate_texts(personal, [prompt], [GREEDY])[0], "another text"


def _repeating(length: int) -> list[int]:
    """A prompt in which the same tokens come again: something to look drafts up in."""
    return (random_ids(7, seed=length).tolist() * length)[:length]


def _personal(model: FlyThinkerForCausalLM) -> PersonalModel:
    words = {f"w{number}": number for number in range(VOCAB)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=f"w{PAD}"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=f"w{EOS}", pad_token=f"w{PAD}"
    )
    return PersonalModel(model, fast, PromptConfig(), {})


def _assert_same(logits: Tensor, expected: Tensor, what: str) -> None:
    off = (logits - expected).abs().max().item()
    assert torch.allclose(logits, expected, **NEAR), f"{what} logits are off by {off:.1g}"
