"""Command line, methods, server and page write the same text, given the same model and seed."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from serving_app import SETTINGS, client, serve

from command import succeed
from flythinker.data.example import Document, Example, sample_examples, write_examples
from flythinker.data.prompt import PromptConfig, build_prompts
from flythinker.generation.backends.local import LocalEngine
from flythinker.generation.sampling import Sampling
from flythinker.generation.write import text_writer
from flythinker.generation.writer import Writer
from flythinker.methods.flythinker import FlyThinker
from flythinker.model_folder import load_model_folder, load_tokenizer, save_model_folder
from flythinker.serving.app import create_app
from flythinker.serving.page.comparison import Comparisons
from flythinker.training.build import build_model
from flythinker.training.config import ModelSection
from reference import respond

TOKENS = 24
PROMPT = PromptConfig(k=1, profile_tokens=120, query_tokens=60, response_tokens=TOKENS)
PAST = [Document("The navy was small and the sea was wide.", "Navy", "1861-01-01")]
EXAMPLES = sample_examples(  # in the order of `generate`
    [Example("Ada", f"Write about {what}.", "The end.", tuple(PAST)) for what in "abc"], None
)
DRAWN = [Sampling(TOKENS, temperature=0, seed=5), Sampling(TOKENS, temperature=1.2, seed=5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Path:
    """A method's folder with a random model in float32, whose thoughts matter."""
    folder = tmp_path_factory.mktemp("method")
    section = ModelSection(str(backbone), str(backbone), reasoner_layers=1, fusion_weight=0.2)
    model = build_model(section, None)
    (folder / "train").mkdir()
    save_model_folder(folder / "train/model", model, load_tokenizer(str(backbone)), PROMPT, {})
    return folder


def load(folder: Path):
    return load_model_folder(str(folder / "train/model"))


def expected(folder: Path, sampling: Sampling) -> list[str]:
    """What `generate` writes of each example alone, example i with `seed` + i."""
    personal = load(folder)
    prompts = build_prompts(EXAMPLES, personal.tokenizer, personal.prompt)
    return [
        respond(personal, [prompt], replace(sampling, seed=sampling.seed + number))[0]
        for number, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("sampling", DRAWN, ids=["greedy", "sampled"])
def test_the_command_line(folder, sampling, tmp_path):
    texts = expected(folder, sampling)
    assert len(set(texts)) > 1
    write_examples(tmp_path / "data.jsonl", sorted(EXAMPLES, key=lambda each: each.query))
    (tmp_path / "past.jsonl").write_text(json.dumps(asdict(PAST[0])) + "\n")
    options = ["--model", folder / "train/model", "--max-new-tokens", TOKENS]
    options += ["--temperature", sampling.temperature]
    out = tmp_path / "out.jsonl"
    succeed("generate", tmp_path / "data.jsonl", *options, "--seed", 5, "--out", out)
    assert [json.loads(line)["output"] for line in out.read_text().splitlines()] == texts
    asked = ["--query", EXAMPLES[1].query, "--history", tmp_path / "past.jsonl"]
    assert succeed("write", *options, *asked, "--seed", 6).strip() == texts[1]


@pytest.mark.parametrize("sampling", DRAWN, ids=["greedy", "sampled"])
def test_a_method_which_can_still_measure_losses(folder, configure, sampling, tmp_path):
    method = FlyThinker(configure(), folder, tmp_path / "shared", TOKENS, slots=2)
    prompts = build_prompts(EXAMPLES, method.personal.tokenizer, PROMPT)
    before = method.losses(prompts, 2)
    assert method.respond(prompts, sampling) == expected(folder, sampling)
    np.testing.assert_array_equal(np.concatenate(method.losses(prompts, 2)), np.concatenate(before))


@pytest.mark.parametrize("sampling", DRAWN, ids=["greedy", "sampled"])
def test_the_server_and_the_page(folder, sqlite, sampling):
    sqlite.add("default", "Ada", PAST, 10)
    engine = LocalEngine(Writer(load(folder), 4), 8)
    asked = {"user": "Ada", "temperature": sampling.temperature, "seed": sampling.seed}
    page = Comparisons(create_app(SETTINGS, sqlite, engine).state.server)

    async def shown() -> list[str]:
        async for now in page.write(
            "default", "session", EXAMPLES[0].query, "without thoughts", **asked
        ):
            tokens = now.personal["tokens"]
        return [text for text, _, _ in tokens]

    texts = expected(folder, sampling)
    assert "".join(asyncio.run(shown())).strip() == texts[0]
    with serve(engine, sqlite) as url:
        answer = client(url).chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": EXAMPLES[1].query}],
            user="Ada",
            seed=6,
            temperature=sampling.temperature,
        )
    assert answer.choices[0].message.content.strip() == texts[1]


@pytest.mark.parametrize("sampling", DRAWN, ids=["greedy", "sampled"])
def test_what_a_writer_refuses_is_written_too_and_said(folder, sampling, capsys):
    personal = load(folder)
    # which are of other frequencies where a text is longer than the model's context
    personal.model.generator.config.rope_parameters["rope_type"] = "dynamic"
    writer = text_writer(personal, slots=2)
    line = capsys.readouterr().err.splitlines()[-1]  # after the bars of loading
    assert "rotary positions (dynamic) depend on the longest text" in line
    assert "that is slower" in line
    prompts = build_prompts(EXAMPLES, personal.tokenizer, personal.prompt)
    assert writer.write(prompts, sampling) == expected(folder, sampling)
    assert "".join(writer.stream(prompts[0], sampling)) == expected(folder, sampling)[0]
