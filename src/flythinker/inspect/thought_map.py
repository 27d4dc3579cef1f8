"""A map of thoughts by user, and whether they tell users apart better than things less special.

A map persuades too easily, so each one comes with numbers measured in the full space, with what
chance gives, and with the same for the words alone and for a language model without thoughts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances, silhouette_score
from torch.nn.functional import normalize

from flythinker.data.batch import encode_prompt
from flythinker.data.example import Example, sample_examples
from flythinker.data.prompt import build_prompt
from flythinker.errors import FlyThinkerError
from flythinker.inspect.inspection import entering
from flythinker.model_folder import PersonalModel
from flythinker.progress import track
from flythinker.reporting.page import Figure
from flythinker.reporting.plots import MARKERS, scatter

Projection = Literal["pca", "tsne"]

TOKENS = 10
"""How many tokens of each text, evenly spread, are points of their own."""

_SHUFFLES = 1000
_STATES = "the Generator without thoughts"
_SIGNS = "●■▲◆▼★✚✖·"  # the same shapes as MARKERS, for the legend


@dataclass(frozen=True)
class Points:
    """Vectors [n, d], the text (by number) that each is of, and `users` by text."""

    name: str
    vectors: NDArray[np.float32]
    texts: NDArray[np.int64]
    users: tuple[str, ...]


@dataclass(frozen=True)
class Separation:
    """How far users lie apart among `n_points` of `n_users` (those with two texts or more).

    `silhouette` is in [-1, 1]. `accuracy`: how often the nearest point of another text is by the
    same user; `chance` and `p_value` from shuffling users among texts. `None`: not measurable.
    """

    name: str
    n_points: int
    n_users: int
    silhouette: float | None = None
    accuracy: float | None = None
    chance: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class ThoughtMap:
    """A map drawn: `legend` gives (sign, user), `numbers` one row a figure."""

    method: Projection
    texts: int
    legend: Sequence[tuple[str, str]]
    figures: Sequence[Figure]
    numbers: Sequence[Separation]


def map_texts(examples: Sequence[Example], limit: int) -> list[Example]:
    """Up to `limit` examples that have a target, a fixed sample.

    Raises:
        FlyThinkerError: there are fewer than three.
    """
    texts = sample_examples([e for e in examples if e.target.strip()], limit)
    if len(texts) < 3:
        raise FlyThinkerError(
            f"a map needs three texts or more, here are {len(texts)}: "
            "give more data, or use --map none"
        )
    return texts


@torch.inference_mode()
def collect(personal: PersonalModel, examples: Sequence[Example]) -> list[Points]:
    """Thoughts of the examples' targets, and three controls that are no thoughts.

    A text's point is the mean over the positions where thoughts enter: in the response, and for
    `injection="input"` in the prompt. The controls: the Generator's embeddings of the tokens at
    the same positions; those of all tokens that the Reasoner read; and the final hidden states,
    of length 1, of the Generator where it reads the same without thoughts. Shows a progress bar.

    Args:
        examples: each with a target; `map_texts` gives such.
    """
    model, means, tokens = personal.model, [], []
    for example in track(examples, "Thoughts by user"):
        row = encode_prompt(build_prompt(example, personal.tokenizer, personal.prompt))
        thoughts, gate = entering(model, row)
        if model.fusion.enters_response:
            gate[: row["prompt_length"]] = False
        read = torch.tensor([row.get("reasoner_ids", row["input_ids"])], device=model.device)
        # rows end together, and a thought comes from the token before the one that it is added to
        before = gate.nonzero().flatten() + read.shape[1] - len(gate) - 1
        states = model.generator.base_model(read, use_cache=False).last_hidden_state[0, before]
        embeds = model.get_input_embeddings()(read)[0].float()
        parts = [thoughts[gate], embeds[before + 1], normalize(states.float(), dim=-1)]
        means.append([part.mean(0).cpu().numpy() for part in (*parts, embeds)])
        spread = np.linspace(0, len(before) - 1, min(TOKENS, len(before))).astype(int)
        tokens.append([part[spread].cpu().numpy() for part in parts])
    users = tuple(example.user_id for example in examples)
    number = np.arange(len(users))
    of_token = np.repeat(number, [len(words) for _, words, _ in tokens])
    names = ("thoughts", "its words alone", _STATES, "words of prompt and text")
    by_text = [np.stack(part) for part in zip(*means, strict=True)]
    by_token = [np.concatenate(part) for part in zip(*tokens, strict=True)]
    return [
        Points(f"one point a text: {name}", part, number, users)
        for name, part in zip(names, by_text, strict=True)
    ] + [
        Points(f"one point a token: {name}", part, of_token, users)
        for name, part in zip(names, by_token, strict=False)
    ]


def separation(points: Points) -> Separation:
    """Measure how far users lie apart, in the full space; see `Separation`."""
    counts = Counter(points.users)
    kept = np.array([counts[points.users[text]] > 1 for text in points.texts])
    texts = points.texts[kept]
    _, by_text = np.unique(points.users, return_inverse=True)
    users = by_text[texts]
    measured = Separation(points.name, len(texts), len(set(users)))
    vectors = points.vectors[kept]
    if measured.n_users < 2 or not vectors.std(axis=0).any():
        return measured
    distances = pairwise_distances(vectors)
    silhouette = silhouette_score(distances, users, metric="precomputed")
    distances[texts[:, None] == texts] = np.inf
    neighbours = texts[distances.argmin(axis=1)]

    def accuracy(by_text: NDArray) -> float:
        return float((by_text[neighbours] == by_text[texts]).mean())

    several = np.unique(texts)  # users are shuffled among the texts that count only
    rng = np.random.default_rng(0)
    shuffled = []
    for _ in range(_SHUFFLES):
        by_chance = by_text.copy()
        by_chance[several] = rng.permutation(by_text[several])
        shuffled.append(accuracy(by_chance))
    ours = accuracy(by_text)
    return replace(
        measured,
        silhouette=float(silhouette),
        accuracy=ours,
        chance=float(np.mean(shuffled)),
        p_value=float((1 + np.sum(np.array(shuffled) >= ours)) / (1 + _SHUFFLES)),
    )


def draw_map(all_points: Sequence[Points], method: Projection) -> ThoughtMap:
    """Draw each set of points with its users told apart, the most frequent ones by name."""
    users = all_points[0].users
    counts = Counter(users).most_common()
    named = [user for user, _ in counts[: len(MARKERS) - 1]]
    legend = list(zip(_SIGNS, named, strict=False))
    if len(counts) > len(named):
        legend.append((_SIGNS[-1], f"{len(counts) - len(named)} others"))
    group = np.array([named.index(u) if u in named else len(MARKERS) - 1 for u in users])
    figures = []
    for points in all_points:
        plane, groups = project(points.vectors, method), group[points.texts]
        parts = [plane[groups == i] for i in range(len(MARKERS))]
        figures.append(Figure(scatter(parts, points.name), points.name))
    return ThoughtMap(method, len(users), legend, figures, [separation(p) for p in all_points])


def project(vectors: NDArray, method: Projection) -> NDArray[np.float32]:
    """Bring vectors [n, d] to the plane, [n, 2]; always the same for the same vectors."""
    centred = vectors - vectors.mean(axis=0)
    if not centred.any():  # zero-started thoughts: one point, which t-SNE would tear apart
        return centred[:, :2]
    if method == "pca":
        return PCA(2, random_state=0).fit_transform(centred)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(centred)
