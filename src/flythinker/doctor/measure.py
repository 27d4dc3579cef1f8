"""A few seconds of measurement: arithmetic, memory, and a token of the embedded backbone."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from flythinker.errors import one_line

if TYPE_CHECKING:
    import torch

_SIZES = (128, 256, 512, 1024, 2048, 4096, 8192)
_ENOUGH_SECONDS = 0.05  # of one product: the next size would take eight times as long
_READ_BYTES = 2**28  # far more than any cache holds
_PROMPT_TOKENS, _NEW_TOKENS = 200, 24


@dataclass
class Measured:
    """What could not be measured is `None`; `unknown` says why.

    Attributes:
        float32_gflops, bf16_gflops: of matrix products, 1e9 operations a second.
        bandwidth_gbs: of reading memory, 1e9 bytes a second.
        float32_token_ms, bf16_token_ms: of one token that the Writer writes with smollm2-135m,
            greedily, after a prompt of 200; only where its weights are ready in the cache folder.
    """

    device: str = ""
    threads: int = 0
    float32_gflops: float | None = None
    bf16_gflops: float | None = None
    bandwidth_gbs: float | None = None
    float32_token_ms: float | None = None
    bf16_token_ms: float | None = None
    unknown: dict[str, str] = field(default_factory=dict)


def measure(has_backbone: bool, native_bf16: bool) -> Measured:
    """Measure where models are computed; tokens in bf16 only where that is native."""
    import torch

    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    measured = Measured(str(device), torch.get_num_threads())
    tasks: dict[str, Callable[[], float]] = {
        "float32_gflops": lambda: gflops(device, torch.float32),
        "bf16_gflops": lambda: gflops(device, torch.bfloat16),
        "bandwidth_gbs": lambda: bandwidth(device),
    }
    if has_backbone:
        tasks["float32_token_ms"] = lambda: token_ms(torch.float32)
    if has_backbone and native_bf16:
        tasks["bf16_token_ms"] = lambda: token_ms(torch.bfloat16)
    for name, task in tasks.items():
        try:
            setattr(measured, name, task())
        except Exception as error:
            measured.unknown[name] = one_line(error)
    return measured


def gflops(device: "torch.device", dtype: "torch.dtype") -> float:
    """The best of growing square products, 1e9 operations a second.

    Small ones first: where `dtype` is no native one, a big product takes minutes.
    """
    import torch

    best = 0.0
    for size in _SIZES:
        a = torch.ones(size, size, device=device, dtype=dtype)
        seconds = min(_seconds(device, partial(torch.mm, a, a)) for _ in range(3))
        best = max(best, 2 * size**3 / seconds / 1e9)
        if seconds > _ENOUGH_SECONDS:
            break
    return best


def bandwidth(device: "torch.device") -> float:
    """Of reading 268 MB, 1e9 bytes a second; the best of three."""
    import torch

    memory = torch.ones(_READ_BYTES // 4, device=device)
    return _READ_BYTES / min(_seconds(device, memory.sum) for _ in range(3)) / 1e9


def token_ms(dtype: "torch.dtype") -> float:
    """Median milliseconds of a token, one text, without drafts."""
    from flythinker.backbones.packaged import DEFAULT_BACKBONE
    from flythinker.data.prompt import Prompt
    from flythinker.generation.sampling import Sampling
    from flythinker.generation.writer import Writer
    from flythinker.model_folder import load_model_folder

    personal = load_model_folder(DEFAULT_BACKBONE, dtype=dtype)
    writer = Writer(personal, slots=1, prefix_bytes=0, draft_tokens=0)
    prompt = Prompt(list(range(100, 100 + _PROMPT_TOKENS)), [], ())
    sampling = Sampling(_NEW_TOKENS, temperature=0, min_new_tokens=_NEW_TOKENS)
    writer.submit(prompt, sampling)
    writer.step()  # reads the prompt
    steps = []
    while not writer.idle:
        steps.append(_seconds(personal.model.device, writer.step))
    return 1000 * median(steps)


def _seconds(device: "torch.device", run: Callable[[], object]) -> float:
    import torch

    begun = time.perf_counter()
    run()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - begun
