"""What `make docs` adds to mkdocs: the repository's own paths, the HTTP API, the commands.

Inside the site every file is known by its path in the repository. So a link means the same on a
git host and in the site, and what a page links to outside `docs/` (a report, a JSON file of
results) comes along, copied from where it is.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from flythinker.data.prompt import PromptConfig
from flythinker.serving.app import create_app
from flythinker.serving.settings import ServerSettings

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"\]\(([^)#\s]+)")
_EXAMPLE = re.compile(r"^Example: (.+)$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Name the files of `docs/` by their path in the repository, and add what they link to."""
    known = Files([_renamed(file, config) for file in files])
    for name in PAGES:
        known.append(_file(name, config))
    pending = list(known.documentation_pages())
    for page in pending:  # grows: a report that came along may link to more
        for path in _linked(page):
            if known.get_file_from_path(path) is None:
                file = _file(path, config)
                file.inclusion = InclusionLevel.NOT_IN_NAV
                known.append(file)
                pending += [file] if file.is_documentation_page() else []
    schema = File.generated(config, "docs/openapi.json", content=json.dumps(_openapi()))
    schema.dest_uri = "openapi.json"
    known.append(schema)
    return known


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the help of all commands in its place."""
    if "<!-- commands -->" not in markdown:
        return markdown
    return markdown.replace("<!-- commands -->", _commands())


def _renamed(file: File, config: MkDocsConfig) -> File:
    """A file of `docs/`, which keeps its place at the top of the site; the theme's stay."""
    if file.src_dir != config.docs_dir:
        return file
    renamed = _file(f"docs/{file.src_uri}", config)
    renamed.dest_uri, renamed.inclusion = file.dest_uri, file.inclusion
    return renamed


def _file(path: str, config: MkDocsConfig) -> File:
    return File.generated(config, path, abs_src_path=str(ROOT / path))


def _linked(page: File) -> list[str]:
    """Paths in the repository of the files that a page links to."""
    folder = (ROOT / page.src_uri).parent
    targets = [(folder / link).resolve() for link in _LINK.findall(page.content_string)]
    inside = [target for target in targets if target.is_file() and target.is_relative_to(ROOT)]
    return [target.relative_to(ROOT).as_posix() for target in inside]


def _openapi() -> dict[str, Any]:
    """The schema of a server with default settings; it has no engine."""
    settings = ServerSettings("127.0.0.1", True, 1, 1, 1, 1, 1, "model")
    engine: Any = SimpleNamespace(
        tokenizer=[],
        prompt_config=PromptConfig(),
        context_length=0,
        has_fusion_weight=True,
        fusion_weight=0.5,
        has_effects=True,
    )
    return create_app(settings, SimpleNamespace(), engine).openapi()  # type: ignore[arg-type]


def _commands() -> str:
    """Typer's own page of all commands, without its title, its examples as blocks of code."""
    command = [sys.executable, "-m", "typer", "flythinker.cli.main", "utils", "docs"]
    done = subprocess.run(
        [*command, "--name", "flythinker"], capture_output=True, text=True, check=True
    )
    text = done.stdout.split("\n", 1)[1]
    return _EXAMPLE.sub(r"```bash\n\1\n```", text)
