"""FlyThinker: think while generating, for personalized long-form writing (arXiv 2512.06690).

What a program uses is named here; each has a runnable example in its own docstring.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flythinker.data.example import Document, Example
    from flythinker.data.prompt import PromptConfig, build_prompt
    from flythinker.errors import FlyThinkerError
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.writer import Writer
    from flythinker.model import FlyThinkerCache, FlyThinkerConfig, FlyThinkerForCausalLM
    from flythinker.model_folder import PersonalModel
    from flythinker.model_folder import load_model_folder as load
    from flythinker.training.config import load_config
    from flythinker.training.run import train

__version__ = "0.1.0"
__all__ = [
    "Document",
    "Example",
    "FlyThinkerCache",
    "FlyThinkerConfig",
    "FlyThinkerError",
    "FlyThinkerForCausalLM",
    "PersonalModel",
    "PromptConfig",
    "Sampling",
    "Writer",
    "build_prompt",
    "load",
    "load_config",
    "train",
]

# Where they are; imported when they are first asked for, so `flythinker --help` waits for none.
_PLACES = {
    "Document": "data.example.Document",
    "Example": "data.example.Example",
    "FlyThinkerCache": "model.FlyThinkerCache",
    "FlyThinkerConfig": "model.FlyThinkerConfig",
    "FlyThinkerError": "errors.FlyThinkerError",
    "FlyThinkerForCausalLM": "model.FlyThinkerForCausalLM",
    "PersonalModel": "model_folder.PersonalModel",
    "PromptConfig": "data.prompt.PromptConfig",
    "Sampling": "generation.sampling.Sampling",
    "Writer": "generation.writer.Writer",
    "build_prompt": "data.prompt.build_prompt",
    "load": "model_folder.load_model_folder",
    "load_config": "training.config.load_config",
    "train": "training.run.train",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].rpartition(".")
    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
