"""RAG: the base model reads the user's most relevant past texts (Salemi et al., 2304.11406)."""

from dataclasses import dataclass
from typing import ClassVar

from flythinker.methods.base import Method


@dataclass
class RAG(Method):
    """The untrained Generator reads the retrieved past texts and the query.

    The prompt is the one that SFT and FlyThinker are trained on, so the difference to SFT is the
    training and nothing else.
    """

    label: ClassVar[str] = "RAG"
