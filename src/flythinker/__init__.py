"""FlyThinker: think while generating, for personalized long-form writing (arXiv 2512.06690)."""

import warnings

__all__ = ["FlyThinkerCache", "FlyThinkerConfig", "FlyThinkerForCausalLM"]
__version__ = "0.1.0"

try:
    from flythinker.model import FlyThinkerCache, FlyThinkerConfig, FlyThinkerForCausalLM
except Exception as error:  # whatever torch or transformers raise: `flythinker doctor` must start
    _problem = f"flythinker's model cannot be imported ({type(error).__name__}: {error})"
    warnings.warn(f"{_problem}; `flythinker doctor` says what to do", stacklevel=2)

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(_problem)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
