import json

from typer.testing import CliRunner

from flythinker.bench.serve import _growth
from flythinker.cli.main import app

LARGE = ("--large-user", "60")


def test_a_server_under_load_writes_every_text_as_alone(backbone, data):
    options = ["--model", backbone, "--data", data / "val.jsonl", "--clients", 6, "--seconds", 4]
    done = CliRunner().invoke(
        app, ["bench", "serve", *map(str, options), "--slots", "3", *LARGE, "--json"]
    )
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["serve"]
    assert figures["failures"] == []
    assert set(figures["requests"]) <= {"completed", "left", "refused", "turned away"}
    assert figures["requests"]["completed"] > 0
    for phase in ("alone", "together"):
        assert figures[phase]["tokens_per_second"] > 0
        assert (
            0 < figures[phase]["first_token_ms"]["p50"] <= figures[phase]["first_token_ms"]["p95"]
        )
    assert figures["setting"]["clients"] == 6
    large = figures["large_user"]
    assert large["documents"] == 60
    assert large["ratio"] == large["first_token_ms"] / large["first_token_ms_of_ten"] > 0
    assert large["first_token_ms_after_adding"] > 0


def test_growth_is_what_comes_after_warm_up():
    assert _growth([1, 2, 100, 100, 100, 100, 100, 100]) == 0
    assert _growth([1, 1, 100, 100, 105, 105, 110, 110]) > 0.09
