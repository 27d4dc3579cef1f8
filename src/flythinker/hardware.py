"""What the hardware multiplies natively, and the precision and kernels that follow from it.

Everything that loads or trains a model asks here, so that one machine gets one answer. On a CPU
matrix products are oneDNN's; `ONEDNN_MAX_CPU_ISA` and `ATEN_CPU_CAPABILITY`, read once when a
process starts, make a newer processor behave as an older one.
"""

import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]

# those that matter, by the names of /proc/cpuinfo; where torch spells one differently, its name
_SETS = {
    "avx2": "avx2",
    "avx_vnni": "avx_vnni",
    "avx_ne_convert": "avx_ne_convert",
    "avx512f": "avx512_f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "avx512_fp16": "avx512_fp16",
    "amx_int8": "amx_int8",
    "amx_bf16": "amx_bf16",
    "neon": "neon",
    "i8mm": "i8mm",
    "bf16": "bf16",  # Arm's
    "sve": "sve",
    "sve2": "sve2",
}
_BF16_SETS = {"avx_ne_convert", "avx512_bf16", "amx_bf16", "bf16"}

_AVX512 = {"avx2", "avx512f"}
_AVX512_BF16 = {*_AVX512, "avx512_vnni", "avx512_bf16"}
_AVX512_FP16 = {*_AVX512_BF16, "avx_vnni", "avx512_fp16"}
# what oneDNN still uses at each value of ONEDNN_MAX_CPU_ISA; it ignores values it does not know
_ONEDNN_LEVELS: dict[str, set[str]] = {
    "SSE41": set(),
    "AVX": set(),
    "AVX2": {"avx2"},
    "AVX2_VNNI": {"avx2", "avx_vnni"},
    "AVX2_VNNI_2": {"avx2", "avx_vnni", "avx_ne_convert"},
    "AVX512_CORE": _AVX512,
    "AVX512_CORE_VNNI": {*_AVX512, "avx512_vnni"},
    "AVX512_CORE_BF16": _AVX512_BF16,
    "AVX512_CORE_FP16": _AVX512_FP16,
    "AVX10_1_512": _AVX512_FP16,
}


@dataclass(frozen=True)
class Hardware:
    """A processor or an accelerator, as torch uses it.

    Attributes:
        device: `cuda`, `rocm`, `mps`, `xpu` or `cpu`; another accelerator by torch's name for it.
        name: as its maker calls it.
        instruction_sets: of a CPU, those that oneDNN may use, and so matrix products.
        native_bf16: whether it multiplies bf16 at least about as fast as float32.
        aten: of a CPU, what torch's own kernels are chosen for, such as `AVX2`.
    """

    device: str
    name: str
    instruction_sets: tuple[str, ...]
    native_bf16: bool
    aten: str = ""


@cache
def hardware() -> Hardware:
    """What models are computed on here: the accelerator if there is one, else the processor."""
    accelerator = (
        torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    )
    if accelerator is None:
        return processor()
    kind = accelerator.type
    if kind == "cuda":
        device = "rocm" if torch.version.hip else "cuda"
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Hardware(device, torch.cuda.get_device_name(), (), native)
    if kind == "mps":  # from macOS 14 on Metal has the type; torch refuses it before
        native = torch.backends.mps.is_macos_or_newer(14, 0)
        return Hardware("mps", _processor_name(), (), native)
    if kind == "xpu":
        properties = torch.xpu.get_device_properties()
        native = getattr(properties, "has_bfloat16_conversions", True)
        return Hardware("xpu", torch.xpu.get_device_name(), (), native)
    return Hardware(kind, kind, (), True)  # NPU, HPU, TPU: made for bf16


@cache
def processor() -> Hardware:
    """The CPU, also where an accelerator does the work."""
    found = _instruction_sets()
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    allowed = _ONEDNN_LEVELS.get(limit.upper(), found)
    sets = tuple(name for name in _SETS if name in found and name in allowed)
    native = not _BF16_SETS.isdisjoint(sets) and _onednn_has_bf16()
    capability = torch.backends.cpu.get_cpu_capability()
    return Hardware("cpu", _processor_name(), sets, native, capability)


