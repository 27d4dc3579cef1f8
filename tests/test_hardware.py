"""The precision that a machine chooses: as it is, and made to behave like an older one."""

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest
import torch

from flythinker.hardware import as_dtype, can_pack, choose_dtype, dtype_name, processor

# a processor without AVX-512 and bf16; torch and oneDNN read them when a process starts
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN has these levels on x86 only"
)

TOLD = """
import json, time, torch
from dataclasses import asdict
from flythinker.hardware import *

torch.set_num_threads(1)  # two would wait for each other beside other work

def seconds(dtype):
    a = torch.randn(384, 384).to(dtype)
    taken = []
    for _ in range(40):
        begun = time.perf_counter()
        a @ a
        taken.append(time.perf_counter() - begun)
    return min(taken)

print(json.dumps(asdict(processor()) | {
    "dtype": dtype_name(native_dtype()),
    "packs": [can_pack(torch.float32), can_pack(torch.bfloat16), can_pack(torch.float16)],
    "bf16_over_float32": seconds(torch.bfloat16) / seconds(torch.float32),
}))
"""


def told(**variables: str) -> dict[str, Any]:
    """What a process with these variables says of the processor, and what it measures."""
    script = [sys.executable, "-c", TOLD]
    done = subprocess.run(
        script, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@x86
def test_an_older_processor_computes_in_float32_and_packs_no_bf16():
    older = told(**OLDER)
    assert older["instruction_sets"] == ["avx2"]
    assert older["aten"] == "AVX2"
    assert older["native_bf16"] is False
    assert older["packs"] == [True, False, False]
    if not torch.accelerator.is_available():
        assert older["dtype"] == "float32"
    assert older["bf16_over_float32"] > 4  # as it should be for such an answer


def test_bf16_is_native_where_a_product_in_it_is_fast():
    here = told()
    assert (here["bf16_over_float32"] < 2) is here["native_bf16"]


@x86
@pytest.mark.parametrize("level", ["AVX2", "AVX512_CORE", "default"])
def test_the_instruction_sets_are_those_that_onednn_says_it_uses(level):
    pack = "import torch; torch.ops.mkldnn._reorder_linear_weight(torch.ones(32, 32), 1)"
    tell = "from flythinker.hardware import processor; print(*processor().instruction_sets)"
    done = subprocess.run(
        [sys.executable, "-c", f"{tell}\n{pack}"],
        env=os.environ | {"ONEDNN_VERBOSE": "1", "ONEDNN_MAX_CPU_ISA": level},
        capture_output=True,
        text=True,
        check=True,
    )
    ours = done.stdout.splitlines()[0].split()
    (theirs,) = [line for line in done.stdout.splitlines() if ",cpu,isa:" in line]
    assert ("avx512f" in ours) is ("AVX-512" in theirs or "AVX10" in theirs)
    assert ("avx2" in ours) is ("AVX" in theirs)
    if "AVX10" not in theirs:
        assert ("avx512_bf16" in ours) is ("bfloat16" in theirs)


def test_float32_stays_and_an_option_is_a_type(capsys):
    assert choose_dtype(torch.float32, None, "m") == torch.float32
    assert choose_dtype(None, None, "m") == torch.float32
    assert [as_dtype("auto"), as_dtype("bfloat16")] == [None, torch.bfloat16]
    assert dtype_name(torch.bfloat16) == "bfloat16"
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(torch.accelerator.is_available(), reason="GPUs multiply float16")
def test_a_float16_model_is_float32_on_a_cpu_with_one_line(capsys):
    for _ in range(2):
        assert choose_dtype(torch.float16, None, "half") == torch.float32
    line = "half: its float16 weights are loaded as float32 ("
    assert [text.startswith(line) for text in capsys.readouterr().err.splitlines()] == [True]


def test_nothing_but_float32_and_bf16_is_packed():
    assert not can_pack(torch.float64)
    assert can_pack(torch.bfloat16) or not processor().native_bf16
