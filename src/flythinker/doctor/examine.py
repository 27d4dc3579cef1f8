"""The whole examination: find, choose, try, measure, advise."""

from dataclasses import asdict, dataclass
from typing import Any

from flythinker.doctor.advice import Problem, problems
from flythinker.doctor.facts import Facts, collect
from flythinker.doctor.measure import Measured, measure
from flythinker.errors import one_line


@dataclass(frozen=True)
class Choices:
    """What the other commands will use here, where nobody says otherwise.

    Attributes:
        device, name: what computes. `native_bf16`: whether it multiplies bf16 by itself.
        training: the precision of `bf16: auto`. writing: the type of a model's weights in memory.
        kernels: of the Writer. `engines`: what can write, the first by default.
    """

    device: str
    name: str
    native_bf16: bool
    training: str
    writing: str
    kernels: list[str]
    engines: list[str]


@dataclass(frozen=True)
class Examination:
    """What `flythinker doctor` shows; `tried` says that a tiny model was trained and has written.

    What torch and transformers are needed for is `None` where they do not work.
    """

    facts: Facts
    choices: Choices | None
    tried: bool
    measured: Measured | None
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        """Whether training and writing can run."""
        return all(problem.level != "error" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """One object with all of it; sizes in bytes."""
        found = asdict(self.facts)
        return {
            "ok": self.ok,
            **{name: value for name, value in found.items() if name != "unknown"},
            "choices": asdict(self.choices) if self.choices else None,
            "tried": self.tried,
            "measured": asdict(self.measured) if self.measured else None,
            "problems": [asdict(problem) for problem in self.problems],
            "unknown": self.facts.unknown,
        }


def examine(measuring: bool = True) -> Examination:
    """Examine this machine; what cannot be found, chosen or tried becomes part of the answer."""
    facts = collect()
    found = problems(facts, None, None)
    if any(problem.level == "error" for problem in found):
        return Examination(facts, None, False, None, found)
    try:
        choices, native_bf16 = _choose(facts)
        _try()
    except Exception as error:
        what = f"a tiny model cannot be trained and write here: {one_line(error)}"
        do = "install what it names, or report it with all of this output"
        failed = Problem("error", what, do)
        return Examination(facts, None, False, None, [failed, *found])
    measured = measure(_has_backbone(facts), native_bf16) if measuring else None
    return Examination(facts, choices, True, measured, problems(facts, native_bf16, measured))


def _choose(facts: Facts) -> tuple[Choices, bool]:
    import torch

    from flythinker.hardware import can_pack, can_use_int8, dtype_name, hardware

    here = hardware()
    native = here.native_bf16
    kernels = ["transformers' layers with grouped attention"]
    if here.device == "cpu":
        types = [dtype_name(dtype) for dtype in (torch.float32, torch.bfloat16) if can_pack(dtype)]
        kernels = [f"packed weights in {' and '.join(types)}"] if types else []
        kernels.append("fused layers of Llama, Qwen2 and Qwen3")
        if native and can_use_int8(torch.bfloat16):
            kernels.append("int8 where it is asked for")
    installed = {package.name: package.installed for package in facts.packages or ()}
    engines = ["the Writer, in the command's own process"]
    if installed.get("vllm"):
        engines.append("vLLM by `--engine vllm`")
    if installed.get("ray"):
        engines.append("actors by `--ray`")
    training = "bf16 autocast" if native else "float32"
    writing = "the type that a model was saved in" if native else "float32"
    choices = Choices(here.device, here.name, native, training, writing, kernels, engines)
    return choices, native


def _try() -> None:
    import torch

    from flythinker.doctor.trial import try_main_job
    from flythinker.hardware import native_dtype

    _quiet()
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    for dtype in {torch.float32, native_dtype()}:
        try_main_job(device, dtype)


def _quiet() -> None:
    """No bars of loading weights between the lines."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _has_backbone(facts: Facts) -> bool:
    """Whether the embedded backbone is ready: what examines does not fill the cache."""
    cache = (facts.folders or {}).get("cache")
    return cache is not None and cache.ready
