"""The page at `/`: whose voice, what to write, and two texts side by side as they are written."""

import html
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, NamedTuple, get_args

import gradio as gr
from fastapi import FastAPI

from flythinker.data.document import Document
from flythinker.data.sources.read import READERS
from flythinker.data.sources.summary import COLUMNS
from flythinker.disk import DiskFull
from flythinker.errors import FlyThinkerError
from flythinker.generation.backends.errors import EngineError
from flythinker.generation.backends.protocol import Engine
from flythinker.generation.sampling import Sampling
from flythinker.serving.errors import DISK_FULL, Refused
from flythinker.serving.page.comparison import Baseline, Comparisons
from flythinker.serving.page.edits import keep
from flythinker.serving.page.learned import Learned
from flythinker.serving.page.page_access import PageGate, tenant_of
from flythinker.serving.page.theme import page_theme
from flythinker.serving.page.writings import Writings
from flythinker.serving.settings import DEFAULT_TENANT, ServerSettings
from flythinker.serving.state import ServerState

_FILES = files("flythinker.serving.page") / "page_files"
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


def make_page(state: ServerState) -> FastAPI:
    """The page as an application of its own, to mount at `/` last; it needs its lifespan run.

    Nothing is loaded from anywhere else, and nobody is told that the page is used.
    """
    page = FastAPI(openapi_url=None)
    page.add_middleware(PageGate, store=state.store, require_keys=state.settings.require_keys)
    return gr.mount_gradio_app(
        page,
        _blocks(state),
        path="/",
        auth_dependency=tenant_of,
        footer_links=[],
        run_history=False,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=page_theme(),
        css=_file("page.css"),
    )


class _Asking(NamedTuple):
    """The fields that say what to write, and the buttons that begin and end it."""

    inputs: list[Any]  # after the user: query, baseline, λ, temperature
    write: gr.Button
    stop: gr.Button
    again: gr.Button


class _WritingsPart(NamedTuple):
    """The fields that say whose texts are shown, and those that add some."""

    user: gr.Dropdown
    stored: gr.HTML
    title: gr.Textbox
    text: gr.Textbox
    add: gr.Button
    upload: gr.HTML
    read: gr.HTML
    learned: gr.HTML


def _blocks(state: ServerState) -> gr.Blocks:
    with gr.Blocks(title="FlyThinker", analytics_enabled=False, fill_width=True) as blocks:
        _head(state.settings)
        with gr.Row(elem_id="fly-desk"):
            with gr.Column(scale=2, min_width=300):
                writings = _writings_part(state.settings.max_body_bytes)
                asking = _asking_part(state.engine)
            with gr.Column(scale=5, min_width=300):
                shown = _texts_part(state.engine)
        _connect_writings(state, blocks, writings, shown[0])
        _connect_asking(state, blocks, writings.user, asking, shown)
    blocks.queue(default_concurrency_limit=None, api_open=False)
    return blocks


def _writings_part(max_bytes: int) -> _WritingsPart:
    user = gr.Dropdown(
        label="Write as",
        info="Choose somebody, or type a new name.",
        allow_custom_value=True,
        elem_id="fly-user",
    )
    with gr.Accordion("Past writings", open=False, elem_id="fly-past"):
        past = (
            _part("writings", elem_id="fly-writings"),
            gr.Textbox(label="Title", max_lines=1, elem_id="fly-title"),
            gr.Textbox(
                label="Text",
                lines=4,
                max_lines=12,
                placeholder="Paste something written before.",
                elem_id="fly-paste",
            ),
            gr.Button("Add this text", size="sm", elem_id="fly-add"),
            _upload(max_bytes),
            _part("read", elem_id="fly-read"),
        )
    return _WritingsPart(user, *past, _part("learned", elem_id="fly-learned"))


