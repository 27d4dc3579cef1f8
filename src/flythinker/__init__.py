"""FlyThinker: think while generating, for personalized long-form writing (arXiv 2512.06690)."""

from flythinker.model import FlyThinkerCache, FlyThinkerConfig, FlyThinkerForCausalLM

__all__ = ["FlyThinkerCache", "FlyThinkerConfig", "FlyThinkerForCausalLM"]
__version__ = "0.1.0"
