import shutil

import numpy as np
import pytest

from flythinker.errors import FlyThinkerError
from flythinker.scoring import bertscore as module
from flythinker.scoring.bertscore import bertscore, bertscore_default

TEXTS = [
    "The harbor was deepened, and the lights of the coast were built.",
    "I have the honor to report that peace prevails.",
    "Snow fell on the hills all night.",
]
LIKE = [
    "They made the port deeper and built lighthouses.",
    "I am glad to tell you that we are at peace.",
    "Taxes shall be lowered next year.",
]


def test_the_same_text_scores_100_and_an_empty_one_0():
    scores = bertscore([*TEXTS, "", TEXTS[0]], [*TEXTS, TEXTS[0], ""])
    np.testing.assert_allclose(scores, [100, 100, 100, 0, 0], atol=1e-3)


def test_what_means_the_same_scores_higher_than_what_does_not():
    first, second, third = bertscore(LIKE, TEXTS)
    assert min(first, second) > third + 5


def test_a_pair_scores_the_same_in_any_order_and_company():
    together = bertscore(LIKE, TEXTS)
    alone = [bertscore([ours], [theirs])[0] for ours, theirs in zip(LIKE, TEXTS, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-3)
    np.testing.assert_allclose(bertscore(LIKE[::-1], TEXTS[::-1]), together[::-1], atol=1e-3)


def test_it_is_the_authors_bertscore():
    from bert_score import score

    model = bertscore_default()
    *_, f1 = score(LIKE, TEXTS, model_type=model, num_layers=6, verbose=False)
    np.testing.assert_allclose(bertscore(LIKE, TEXTS, model), 100 * f1.numpy(), atol=1e-3)


def test_a_text_is_cut_at_the_encoders_last_position():
    long = " ".join(f"word{i % 50}" for i in range(2000))
    assert bertscore([long], [long + " and more of it"])[0] == pytest.approx(100, abs=1e-3)


def test_a_model_that_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(FlyThinkerError, match=r"cannot load the BERTScore model .*missing"):
        bertscore(["a"], ["b"], str(tmp_path / "missing"))


def test_scores_are_remembered_and_texts_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "cache"))
    encoder = tmp_path / "encoder"
    shutil.copytree(bertscore_default(), encoder)
    scores = bertscore(LIKE, TEXTS, str(encoder))

    def no_model(name):
        raise AssertionError(f"{name} is loaded again")

    monkeypatch.setattr(module, "_load", no_model)
    monkeypatch.setattr(module, "_F1", {})  # as in another process
    assert bertscore(LIKE, TEXTS, str(encoder)).tolist() == scores.tolist()
    kept = b"".join(file.read_bytes() for file in (tmp_path / "cache").rglob("*") if file.is_file())
    assert b"harbor" not in kept

    monkeypatch.setattr(module, "_F1", {})
    (encoder / "config.json").touch()  # perhaps another model
    with pytest.raises(AssertionError, match="is loaded again"):
        bertscore(LIKE, TEXTS, str(encoder))


def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLYTHINKER_CACHE", str(tmp_path / "file"))
    assert bertscore(["Snow fell here."], ["Snow fell there."])[0] > 50
