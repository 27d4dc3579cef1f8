from pathlib import Path

import pytest

from command import succeed


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, backbone: Path, data: Path) -> Path:
    """The model folder of a short FlyThinker training, made by the command line."""
    folder = tmp_path_factory.mktemp("trained")
    config = folder / "config.yaml"
    config.write_text(
        f"model: {{generator: {backbone}, reasoner: {backbone}, projection: linear}}\n"
        f"data: {{train: {data}/train.jsonl, validation: {data}/val.jsonl}}\n"
        "prompt: {k: 1, profile_tokens: 120, query_tokens: 40, response_tokens: 60}\n"
        f"training: {{output_dir: {folder}/run, max_steps: 4, learning_rate: 1e-2, "
        "logging_steps: 1, eval_strategy: steps, eval_steps: 2}\n"
    )
    printed = succeed("train", config)
    assert "steps" in printed
    assert "held-out loss" in printed
    return folder / "run" / "model"
