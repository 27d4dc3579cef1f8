"""FlyThinker on vLLM against FlyThinker on transformers; `make test-vllm` runs these tests.

The folder is not named `vllm`: pytest puts it on the path, where it would pass for the package.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flythinker import FlyThinkerForCausalLM

Start = Callable[..., Any]
SETTINGS = {
    "dtype": "float32",
    "enforce_eager": True,
    "skip_tokenizer_init": True,
    "kv_cache_memory_bytes": 2**26,
    "block_size": 32,
    "max_num_batched_tokens": 32,  # so that longer prompts are read in chunks
    "max_num_seqs": 4,
    "disable_log_stats": False,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """`start(model, **settings)`: save the model and load the folder in vLLM, stopped later."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"  # two engines may share the cores
    with ExitStack() as engines:

        def start_engine(model: FlyThinkerForCausalLM, **settings: Any) -> Any:
            folder = tmp_path_factory.mktemp("model")
            model.save_pretrained(folder)
            return engines.enter_context(_engine(folder, settings))

        yield start_engine


@pytest.fixture
def start_one(tmp_path: Path) -> Iterator[Start]:
    """`start_one(model, **settings)`: the same for one test."""
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    with ExitStack() as engines:

        def start_engine(model: FlyThinkerForCausalLM, **settings: Any) -> Any:
            model.save_pretrained(tmp_path)
            return engines.enter_context(_engine(tmp_path, settings))

        yield start_engine


@contextmanager
def _engine(folder: Path, settings: dict[str, Any]) -> Iterator[Any]:
    from vllm import LLM

    llm = LLM(str(folder), **(SETTINGS | settings))
    yield llm
    llm.llm_engine.engine_core.shutdown()
