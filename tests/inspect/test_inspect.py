import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaModel

from flythinker import FlyThinkerForCausalLM
from flythinker.data.batch import Row, encode_prompt
from flythinker.data.example import Example
from flythinker.data.prompt import PromptConfig, build_prompt
from flythinker.errors import FlyThinkerError
from flythinker.inspect import inspection as inspect
from flythinker.inspect.inspect_page import colour_scale, shade, visible, write_inspection
from flythinker.inspect.thought_map import (
    Points,
    collect,
    draw_map,
    map_texts,
    project,
    separation,
)
from flythinker.model.parts import load_generator
from flythinker.model_folder import PersonalModel

ATTACK = "<script>alert(1)</script>\n\n\tand é & <img src=http://evil.example>"
PROMPT = PromptConfig(k=1, profile_tokens=40, query_tokens=20, response_tokens=40)
Make = Callable[..., PersonalModel]


@pytest.fixture
def make(backbone: Path) -> Make:
    """`make(injection=…, projection=…, width=…, zero=…, gpt2=…, **prompt)`: a tiny, thinking model.

    `gpt2`: the Generator is one, with absolute positions, LayerNorm and a tied head.
    """

    def build(
        injection: str = "global",
        projection: str = "linear",
        width: int = 32,
        zero: bool = False,
        gpt2: bool = False,
        **prompt: object,
    ) -> PersonalModel:
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            initializer_range=0.2,
        )
        model = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
            _gpt2(len(tokenizer)) if gpt2 else load_generator(str(backbone)),
            LlamaModel(config).eval(),
            injection=injection,
            projection=projection,
        )
        if model.projection is not None and not zero:
            torch.nn.init.normal_(model.projection.weight, std=0.3)
        return PersonalModel(model, tokenizer, replace(PROMPT, **prompt), {})

    return build


def _gpt2(vocabulary: int) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=512,
        initializer_range=0.1,
    )
    return GPT2LMHeadModel(config).eval()


def encoded(personal: PersonalModel, example: Example) -> Row:
    return encode_prompt(build_prompt(example, personal.tokenizer, personal.prompt))


