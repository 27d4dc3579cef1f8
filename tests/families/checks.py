"""What a family must do: the checks of one row of docs/families.md."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import LoraConfig, get_peft_model
from tiny_families import tiny_parts
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from flythinker import FlyThinkerForCausalLM
from flythinker.data.prompt import Prompt, PromptConfig
from flythinker.generation.batch_writer import generate_texts
from flythinker.generation.sampling import Sampling
from flythinker.generation.writer import Writer
from flythinker.model.cache import CACHE_NAME
from flythinker.model_folder import PersonalModel
from tiny import EOS, PAD, VOCAB, padded, random_ids

NEAR = {"atol": 2e-3, "rtol": 2e-3}
LENGTHS = (17, 9)  # of prompts; longer than every window
GREEDY = Sampling(max_new_tokens=12, min_new_tokens=12, temperature=0)


class FamilyItself(AssertionError):
    """Something that a family's own model in transformers does not do either."""


@dataclass
class Row:
    """What was seen of a family.

    Attributes:
        name: its model type.
        failed: what went wrong in a check, by the check's name; nothing where all is well.
        notes: what the family's own model does not do either, by the check's name.
        slower: why a `Writer` writes its texts one after the other; empty where it need not.
    """

    name: str
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    slower: str = ""

    @property
    def verdict(self) -> str:
        """One word for the family, see docs/families.md."""
        if "fails" in self.notes.get("cached", ""):
            return "fails in transformers"
        if not self.failed:
            return "general way" if self.slower else "whole"
        return "refused" if self.failed.keys() == {"refused"} else "wrong"


def check_family(name: str) -> Row:
    """Try everything with a tiny model of a family."""
    row = Row(name)
    try:
        model = _model(name)
    except ValueError as refusal:
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
            except FamilyItself as note:
                row.notes[check] = str(note)
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
    _same_as_family(model, _read_in_steps, "with a cache")


@torch.no_grad()
def _padded(model: FlyThinkerForCausalLM) -> None:
    _same_as_family(model, _read_padded, "padded")


def _same_as_family(
    model: FlyThinkerForCausalLM, read: Callable[[PreTrainedModel], tuple[Tensor, Tensor]], how: str
) -> None:
    """Two ways to read must give the same logits, unless they do not of the family itself."""
    try:
        logits, expected = read(model)
        assert torch.allclose(logits, expected, **NEAR), f"other logits {how}"
    except Exception as error:
        try:
            logits, expected = read(model.generator)
        except Exception:
            raise FamilyItself(f"it fails {how} in transformers itself") from error
        if torch.allclose(logits, expected, **NEAR):
            raise
        raise FamilyItself(f"other logits {how} in transformers itself") from error


def _read_in_steps(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    ids = random_ids(2, 18)
    read = model(ids[:, :10], use_cache=True)
    pieces, cache = [read.logits], read[CACHE_NAME]
    for column in range(10, 18):
        step = {CACHE_NAME: cache, "use_cache": True}
        pieces.append(model(ids[:, column : column + 1], **step).logits)
    return torch.cat(pieces, dim=1), model(ids).logits


def _read_padded(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    rows = [random_ids(length, seed=length) for length in LENGTHS]
    batch = padded(rows, "left")
    columns = (batch["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    logits = model(**batch, position_ids=columns).logits
    own = [each[-len(row) :] for each, row in zip(logits, rows, strict=True)]
    return torch.cat(own), torch.cat([model(row[None]).logits[0] for row in rows])


@torch.no_grad()
def _saved(model: FlyThinkerForCausalLM, folder: Path) -> None:
    ids = random_ids(1, 20)
    model.save_pretrained(folder)
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.allclose(loaded(ids).logits, model(ids).logits, **NEAR), "other logits once loaded"


def _lora(model: FlyThinkerForCausalLM) -> None:
    ids = random_ids(2, 16)
    config = LoraConfig(r=4, target_modules="all-linear", exclude_modules=r".*router")
    adapted = get_peft_model(copy.deepcopy(model), config)
    weights = [each for each in adapted.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1e-2)
    before = adapted(ids, labels=ids).loss
    before.backward()
    optimizer.step()
    for part in ("generator", "reasoner"):
        moved = [
            each.grad.abs().sum()
            for name, each in adapted.named_parameters()
            if part in name and each.grad is not None
        ]
        assert 0 < sum(moved) < torch.inf, f"the {part} learns nothing"
    assert adapted(ids, labels=ids).loss != before, "a step changes nothing"


def _writes(model: FlyThinkerForCausalLM, row: Row, draft_tokens: int) -> None:
    prompts = [Prompt(_repeating(length), [], ()) for length in LENGTHS]
    # that begins as one before: a Writer does not read the beginning again
    prompts.append(Prompt([*prompts[0].prompt_ids, 5, 9, 4], [], ()))
    writer = Writer(_personal(copy.deepcopy(model)), slots=2, draft_tokens=draft_tokens)
    row.slower = writer.slower
    if draft_tokens and not writer.draft_tokens:  # the same once more
        return
    texts = writer.write(prompts, GREEDY)
    for prompt, text in zip(prompts, texts, strict=True):
        assert text == generate_texts(_personal(model), [prompt], [GREEDY])[0], "another text"


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
