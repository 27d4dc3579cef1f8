import pytest
import torch

from flythinker import FlyThinkerForCausalLM
from tiny import VARIANTS, Variant, tiny_flythinker


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    return request.param


@pytest.fixture
def model(variant: Variant) -> FlyThinkerForCausalLM:
    """A fresh tiny model of each variant."""
    return tiny_flythinker(variant)