def _upload(max_bytes: int) -> gr.HTML:
    endings = ",".join(ending for ending in (*READERS, ".jsonl") if ending not in (".json", ".js"))
    return gr.HTML(
        html_template=_file("upload.html").replace("ENDINGS", endings),
        js_on_load=_file("upload.js"),
        apply_default_css=False,
        limit=max_bytes * 2 // 3,  # base64 makes four bytes of three
    )


def _asking_part(engine: Engine) -> _Asking:
    baselines = list(get_args(Baseline))[not engine.has_fusion_weight :]
    inputs = [
        gr.Textbox(
            label="What to write",
            info="Shift + Enter writes.",
            lines=3,
            max_lines=10,
            placeholder="A letter about the sea in winter.",
            elem_id="fly-query",
        ),
        gr.Radio(
            baselines,
            value=baselines[0],
            label="Beside it, the same model",
            elem_id="fly-comparison",
        ),
        gr.Slider(
            0,
            max(2.0, 2 * engine.fusion_weight),
            engine.fusion_weight,
            step=0.05,
            label="λ, weight of the thoughts",
            visible=engine.has_fusion_weight,
            buttons=[],
            elem_id="fly-weight",
        ),
        gr.Slider(
            0,
            1.5,
            Sampling.temperature,
            step=0.05,
            label="Temperature",
            buttons=[],
            elem_id="fly-temperature",
        ),
    ]
    with gr.Row(elem_id="fly-buttons"):
        return _Asking(
            inputs,
            gr.Button("Write", variant="primary", min_width=80, elem_id="fly-write"),
            gr.Button("Stop", min_width=80, elem_id="fly-stop"),
            gr.Button("Regenerate", min_width=80, elem_id="fly-again"),
        )


def _texts_part(engine: Engine) -> list[gr.HTML]:
    """The personal text, the one beside it, and the past texts used."""
    with gr.Row(equal_height=True, elem_id="fly-columns"):
        with gr.Column(min_width=280):
            personal = _part("column", elem_id="fly-personal")
        with gr.Column(min_width=280):
            other = _part("column", elem_id="fly-other")
    if engine.has_effects:
        gr.HTML(_file("legend.html"), apply_default_css=False, js_on_load=None)
    return [personal, other, _part("used", elem_id="fly-past-used")]


def _connect_asking(
    state: ServerState, blocks: gr.Blocks, user: gr.Dropdown, asking: _Asking, shown: list[gr.HTML]
) -> None:
    """Connect the fields and buttons with what writes."""
    comparisons = Comparisons(state)
    seed = gr.State(0)

    async def write(
        request: gr.Request,
        seed: int,
        user: str | None,
        query: str,
        baseline: Any,
        weight: float,
        temperature: float,
    ) -> AsyncIterator[list[dict[str, Any]]]:
        options = {
            "user": _name(user) or None,
            "fusion_weight": weight if state.engine.has_fusion_weight else None,
            "temperature": temperature,
            "seed": seed,
        }
        told = comparisons.write(_tenant(request), _session(request), query, baseline, **options)
        with _said_on_the_page():
            async for progress in told:
                yield list(progress)

    def stop(request: gr.Request) -> None:
        comparisons.stop(_session(request))

    asked = [seed, user, *asking.inputs]
    several: dict[str, Any] = {"concurrency_limit": None, "trigger_mode": "multiple"}
    for begin in (asking.write.click, asking.inputs[0].submit):
        begin(write, asked, shown, **_QUIET, **several)
    asking.again.click(lambda seed: seed + 1, seed, seed, **_QUIET).then(
        write, asked, shown, **_QUIET, **several
    )
    asking.stop.click(stop, **_QUIET)
    blocks.unload(stop)


