"""The ways in which the models of these tests think, and an example as they read it."""

from flythinker.data.batch import Row, encode_prompt
from flythinker.data.example import Example
from flythinker.data.prompt import build_prompt
from flythinker.model_folder import PersonalModel

WAYS = [
    {"injection": "global", "projection": "pad", "width": 16},
    {"injection": "output", "projection": "linear"},
    {"injection": "input", "projection": "linear", "width": 16},
    {"injection": "global", "projection": "linear", "reasoner_k": 2},
    {"injection": "global", "projection": "pad", "width": 16, "gpt2": True},
]


def encoded(personal: PersonalModel, example: Example) -> Row:
    return encode_prompt(build_prompt(example, personal.tokenizer, personal.prompt))
