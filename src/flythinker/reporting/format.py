"""How a number, a difference and a verdict are written, in every report and in the terminal."""

from flythinker.evaluation.compare import METRICS

SIGNS = {"better": "✓", "worse": "✗", "unclear": "≈", "neutral": ""}
ARROWS = {"lower": "↓", "higher": "↑", None: ""}
COLOURS = {"better": "green", "worse": "red", "unclear": "dim", "neutral": "dim"}
MINUS = "−"


def format_value(value: float, key: str) -> str:
    """A metric's value with its usual number of decimals and a real minus sign."""
    return f"{value:z.{METRICS[key].decimals}f}".replace("-", MINUS)


def format_difference(difference: dict[str, float], key: str) -> str:
    """A difference with its sign, such as `−0.04`."""
    return f"{difference['difference']:+z.{METRICS[key].decimals}f}".replace("-", MINUS)


def format_interval(interval: dict[str, float], key: str) -> str:
    """The `low` and `high` of an estimate or a difference, such as `[−0.07, −0.02]`."""
    return f"[{format_value(interval['low'], key)}, {format_value(interval['high'], key)}]"


def format_change(difference: dict[str, float], key: str, verdict: str) -> str:
    """A difference, its interval and the sign of its verdict: `−0.04 [−0.07, −0.02] ✓`."""
    change = f"{format_difference(difference, key)} {format_interval(difference, key)}"
    return f"{change} {SIGNS[verdict]}".rstrip()
