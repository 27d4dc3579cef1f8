"""What to compare: a training config with a `compare` section."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from flythinker.errors import FlyThinkerError
from flythinker.generation.sampling import Sampling
from flythinker.methods.base import Method
from flythinker.methods.registry import METHODS
from flythinker.training.config import CONFIG_SECTIONS, RunConfig, parse_config
from flythinker.yaml_config import (
    apply_override,
    build_section,
    check_keys,
    convert_values,
    read_yaml,
)

Section = TypeVar("Section")


@dataclass
class Entry:
    """One line of the comparison.

    Attributes:
        method: which method, default: what the entry is called.
        label: how tables call it; default: the method's own label, and the entry's name where it is
            another than the method's.
        set: `section.key=value` overrides of the config for this entry alone; `{seed}` in one is
            the trial's seed.
        seeds: default: the comparison's; a method that trains nothing runs with the first only.
        options: the method's own, such as CoS's `alpha`.
    """

    method: str
    label: str | None = None
    set: list[str] = field(default_factory=list)
    seeds: list[int] | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class CompareSection:
    """The `compare` section.

    Attributes:
        test: example file that everything is measured on.
        results: folder of the small files that hold what was measured; what is there is not
            measured again. Work files (models, checkpoints) are in `training.output_dir`.
        methods: entries by name; an entry's own keys are `Entry`'s.
        seeds: of training and of sampling.
        examples: how many test examples, a fixed sample; default: all.
        response_tokens: of a held-out response (its loss), and of a written one at most.
        baseline: entry that differences are to; default: the best other than FlyThinker, chosen
            for each metric.
        measure: "loss" = held-out loss, "swap" = the same with another user's history and with
            none, "texts" = written texts and their metrics.
        batch_size, loss_batch_size: rows at a time when writing, and for losses.
        keep_models: keep the models when all is measured.
        bert_model: of BERTScore; default: the local MiniLM.
    """

    test: str
    results: str
    methods: dict[str, dict[str, Any] | None]
    seeds: list[int] = field(default_factory=lambda: [1])
    examples: int | None = None
    response_tokens: int = 300
    baseline: str | None = None
    measure: list[Literal["loss", "swap", "texts"]] = field(
        default_factory=lambda: ["loss", "swap", "texts"]
    )
    batch_size: int = 8
    loss_batch_size: int = 4
    temperature: float = 0.8
    top_p: float = 0.95
    keep_models: bool = True
    bert_model: str | None = None


@dataclass(frozen=True)
class Trial:
    """One entry with one seed: what is trained and measured as a whole.

    Attributes:
        name: of the entry. `label`: how tables call it.
        method: the class. `options`: its own.
        config: with the entry's overrides and the seed. `written`: its sections as written.
    """

    name: str
    label: str
    method: type[Method]
    options: dict[str, Any]
    config: RunConfig
    written: dict[str, Any]
    seed: int

    @property
    def id(self) -> str:
        """The name of its folders."""
        return f"{self.name}-s{self.seed}"


@dataclass(frozen=True)
class Comparison:
    """A whole comparison: its settings and its trials, in the order they run."""

    section: CompareSection
    config: RunConfig
    trials: list[Trial]

    @property
    def results(self) -> Path:
        """Where what was measured is kept."""
        return Path(self.section.results)

    @property
    def page(self) -> Path:
        """Where the report is; the same as Markdown and as JSON lie beside it."""
        return self.results / "report.html"

    def sampling(self, seed: int) -> Sampling:
        """How texts are written with a seed."""
        section = self.section
        return Sampling(section.response_tokens, section.temperature, section.top_p, seed)


def load_comparison(path: str | Path, overrides: Iterable[str] = ()) -> Comparison:
    """Read a comparison; `overrides` are `section.key=value`, also of the `compare` section.

    Raises:
        FlyThinkerError: as `load_config`, and for an unknown method or option.
    """
    section, raw = read_section(path, overrides, "compare", CompareSection)
    return make_comparison(section, raw, str(path))


def read_section(
    path: str | Path, overrides: Iterable[str], name: str, kind: type[Section]
) -> tuple[Section, dict[str, Any]]:
    """The section `compare` or `ablate` of a config, and the training's sections as written."""
    raw = read_yaml(Path(path))
    for override in overrides:
        apply_override(raw, override, [*CONFIG_SECTIONS, "compare", "ablate"])
    if raw.get(name) is None:
        raise FlyThinkerError(f"{path}: section '{name}' is missing: see docs/compare.md")
    section = build_section(kind, raw[name], f"{path}: {name}")
    return section, {key: raw[key] for key in raw if key not in ("compare", "ablate")}


def make_comparison(section: CompareSection, raw: dict[str, Any], path: str) -> Comparison:
    """The trials of `section`, their configs made of `raw` sections; see `load_comparison`."""
    turns: list[list[Trial]] = []  # every entry with its first seed, then with its second
    for name, values in section.methods.items():
        where = f"{path}: compare.methods.{name}"
        entry = build_section(Entry, {"method": name} | (values or {}), where)
        check_keys([entry.method], METHODS, where, "method")
        method = METHODS[entry.method]
        # two entries of one method must not share a line in what goes by label
        label = entry.label or (method.label if name == entry.method else f"{method.label}, {name}")
        options = _options(method, entry.options, where)
        seeds = entry.seeds or section.seeds
        for turn, seed in enumerate(seeds if method.trains else seeds[:1]):
            written = dict(raw)
            for override in [*entry.set, f"training.seed={seed}"]:
                apply_override(written, override.replace("{seed}", str(seed)), CONFIG_SECTIONS)
            config = parse_config(written, where)
            if turn == len(turns):
                turns.append([])
            turns[turn].append(Trial(name, label, method, options, config, written, seed))
    if section.baseline is not None:
        check_keys([section.baseline], section.methods, f"{path}: compare.baseline", "entry")
    return Comparison(section, parse_config(raw, path), [trial for turn in turns for trial in turn])


def _options(method: type[Method], values: dict[str, Any], where: str) -> dict[str, Any]:
    shared = {field.name for field in fields(Method)}
    hints = {name: hint for name, hint in get_type_hints(method).items() if name not in shared}
    check_keys(values, [f.name for f in fields(method) if f.name in hints], where, "option")
    return convert_values(values, hints, where)


def only(comparison: Comparison, names: Iterable[str]) -> Comparison:
    """The comparison with some of its entries only."""
    names = list(names)
    check_keys(names, comparison.section.methods, "--only", "entry")
    return replace(comparison, trials=[trial for trial in comparison.trials if trial.name in names])
