"""What one person's texts change: learned, judged by the newest, kept or not, and put in."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from command import fail, succeed
from flythinker.adaptation.adapt import AdaptSettings, adapt
from flythinker.adaptation.teaching import split_newest
from flythinker.adapter import (
    fingerprint,
    layers_to_adapt,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from flythinker.data.batch import Collator, encode
from flythinker.data.document import Document, Edit
from flythinker.errors import FlyThinkerError
from flythinker.model_folder import PersonalModel, load_model_folder
from flythinker.scoring.losses import held_out_loss, token_losses
from flythinker.training.config import load_config
from flythinker.training.run import train
from flythinker.training.trainer import FlyThinkerTrainer
from person import written

FAST = AdaptSettings(epochs=3, learning_rate=2e-2, batch_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backbone: Path, data: Path) -> Path:
    """A FlyThinker model that has learned a little, of somebody else's texts."""
    made = tmp_path_factory.mktemp("shared")
    config = made / "config.yaml"
    config.write_text(
        f"model: {{generator: {backbone}, reasoner: {backbone}, projection: linear}}\n"
        f"data: {{train: {data}/train.jsonl}}\n"
        "prompt: {k: 1, profile_tokens: 120, query_tokens: 40, response_tokens: 60}\n"
        f"training: {{output_dir: {made}/run, max_steps: 8, learning_rate: 1e-2, bf16: false, "
        "report_to: []}\n"
    )
    return train(load_config(config))


@pytest.fixture
def personal(folder: Path) -> PersonalModel:
    return load_model_folder(str(folder))


def loss(personal: PersonalModel, documents: list[Document]) -> float:
    _, held_out = split_newest("me", documents)
    rows = encode(held_out, personal.tokenizer, personal.prompt)
    return held_out_loss(
        token_losses(personal.model, rows, Collator(personal.tokenizer.pad_token_id), 4)
    )


def test_an_edit_teaches_once_more_as_the_answer_to_what_was_asked():
    texts = written(40)
    edits = [
        replace(text, edit_of=Edit(f"Write about {text.title}.", "What the model wrote."))
        for text in texts[20:22] + texts[38:]
    ]
    plain, judged = split_newest("me", texts)
    learned, held_out = split_newest("me", texts[:20] + edits[:2] + texts[22:38] + edits[2:])
    assert [e.target for e in held_out] == [e.target for e in judged]
    assert learned[: len(plain)] == [
        replace(e, history=learned[i].history) for i, e in enumerate(plain)
    ]
    # not the newest two, which judge
    assert [(e.query, e.target, len(e.history)) for e in learned[len(plain) :]] == [
        (f"Write about {edit.title}.", edit.text, 20 + place)
        for place, edit in enumerate(edits[:2])
    ]


def test_the_newest_fifth_judges_and_nothing_later_is_read():
    learned, held_out = split_newest("me", written(40))
    assert (len(learned), len(held_out)) == (32, 8)
    assert max(example.date for example in learned) < min(example.date for example in held_out)
    for example in [*learned, *held_out]:
        assert all(document.date < example.date for document in example.history)
    learned, held_out = split_newest("me", written(12))
    assert len(held_out) == 5  # a fifth would be three, too few for an interval


@pytest.mark.parametrize("part", ["reasoner", "generator"])
def test_a_person_is_learned_and_the_rest_of_the_model_is_as_it_was(
    folder, personal, tmp_path, part
):
    documents = written(30)
    outcome = adapt(
        personal, "me", documents, tmp_path / "work", AdaptSettings(part, 4, 3, 2e-2, 2)
    )
    about = outcome.adapter.about
    assert outcome.kept
    assert about.high < 0
    assert (about.texts, about.held_out) == (24, 6)
    fresh = load_model_folder(str(folder))
    assert loss(fresh, documents) == pytest.approx(about.before, abs=1e-4)
    assert (
        fingerprint(load_model_folder(str(folder), dtype=torch.bfloat16).model, part) == about.base
    )
    save_adapter(tmp_path / "me.adapter", outcome.adapter)
    merge_adapter(fresh.model, load_adapter(tmp_path / "me.adapter"), "me.adapter")
    assert loss(fresh, documents) == pytest.approx(about.after, abs=1e-4)
    changed = {
        name
        for name, weight in load_model_folder(str(folder)).model.state_dict().items()
        if not weight.equal(fresh.model.state_dict()[name])
    }
    assert changed == {f"{name}.weight" for name in layers_to_adapt(fresh.model, part)}
    assert ("projection.weight" in changed) == (part == "reasoner")


