import json
from pathlib import Path

from command import fail, succeed


def test_inspect_writes_a_page_and_prints_its_numbers(trained: Path, data: Path, tmp_path: Path):
    text, page = tmp_path / "text.txt", tmp_path / "page.html"
    text.write_text("The Congress <will> act.\n", encoding="utf-8")
    arguments = ("--model", trained, "--user", "someone", "--text", text, "--examples", 5)
    shown = json.loads(succeed("inspect", f"{data}/val.jsonl", *arguments, "--out", page, "--json"))
    read = "".join(token["text"] for token in shown["tokens"])
    assert read == "The Congress <will> act.<|im_end|>"
    assert shown["effect"] == "local"
    assert all(token["thought"] and token["kl"] > 0 for token in shown["tokens"])
    assert len(shown["map"]) == 7
    html = page.read_text()
    assert "&lt;" in html
    assert html.count("<svg") == 7
    assert str(text) in html


def test_inspect_refuses_a_model_without_thoughts(backbone: Path, data: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    error = fail("inspect", f"{data}/val.jsonl", "--model", backbone, "--out", page)
    assert f"{backbone} has no Reasoner" in error
    assert error.count("\n") == 1
    assert not page.exists()