WAYS = [
    {"injection": "global", "projection": "pad", "width": 16},
    {"injection": "output", "projection": "linear"},
    {"injection": "input", "projection": "linear", "width": 16},
    {"injection": "global", "projection": "linear", "reasoner_k": 2},
    {"injection": "global", "projection": "pad", "width": 16, "gpt2": True},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_local_effect_is_that_of_a_full_pass_without_this_one_thought(make, examples, way):
    personal = make(**way)
    row = encoded(personal, examples[3])
    ids = torch.tensor([row["input_ids"]])
    start, seq = row["prompt_length"], len(row["input_ids"])
    columns = torch.arange(start - 1, seq - 1)
    # row i of the batch is the text without the thought at column i, the last one has them all
    weights = torch.full((len(columns) + 1, seq, 1), personal.model.config.fusion_weight)
    weights[range(len(columns)), columns] = 0
    inputs = {"prompt_length": torch.tensor([start])}
    if "reasoner_ids" in row:
        inputs["reasoner_input_ids"] = torch.tensor([row["reasoner_ids"]])
    inputs = {k: v.expand(len(weights), *v.shape[1:]) for k, v in inputs.items()}
    with torch.no_grad():
        logits = personal.model(
            ids.expand(len(weights), -1), fusion_weight=weights, **inputs
        ).logits
    with_thoughts = log_softmax(logits[-1, columns], dim=-1)
    without = log_softmax(logits[range(len(columns)), columns], dim=-1)
    kl = kl_div(without, with_thoughts, log_target=True, reduction="none").sum(-1)
    nats = [cross_entropy(x, ids[0, start:], reduction="none") for x in (with_thoughts, without)]

    measured = np.array(list(inspect.effects(personal.model, row, "local")))
    np.testing.assert_allclose(measured, torch.stack([kl, *nats], dim=-1), atol=1e-4)
    if way["injection"] != "input":
        assert (measured[1:, 0] > 1e-4).all()


NOTHING = pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("effect", ["local", "global"])
def test_a_model_that_starts_at_zero_has_no_effect_at_all(make, examples, effect):
    personal = make(zero=True)
    inspection = inspect.inspect_example(personal, examples[0], effect)
    for token in inspection.tokens:  # to the rounding of batches of other shapes
        assert token.kl == NOTHING
        assert token.nats == pytest.approx(token.nats_without, abs=1e-5)
    assert all(token.thought and token.words == () for token in inspection.tokens)
    assert inspection.mean_share is None


def test_effects_are_where_thoughts_enter(make, examples):
    everywhere = inspect.inspect_example(make(), examples[0], "local").tokens
    assert all(token.thought and token.kl > 0 and token.words for token in everywhere)

    first, *others = inspect.inspect_example(make("output"), examples[0], "local").tokens
    assert (first.thought, first.kl, first.words) == (False, NOTHING, ())
    assert all(token.thought and token.kl > 0 and token.words for token in others)

    first, *others = inspect.inspect_example(make("input"), examples[0], "local").tokens
    assert first.thought
    assert first.kl > 0
    assert all((t.thought, t.kl, t.words) == (False, NOTHING, ()) for t in others)
    every = inspect.inspect_example(make("input"), examples[0], "global").tokens
    assert all(token.kl > 0 for token in every)
    assert inspect.inspect_example(make("input"), examples[0]).effect == "global"


def test_a_global_effect_is_that_of_no_thoughts(make, examples):
    personal = make()
    row = encoded(personal, examples[0])
    ids = torch.tensor([row["input_ids"]])
    start = row["prompt_length"]
    measured = np.array(list(inspect.effects(personal.model, row, "global")))
    for column, weight in ((1, 0.5), (2, 0.0)):
        with torch.no_grad():
            logits = personal.model(ids, fusion_weight=weight).logits[0, start - 1 : -1]
        nats = cross_entropy(logits, ids[0, start:], reduction="none")
        np.testing.assert_allclose(measured[:, column], nats, atol=1e-4)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_enters_is_what_the_generator_reads(make, examples, way):
    personal = make(**way)
    row = encoded(personal, examples[3])
    added, gate = inspect.entering(personal.model, row)
    ids = torch.tensor([row["input_ids"]])
    inputs = {"prompt_length": torch.tensor([row["prompt_length"]])}
    if "reasoner_ids" in row:
        inputs["reasoner_input_ids"] = torch.tensor([row["reasoner_ids"]])
    with torch.no_grad():
        expected = personal.model(ids, **inputs).logits
        embeds = personal.model.get_input_embeddings()(ids) + added
        logits = personal.model.generator(inputs_embeds=embeds).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    assert torch.equal(added.norm(dim=-1) > 0, gate)


def test_pieces_keep_characters_of_several_tokens_whole(tokenizer):
    text = "  café — 日本\n\nend \ufffd"
    ids = tokenizer(text)["input_ids"]
    pieces = inspect.pieces(tokenizer, ids)
    assert len(pieces) == len(ids)
    assert "".join(pieces) == text
    assert "" in pieces
    assert "日" in pieces
    assert inspect.pieces(tokenizer, ids[:-1])[-1] != ""  # text that ends within a character


def test_a_chosen_example(examples):
    other = replace(examples[0], user_id="other")
    known = [*examples[:2], other]
    assert inspect.choose(known, None, 1) is known[1]
    assert inspect.choose(known, "other", 0) is other
    with pytest.raises(FlyThinkerError, match=r"no example by user 'nobody'.*other, someone"):
        inspect.choose(known, "nobody", 0)
    with pytest.raises(FlyThinkerError, match=r"no example 2 by 'someone'.*from 0 to 1"):
        inspect.choose(known, "someone", 2)


def test_refusals(make, backbone, examples):
    personal = make()
    with pytest.raises(FlyThinkerError, match="is empty"):
        inspect.inspect_example(personal, replace(examples[0], target=" "), "local")
    sft = FlyThinkerForCausalLM.from_generator_reasoner_pretrained(
        load_generator(str(backbone)), None, fusion_weight=0
    )
    with pytest.raises(FlyThinkerError, match="runs/sft has no Reasoner"):
        inspect.check_thinks(replace(personal, model=sft), "runs/sft")
    personal.model.config.fusion_weight = 0
    with pytest.raises(FlyThinkerError, match="fusion_weight 0"):
        inspect.check_thinks(personal, "runs/x")


# The map


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
    added, gate = inspect.entering(personal.model, row)
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


# The page


class Page(HTMLParser):
    """Tags and attributes; refuses elements that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(examples: list[Example], tmp_path: Path) -> Callable[..., str]:
    """`page(personal, example, effect)`: the page's text, with a map of ten users."""

    def write(personal: PersonalModel, example: Example, effect: str = "local") -> str:
        texts = [replace(e, user_id=f"user <{i % 10}> $x$") for i, e in enumerate(examples[:12])]
        drawn = draw_map(collect(personal, texts), "pca")
        inspection = inspect.inspect_example(personal, example, effect)
        write_inspection(tmp_path / "page.html", example, inspection, drawn, {"model": ATTACK})
        return (tmp_path / "page.html").read_text()

    return write


def test_the_page_shows_every_token_and_runs_none(make, page, examples):
    example = replace(examples[0], target=ATTACK, query=ATTACK, user_id=ATTACK)
    personal = make("output", response_tokens=120)
    html = page(personal, example)
    parsed = Page(html)
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "img", "link", "iframe", "object"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)", html)
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html

    response = encoded(personal, example)
    tokens = [a for _, a in parsed.tags if "tabindex" in a]
    tips = [a["id"] for _, a in parsed.tags if a.get("role") == "tooltip"]
    assert [token["aria-describedby"] for token in tokens] == tips
    assert len(set(tips)) == len(tips)
    assert ".token:focus + .tip" in html
    assert len(tokens) == response["length"] - response["prompt_length"]
    assert {token["tabindex"] for token in tokens} == {"0"}
    assert sum("thoughtless" in token["class"] for token in tokens) == 1
    assert len({token["style"] for token in tokens}) > 5  # of different shades
    assert "no thought enters here" in html
    assert "↵\n" in html
    assert "⇥\t" in html