def test_what_does_not_predict_better_is_not_kept(personal, tmp_path):
    settings = AdaptSettings(epochs=1, learning_rate=0.0)
    outcome = adapt(personal, "me", written(20), tmp_path / "work", settings)
    assert outcome.adapter.about.gain == pytest.approx(0, abs=1e-6)
    assert not outcome.kept


def test_a_killed_run_goes_on_as_if_it_had_not_been(folder, tmp_path, monkeypatch):
    whole = adapt(load_model_folder(str(folder)), "me", written(30), tmp_path / "a", FAST)
    step, steps = FlyThinkerTrainer.training_step, 0

    def killed(*args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == 15:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    monkeypatch.setattr(FlyThinkerTrainer, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        adapt(load_model_folder(str(folder)), "me", written(30), tmp_path / "b", FAST)
    assert list((tmp_path / "b").glob("checkpoint-*"))
    assert "harbour" not in (tmp_path / "b" / "settings.json").read_text()
    with pytest.raises(FlyThinkerError, match=r"begun with other settings \(texts"):
        adapt(load_model_folder(str(folder)), "me", written(29), tmp_path / "b", FAST)
    again = adapt(load_model_folder(str(folder)), "me", written(30), tmp_path / "b", FAST)
    assert steps == 15 + 36 - 10  # three epochs of twelve steps, the first ten not again
    for name, (a, b) in whole.adapter.changes.items():
        assert a.equal(again.adapter.changes[name][0])
        assert b.equal(again.adapter.changes[name][1])


def test_what_cannot_be_is_one_line(personal, folder, tmp_path):
    with pytest.raises(FlyThinkerError, match="me: too little to learn from: 8 passages"):
        adapt(personal, "me", written(8), tmp_path / "work")
    with pytest.raises(FlyThinkerError, match="no such adapter"):
        load_adapter(tmp_path / "none")
    (tmp_path / "text").write_text("no adapter")
    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    for file in ("text", "other"):
        with pytest.raises(FlyThinkerError, match="not an adapter of `flythinker adapt`"):
            load_adapter(tmp_path / file)
    outcome = adapt(personal, "me", written(12), tmp_path / "work", AdaptSettings(epochs=1))
    other = load_model_folder(str(folder))
    with torch.no_grad():
        other.model.reasoner.get_submodule("layers.0.self_attn.q_proj").weight.mul_(1.5)
    assert fingerprint(other.model, "reasoner") != outcome.adapter.about.base
    with pytest.raises(FlyThinkerError, match=r"me.adapter: made for another model"):
        merge_adapter(other.model, outcome.adapter, "me.adapter")


def test_a_model_without_a_reasoner_says_what_works(backbone, tmp_path):
    with pytest.raises(FlyThinkerError, match="no Reasoner to adapt: use --part generator"):
        adapt(load_model_folder(str(backbone)), "me", written(20), tmp_path / "work")


def test_the_commands(folder, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for document in written(24):
        (texts / f"{document.date}-{document.title}.md").write_text(document.text)
    adapter = tmp_path / "me.adapter"
    given = ["--model", folder, "--user", "me", "--writings", texts, "--out", adapter]
    printed = succeed(
        "adapt", *given, "--epochs", "3", "--learning-rate", "0.02", "--batch-size", "2"
    )
    assert "19 passages" in printed
    assert f"write with --adapter {adapter}" in printed
    assert [file.name for file in tmp_path.iterdir() if "work" in file.name] == []
    kept = adapter.read_bytes()
    printed = succeed("adapt", *given, "--epochs", "1", "--learning-rate", "0")
    assert "Nothing was learned: the newest passages" in printed
    assert adapter.read_bytes() == kept

    stored = ["--model", folder, "--user", "me", "--out", tmp_path / "stored.adapter"]
    assert "--writings, or a server's --database" in fail("adapt", *stored, code=2)
    database = f"sqlite:///{tmp_path}/store.db"
    succeed("users", "import", texts, "--user", "me", "--tenant", "acme", "--database", database)
    stored += ["--database", database]
    assert "me: no such user of tenant 'default'" in fail("adapt", *stored)
    assert "19 passages" in succeed("adapt", *stored, "--tenant", "acme", "--epochs", "1")
    assert load_adapter(tmp_path / "stored.adapter").about.user == "me"

    query = ["--query", "Write about the sea.", "--temperature", "0", "--max-new-tokens", "12"]
    asked = ["write", "--model", folder, "--history", texts, *query]
    assert succeed(*asked, "--adapter", adapter) != succeed(*asked)
    shutil.copy(next(texts.iterdir()), tmp_path / "no.adapter")
    assert "not an adapter of `flythinker adapt`" in fail(
        *asked, "--adapter", tmp_path / "no.adapter"
    )
