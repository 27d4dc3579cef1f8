import json

import yaml

from command import fail, succeed


def settings(config_file, data, results, **compare):
    sections = yaml.safe_load(config_file.read_text())
    sections["training"] |= {"output_dir": str(results / "work"), "max_steps": 2}
    sections["compare"] = {
        "test": str(data / "val.jsonl"),
        "results": str(results),
        "response_tokens": 20,
        "measure": ["loss", "texts"],
        "methods": {"nonpers": None, "sft": None},
    } | compare
    config_file.write_text(yaml.safe_dump(sections, sort_keys=False))
    return config_file


def test_compares_reports_and_prints_json(config_file, data, tmp_path):
    config = settings(config_file, data, tmp_path / "results")
    shown = json.loads(succeed("compare", config, "--only", "nonpers", "--json"))
    assert [row["label"] for row in shown["results"]] == ["Non-pers"]
    printed = succeed("compare", config, "--title", "Two methods")
    assert "Non-pers (1)" in printed
    assert "SFT (1)" in printed
    assert "Two methods" in (tmp_path / "results" / "report.html").read_text()
    again = json.loads(succeed("compare", config, "--report", "--json"))
    assert again["results"][0] == shown["results"][0] | {
        "metrics": again["results"][0]["metrics"]  # now against another baseline
    }


def test_a_mistake_is_one_line(config_file, data, tmp_path):
    config = settings(config_file, data, tmp_path / "results", methods={"stf": None})
    assert "did you mean 'sft'?" in fail("compare", config)
    assert "section 'ablate' is missing" in fail("ablate", config)