def test_the_page_has_the_numbers_and_the_map(make, page, examples):
    personal = make()
    html = page(personal, examples[0])
    assert "longer than response_tokens" not in html
    tokens = inspect.inspect_example(personal, examples[0], "local").tokens
    largest = max(tokens, key=lambda token: token.kl)
    assert html.count(f"<td>{largest.kl:.2g}</td>") >= 1
    assert f"{largest.nats:.3f} nats with, {largest.nats_without:.3f} without" in html
    assert html.count("<svg") == 7
    assert "2 others" in html
    assert "●</i> user &lt;0&gt; $x$" in html
    assert "stroke: var(--series-1)" in html or "fill: var(--series-1)" in html
    assert "#fe01" not in html


def test_the_page_of_thoughts_that_do_nothing(make, page, examples):
    html = page(make(zero=True), examples[0], "global")
    assert "No thought changes any prediction of this text." in html
    assert "thoughts change nothing" in html
    assert "thoughts of this text are zero" in html
    assert {a["style"] for _, a in Page(html).tags if a.get("tabindex")} == {"--shade: 0%"}


def test_a_cut_text_says_so_and_a_page_does_without_a_map(make, examples, tmp_path):
    inspection = inspect.inspect_example(make(response_tokens=5), examples[5], "global")
    assert inspection.cut
    assert len(inspection.tokens) <= 5
    write_inspection(tmp_path / "page.html", examples[5], inspection, None, {})
    html = (tmp_path / "page.html").read_text()
    assert "only the beginning, the text is longer than response_tokens" in html
    assert "Thoughts by user" not in html


def test_shades_grow_with_the_effect():
    effects = [0.0, 0.25, 1.0, *[0.1] * 100]
    scale = colour_scale(effects)
    assert shade(0, scale) == 0
    assert shade(scale / 4, scale) == pytest.approx(shade(scale, scale) / 2, abs=1)
    assert shade(100, scale) == shade(scale, scale)
    assert colour_scale([0.0, 0.0, 0.5, *[0.0] * 200]) == 0.5  # one effect only is still shown


def test_what_would_not_be_seen_is_shown():
    assert [visible(t) for t in ("", "  ", " a", "\n\n", "a\t")] == [
        "⋯",
        "␣␣",
        " a",
        "↵\n↵\n",
        "a⇥\t",
    ]
