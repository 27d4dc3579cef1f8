"""The examination as tables for a terminal, or for a bug report."""

from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flythinker.doctor.advice import GB
from flythinker.doctor.examine import Choices, Examination
from flythinker.doctor.facts import Facts
from flythinker.doctor.gpus import Gpu
from flythinker.doctor.installed import Embedded, Package
from flythinker.doctor.measure import Measured

_SHOWN_PACKAGES = ("torch", "transformers", "peft", "accelerate", "vllm", "ray")
_EXTRAS = ("eval", "serve", "vllm", "ray")


def show(found: Examination) -> RenderableType:
    """What there is, then what to do about it, then the verdict."""
    table = Table(box=box.ROUNDED, show_header=False, title=_title(found.facts), title_style="bold")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for section in (
        _machine(found.facts),
        _software(found.facts),
        _places(found.facts),
        _choices(found.choices),
        _measured(found.measured),
    ):
        for name, value in section:
            table.add_row(name, value)
        table.add_section()
    return Group(table, *_advice(found))


def _title(facts: Facts) -> str:
    return f"FlyThinker {facts.flythinker or '?'}, {facts.system}"


Rows = Iterable[tuple[str, RenderableType]]


def _machine(facts: Facts) -> Rows:
    processor = facts.processor
    if processor is None:
        yield "Processor", _unknown(facts, "processor")
    else:
        cores = f"{processor.cores or '?'} cores, {processor.usable:g} CPUs for this process"
        yield "Processor", f"{processor.name} ({processor.architecture}); {cores}"
        if processor.instruction_sets:
            yield "", ", ".join(processor.instruction_sets)
    if facts.gpus is None:
        yield "GPU", _unknown(facts, "gpus")
    else:
        yield "GPU", "\n".join(map(_gpu, facts.gpus)) or "none"
    if facts.memory is None:
        yield "Memory", _unknown(facts, "memory")
    else:
        yield "Memory", f"{_gb(facts.memory.total)}, {_gb(facts.memory.available)} free"
    if facts.threads is None:
        yield "Threads", _unknown(facts, "threads")
    else:
        counts = f"{facts.threads.within} within an operation, {facts.threads.between} between"
        named = [f"{name}={value}" for name, value in facts.threads.environment.items()]
        yield "Threads", "; ".join([counts, *named])


def _gpu(gpu: Gpu) -> str:
    size = _gb(gpu.memory_bytes) if gpu.memory_bytes else None
    parts = [gpu.name, size, gpu.architecture, f"driver {gpu.driver or 'unknown'}"]
    return ", ".join(part for part in parts if part) + ("" if gpu.used else ": not used by torch")


def _software(facts: Facts) -> Rows:
    python = Text(f"Python {facts.python}")
    packages = facts.packages
    if packages is None:
        yield "Software", Text(", ").join([python, _unknown(facts, "packages")])
        return
    shown = [one for one in packages if one.name in _SHOWN_PACKAGES]
    others = [one for one in packages if one not in shown and one.needed_by == "base"]
    bad = [one for one in others if one.state != "ok"]
    lines = [python, *map(_package, shown), *map(_package, bad)]
    yield "Software", Text(", ").join(lines)
    yield "torch for", facts.torch_build or _unknown(facts, "torch_build")
    lacking = {one.needed_by for one in packages if one.state == "missing"}
    there = [name for name in _EXTRAS if name not in lacking]
    without = [name for name in _EXTRAS if name in lacking]
    yield "Extras", f"{', '.join(there) or 'none'}; not installed: {', '.join(without) or 'none'}"


def _package(package: Package) -> Text:
    text = Text(f"{package.name} {package.installed or 'not installed'}")
    if package.state == "missing" and package.needed_by != "base":
        text.stylize("dim")
    elif package.state != "ok":
        text.append(f" ({package.supported} needed)" if package.state == "outside" else " (broken)")
        text.stylize("red")
    return text


def _places(facts: Facts) -> Rows:
    if facts.embedded is None:
        yield "Embedded", _unknown(facts, "embedded")
    else:
        yield "Embedded", "\n".join(map(_embedded, facts.embedded))
    if facts.folders is None:
        yield "Disk", _unknown(facts, "folders")
    for name, folder in (facts.folders or {}).items():
        yield f"Disk, {name}", f"{folder.path}, {_gb(folder.free_bytes)} free; {folder.content}"


def _embedded(one: Embedded) -> str:
    missing = "not installed" + (", optional" if one.optional else "")
    return f"{one.what}: {one.package} {one.installed or missing}"


def _choices(choices: Choices | None) -> Rows:
    if choices is None:
        return
    yield "Computes on", f"{choices.device}, {choices.name}"
    yield "Precision", f"training in {choices.training}, writing in {choices.writing}"
    yield "Kernels", "; ".join(choices.kernels)
    yield "Engine", "; ".join(choices.engines)


def _measured(measured: Measured | None) -> Rows:
    if measured is None:
        return
    threads = f"{measured.threads} thread{'s' if measured.threads > 1 else ''}"
    counts = f"{threads} of the CPU" if measured.device == "cpu" else measured.device
    yield "Measured on", counts
    products = (_number(measured.float32_gflops), _number(measured.bf16_gflops))
    yield "Products", f"{products[0]} GFLOP/s in float32, {products[1]} in bf16"
    yield "Reading", f"{_number(measured.bandwidth_gbs)} GB/s"
    times = {"float32": measured.float32_token_ms, "bf16": measured.bf16_token_ms}
    tokens = [f"{value:.1f} ms in {name}" for name, value in times.items() if value]
    if tokens:
        yield "A token", ", ".join(tokens) + " (smollm2-135m, one text)"
    for name, why in measured.unknown.items():
        yield "", Text(f"{name}: {why}", "dim")


def _advice(found: Examination) -> Iterable[RenderableType]:
    if found.problems:
        table = Table.grid(padding=(0, 1))
        for problem in found.problems:
            style = "bold red" if problem.level == "error" else "yellow"
            table.add_row(Text(problem.level, style), Text(problem.what))
            table.add_row("", Text(f"→ {problem.do}", "cyan"))
        yield table
    if found.ok:
        yield Text("Ready: a tiny model was trained here, and has written.", "bold green")
    else:
        yield Text("Training and writing cannot run here, see the errors above.", "bold red")


def _unknown(facts: Facts, name: str) -> Text:
    return Text(f"unknown: {facts.unknown.get(name, '')}", "dim")


def _gb(size: int) -> str:
    return f"{size / GB:.1f} GB"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
