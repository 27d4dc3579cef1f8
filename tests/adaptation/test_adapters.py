"""Adapters in memory: the last ones used, up to so many bytes."""

import pytest
import torch

from flythinker.adaptation.adapters import Adapters
from flythinker.adapter import About, Adapter
from flythinker.errors import FlyThinkerError

ABOUT = About("me", "reasoner", "base", 2.0, *(0,) * 9, made="")


def adapter(number: int = 0, rank: int = 4) -> Adapter:
    """Of 64 bytes a rank."""
    a, b = torch.full((rank, 16), number), torch.ones(16, rank)
    return Adapter(ABOUT, {"layer": (a.bfloat16(), b.bfloat16())})


def test_those_used_last_stay_as_far_as_there_is_room():
    adapters, loaded = Adapters(max_bytes=3 * 256), []

    def get(key, rank=4):
        def load():
            loaded.append(key)
            return adapter(rank=rank)

        return adapters.get(key, load)

    first = get(("a", 1))
    for key in (("b", 1), ("c", 1)):
        get(key)
    assert get(("a", 1)) is first
    get(("d", 1))
    assert loaded == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]
    assert (len(adapters), adapters.n_bytes) == (3, 768)
    get(("b", 1))  # it was used longest ago when d came
    assert loaded[-1] == ("b", 1)
    assert get(("a", 1)) is first
    get(("a", 2))  # another version
    assert loaded[-1] == ("a", 2)
    for _ in range(2):
        get("large", rank=13)  # leaves the others where they are
    assert loaded[-2:] == ["large", "large"]
    assert (len(adapters), adapters.n_bytes) == (3, 768)


def test_what_cannot_be_loaded_is_not_there():
    adapters = Adapters(1024)

    def fail():
        raise FlyThinkerError("gone")

    with pytest.raises(FlyThinkerError, match="gone"):
        adapters.get("me", fail)
    assert adapters.get("me", adapter).rank == 4


def test_a_version_is_of_the_numbers():
    assert adapter(1).version == adapter(1).version
    assert adapter(1).version != adapter(2).version
    changed = adapter(1)
    other = Adapter(ABOUT, {"another layer": changed.changes["layer"]})
    assert other.version != changed.version