def _connect_writings(
    state: ServerState, blocks: gr.Blocks, part: _WritingsPart, personal: gr.HTML
) -> None:
    """Connect the fields and buttons, and the personal text, with what is kept of users."""
    writings, learned = Writings(state), Learned(state)

    def opened(request: gr.Request) -> tuple[Any, ...]:
        names = writings.users(_tenant(request))
        if not names:
            return gr.skip(), gr.skip(), gr.skip()
        return listed(request, names[0])

    def chosen(request: gr.Request, user: str | None) -> tuple[Any, Any]:
        known = _tenant(request), _name(user)
        return writings.shown(*known), learned.shown(*known)

    def listed(request: gr.Request, user: str) -> tuple[Any, ...]:
        names = writings.users(_tenant(request))
        choice = gr.update(choices=names, value=user if user in names else "")
        return choice, *chosen(request, user)

    def add_text(request: gr.Request, user: str | None, title: str, text: str) -> tuple[Any, ...]:
        with _said_on_the_page():
            writings.add(_tenant(request), _name(user), [Document(text, title)])
        return *listed(request, _name(user)), "", ""

    def add_files(request: gr.Request, user: str | None, event: gr.EventData) -> tuple[Any, ...]:
        with _said_on_the_page():
            summary = writings.add_files(_tenant(request), _name(user), event._data["files"])
        told = {"columns": COLUMNS, "rows": summary.rows, "lines": summary.lines}
        return *listed(request, _name(user)), told

    def keep_edit(request: gr.Request, user: str | None, event: gr.EventData) -> tuple[Any, ...]:
        with _said_on_the_page():
            column = keep(writings, _tenant(request), _name(user), event._data)
        return *listed(request, _name(user) or column["user"]), column

    def remove(request: gr.Request, user: str | None, event: gr.EventData) -> tuple[Any, ...]:
        with _said_on_the_page():
            writings.remove(_tenant(request), _name(user), str(event._data["id"]))
        return listed(request, _name(user))

    def forget(request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        with _said_on_the_page():
            writings.forget(_tenant(request), str(event._data["user"]))
        return listed(request, "")

    def unlearn(request: gr.Request, event: gr.EventData) -> dict[str, Any]:
        user = str(event._data["user"])
        with _said_on_the_page():
            learned.forget(_tenant(request), user)
        return learned.shown(_tenant(request), user)

    shown = [part.user, part.stored, part.learned]
    blocks.load(opened, None, shown, **_QUIET)
    part.user.change(chosen, part.user, shown[1:], **_QUIET)
    pasted = [part.title, part.text]
    part.add.click(add_text, [part.user, *pasted], [*shown, *pasted], **_QUIET)
    part.upload.upload(add_files, part.user, [*shown, part.read], **_QUIET)
    personal.keep(keep_edit, part.user, [*shown, personal], **_QUIET)
    part.stored.remove(remove, part.user, shown, **_QUIET)
    part.stored.forget(forget, None, shown, **_QUIET)
    part.learned.forget(unlearn, None, part.learned, **_QUIET)


def _head(settings: ServerSettings) -> None:
    page = _file("head.html").replace("MODEL", html.escape(settings.model_name))
    if settings.require_keys:
        page = page.replace("<!-- account -->", _file("logout.html"))
    gr.HTML(page, apply_default_css=False, js_on_load=_file("keys.js"), elem_id="fly-head")


def _part(name: str, **settings: Any) -> gr.HTML:
    """A piece of the page that is drawn by a script of its own."""
    return gr.HTML(
        html_template=_file(f"{name}.html"),
        js_on_load=_file(f"{name}.js"),
        apply_default_css=False,
        **settings,
    )


def _file(name: str) -> str:
    return (_FILES / name).read_text("utf-8")


@contextmanager
def _said_on_the_page() -> Iterator[None]:
    """Tell the user what is refused or goes wrong, and do not log it."""
    try:
        yield
    except (Refused, EngineError, FlyThinkerError) as error:
        # a full disk's error names a file of the server's
        message = DISK_FULL if isinstance(error, DiskFull) else str(error)
        raise gr.Error(html.escape(message), duration=8, print_exception=False) from error


def _tenant(request: gr.Request) -> str:
    return request.username or DEFAULT_TENANT


def _session(request: gr.Request) -> str:
    return request.session_hash or ""


def _name(user: str | None) -> str:
    return (user or "").strip()
