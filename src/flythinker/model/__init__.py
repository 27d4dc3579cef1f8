"""The model: Generator, Reasoner and the thoughts between them; imports nothing else of ours."""

from transformers import AutoConfig, AutoModelForCausalLM

from flythinker.model.cache import FlyThinkerCache
from flythinker.model.config import FlyThinkerConfig
from flythinker.model.model import FlyThinkerForCausalLM
from flythinker.model.outputs import FlyThinkerOutput

AutoConfig.register("flythinker", FlyThinkerConfig)
AutoModelForCausalLM.register(FlyThinkerConfig, FlyThinkerForCausalLM)

__all__ = ["FlyThinkerCache", "FlyThinkerConfig", "FlyThinkerForCausalLM", "FlyThinkerOutput"]
