"""A plan for a terminal."""

from collections.abc import Iterator

from rich.filesize import decimal
from rich.table import Table

from flythinker.planning.plan import RESERVED, Plan, fits


def plan_table(plan: Plan, title: str) -> Table:
    """Parameters, memory by part, and time."""
    step = plan.step
    table = Table(title=title, show_header=False)
    for part, numbers in step.parameters.items():
        trained = step.trained.get(part, 0)
        table.add_row(part, f"{_millions(numbers)} parameters, {_millions(trained)} trained")
    table.add_section()
    for name in ("weights", "gradients", "optimizer", "activations", "logits"):
        table.add_row(name, decimal(getattr(step, name)))
    table.add_row("at most at once", decimal(step.peak), style="bold")
    table.add_section()
    table.add_row("longest row", f"{plan.row_tokens} tokens, {plan.learned_tokens} learned")
    table.add_row("a step", f"{step.flops:.3g} FLOP" + _duration(plan.step_seconds))
    if plan.steps is not None:
        seconds = None if plan.step_seconds is None else plan.step_seconds * plan.steps
        table.add_row("all steps", f"{plan.steps}" + _duration(seconds))
    return table


def verdict(plan: Plan) -> Iterator[str]:
    """Whether it fits, and what to change; a line each."""
    if plan.memory is None:
        return
    of = f"{decimal(plan.memory)}, {RESERVED:.0%} of it left for what is not counted"
    if plan.fits:
        yield f"fits into {of}"
        return
    yield f"does not fit into {of}"
    for change in plan.changes:
        settings = " ".join(f"--set {setting}" for setting in change.settings)
        yield f"  {settings}: {decimal(change.peak)} at most, with those before"
    if not plan.changes or not _helps(plan):
        yield "  that is not enough: shorter budgets in prompt, smaller models, or more devices"


def _helps(plan: Plan) -> bool:
    assert plan.memory is not None
    return fits(plan.changes[-1].peak, plan.memory)


def _millions(numbers: int) -> str:
    return f"{numbers / 1e6:,.1f} M"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 120:
        return f", {seconds:.3g} s at most"
    return (
        f", {seconds / 60:.3g} min at most"
        if seconds < 7200
        else f", {seconds / 3600:.3g} h at most"
    )
