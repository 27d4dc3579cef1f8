from dataclasses import replace

import numpy as np
import pytest
import torch
from thinking import WAYS, encoded

from flythinker.errors import FlyThinkerError
from flythinker.inspect.inspection import entering
from flythinker.inspect.thought_map import (
    Points,
    collect,
    draw_map,
    map_texts,
    project,
    separation,
)


def clusters(apart: float) -> Points:
    """Three users with six texts of four points each, and one user with a single text."""
    rng = np.random.default_rng(0)
    users = (*("abc"[i % 3] for i in range(18)), "alone")
    texts = np.repeat(np.arange(19), 4)
    centres = np.array([apart * (ord(user[0]) - ord("a")) for user in users])
    vectors = rng.normal(size=(76, 8)) + rng.normal(size=(19, 8))[texts] + centres[texts, None]
    return Points("points", vectors.astype(np.float32), texts, users)


def test_users_who_lie_apart_are_told_apart():
    found = separation(clusters(apart=20))
    assert (found.n_points, found.n_users) == (72, 3)
    assert found.accuracy == 1
    assert found.silhouette > 0.7
    assert found.chance == pytest.approx(5 / 17, abs=0.05)
    assert found.p_value == pytest.approx(1 / 1001)


def test_points_of_one_text_do_not_tell_users_apart():
    # each text is a tight cluster of its own: only another text may vouch for the user
    found = separation(clusters(apart=0))
    assert found.accuracy < 0.6
    assert found.p_value > 0.05
    assert found.silhouette < 0.2


def test_what_cannot_be_measured_is_none():
    points = clusters(apart=20)
    alone = replace(points, users=tuple(map(str, range(19))))
    assert separation(alone).accuracy is None
    same = replace(points, vectors=np.zeros_like(points.vectors))
    assert separation(same).silhouette is None


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_map_is_flat_repeatable_and_defined_for_equal_points(method):
    points = clusters(apart=20)
    plane = project(points.vectors, method)
    assert plane.shape == (76, 2)
    assert separation(replace(points, vectors=plane)).accuracy > 0.9
    np.testing.assert_array_equal(plane, project(points.vectors, method))
    assert not project(np.zeros((5, 8)), method).any()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_points_are_means_over_the_thoughts_of_a_text_and_single_ones(make, examples, way):
    personal = make(**way)
    chosen = [replace(e, user_id=str(i % 2)) for i, e in enumerate(examples[:4])]
    thoughts, words, states, read, *by_token = collect(personal, chosen)
    row = encoded(personal, chosen[2])
    added, gate = entering(personal.model, row)
    start = row["prompt_length"]
    here = torch.arange(1, start) if way["injection"] == "input" else torch.arange(start, len(gate))
    everything = torch.tensor(row.get("reasoner_ids", row["input_ids"]))
    table = personal.model.get_input_embeddings().weight.detach()
    embeds = table[row["input_ids"]][here]
    with torch.no_grad():
        hidden = personal.model.generator.base_model(everything[None]).last_hidden_state[0]
    hidden = hidden[here - 1 + len(everything) - len(gate)]
    hidden = hidden / hidden.norm(dim=-1, keepdim=True)

    np.testing.assert_allclose(thoughts.vectors[2], added[here].mean(0), atol=1e-5)
    np.testing.assert_allclose(words.vectors[2], embeds.mean(0), atol=1e-5)
    np.testing.assert_allclose(states.vectors[2], hidden.mean(0), atol=1e-5)
    np.testing.assert_allclose(read.vectors[2], table[everything].mean(0), atol=1e-5)
    for points, vectors in zip(by_token, (added[here], embeds, hidden), strict=True):
        mine = points.vectors[points.texts == 2]
        np.testing.assert_allclose(mine[0], vectors[0], atol=1e-5)
        np.testing.assert_allclose(mine[-1], vectors[-1], atol=1e-5)


def test_a_map_is_of_three_texts_or_more(examples):
    empty = replace(examples[0], target=" ")
    assert len(map_texts([empty, *examples[:6]], limit=5)) == 5
    assert empty not in map_texts([empty, *examples[:6]], limit=7)
    with pytest.raises(FlyThinkerError, match="three texts or more, here are 2"):
        map_texts([*examples[:2], empty], limit=100)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_the_smallest_map_is_drawn(make, examples, method):
    drawn = draw_map(collect(make(), examples[:3]), method)
    assert (drawn.texts, len(drawn.figures), len(drawn.numbers)) == (3, 7, 7)