def native_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, else float32."""
    return torch.bfloat16 if hardware().native_bf16 else torch.float32


def as_dtype(precision: Precision) -> torch.dtype | None:
    """What `choose_dtype` is asked by an option of the command line: `None` for `auto`."""
    return None if precision == "auto" else getattr(torch, precision)


def choose_dtype(
    saved: torch.dtype | None, asked: torch.dtype | None = None, name: str = "the model"
) -> torch.dtype:
    """The type that a model's weights get in memory; a line on stderr says what is not as expected.

    Args:
        saved: of the weights on disk; `None` for float32.
        asked: by the user, who gets it, with a warning where it is slow; `None` chooses: as saved,
            but float32 for a 16-bit type that the hardware does not multiply natively.
        name: of the model, for the line.
    """
    if asked is not None:
        warn_if_slow(asked, name)
        return asked
    saved = saved or torch.float32
    if is_native(saved):
        return saved
    say_once(
        f"{name}: its {dtype_name(saved)} weights are loaded as float32 "
        f"({hardware().name} has no native {dtype_name(saved)})"
    )
    return torch.float32


def warn_if_slow(asked: torch.dtype, name: str, device: Hardware | None = None) -> None:
    """Say on stderr that the type set by hand for `name` is slow on `device`, if it is."""
    device = device or hardware()
    if not is_native(asked, device):
        say_once(
            f"{name}: {dtype_name(asked)} as asked, which is slow here "
            f"({device.name} has no native {dtype_name(asked)}); float32 is faster"
        )


def is_native(dtype: torch.dtype, device: Hardware | None = None) -> bool:
    """Whether `device` (default: `hardware()`) multiplies a type without converting it first."""
    device = device or hardware()
    if dtype == torch.bfloat16:
        return device.native_bf16
    return dtype != torch.float16 or device.device != "cpu"


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN lays out weights of a type once and multiplies by them here (CPU).

    In bf16 it needs AVX-512 or AVX-NE-CONVERT, or Arm's bf16, and raises elsewhere.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:
        weight = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), 1)
        x = torch.zeros(1, 16, dtype=dtype)
        torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    except (RuntimeError, AttributeError):
        return False
    return True


def can_use_int8(dtype: torch.dtype) -> bool:
    """Whether the 8-bit weight kernel is fast for activations of a type here (CPU).

    torch has it in bf16 for AVX2, AVX-512 and Arm; in float32 it is a plain loop.
    """
    arm = "neon" in processor().instruction_sets
    return dtype == torch.bfloat16 and (arm or processor().aten in ("AVX2", "AVX512"))


@cache
def say_once(line: str) -> None:
    """Print a line to stderr, once a process."""
    print(line, file=sys.stderr, flush=True)


def dtype_name(dtype: torch.dtype) -> str:
    """As options and config files write it: `float32`, `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def _onednn_has_bf16() -> bool:
    """What torch asks before it gives oneDNN a bf16 product."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (RuntimeError, AttributeError):  # torch was built without oneDNN
        return False


def _instruction_sets() -> set[str]:
    """Those of `_SETS` that the processor has."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # newer torch
    if ask is not None:
        capabilities = ask()
        return {name for name, torchs in _SETS.items() if capabilities.get(torchs)}
    flags = set((_cpuinfo("flags") or _cpuinfo("Features")).split())
    if not flags:  # neither Linux nor a newer torch
        checks = {
            "avx2": "_is_avx2_supported",
            "avx512f": "_is_avx512_supported",
            "avx512_vnni": "_is_vnni_supported",
            "avx512_bf16": "_is_avx512_bf16_supported",
            "amx_bf16": "_is_amx_tile_supported",
        }
        return {name for name, check in checks.items() if getattr(torch.cpu, check, bool)()}
    if "asimd" in flags:
        flags.add("neon")
    return flags & _SETS.keys()


def _processor_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """A line of Linux's /proc/cpuinfo, of the first core; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() == key), "")
