"""What lets a program that never imports FlyThinker load a saved model: `trust_remote_code=True`.

Beside `config.json`, which names it, lies a file that imports the installed package. transformers
copies it to a cache of its own and runs it; the classes are the package's, so nothing in a folder
grows old.
"""

from pathlib import Path

_MODULE = "flythinker_model"
AUTO_MAP = {
    "AutoConfig": f"{_MODULE}.FlyThinkerConfig",
    "AutoModelForCausalLM": f"{_MODULE}.FlyThinkerForCausalLM",
}
"""What `config.json` says: the class of each Auto class."""

# What is imported inside `try` transformers leaves to the file; elsewhere it would answer a missing
# package with the advice to install what has that name in the registry, which need not be ours.
_CODE = '''\
"""Loads this model where FlyThinker is installed; see `trust_remote_code` of transformers."""

try:
    from flythinker.model import FlyThinkerConfig, FlyThinkerForCausalLM  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "flythinker":
        raise
    raise ModuleNotFoundError(
        "this model is a FlyThinker model, whose package is not installed: "
        "run `pip install .` in a checkout of FlyThinker",
        name=error.name,
    ) from None
'''


def write_remote_code(folder: Path) -> None:
    """Write the file that `AUTO_MAP` names."""
    (folder / f"{_MODULE}.py").write_text(_CODE, encoding="utf-8")
