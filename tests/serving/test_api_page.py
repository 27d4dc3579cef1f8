"""docs/api.md says what the server does now."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_current():
    make = runpy.run_path(str(DOCS / "make_api.py"))
    written = (DOCS / "api.md").read_text(encoding="utf-8")
    assert written == make["render"](make["schema"]()), "run `python docs/make_api.py`"
