# `make demo` needs Python 3.11 to 3.13 and make, `make test` also g++ and Python's headers; everything else comes from requirements.lock into .venv.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast compiler bench-pretrain bench-ablation bench-smoke lint docs clean clean-demo

# The first of these that is 3.11 to 3.13 (what the lock covers); or name one: make setup PYTHON=/path/to/python3.12
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

DEMO_OUT ?= runs/demo
DEMO_STEPS ?=
SEED ?= 0
ARGS ?=
WORKERS ?= 4
# DeepSpeed compiles with the ninja that is here, the environment activated or not.
export PATH := $(abspath $(BIN)):$(PATH)

help:
	@echo 'make demo    shards from sample/, a short ZeRO-2 run, evaluation, a table and a picture in $(DEMO_OUT); started again, it continues'
	@echo '             DEMO_STEPS=8 a short look   DEMO_OUT=DIR another folder   SEED=1 another seed'
	@echo 'make test    the whole test suite   ARGS="-k name -x" for pytest   WORKERS=0 one test after the other'
	@echo 'make test-fast   the tests that are not marked slow; ARGS and WORKERS as above'
	@echo 'make bench-pretrain   hours: three seeds, all benchmarks, docs/benchmarks.md'
	@echo 'make bench-ablation   hours: three seeds with all tasks and without each of five, docs/benchmarks.md'
	@echo 'make bench-smoke   minutes: the benchmarks at their smallest size, to see that they run; with the shards of make demo'
	@echo 'make lint    ruff (rules and format) and mypy'
	@echo 'make docs    these documents as a site, in build/docs'
	@echo 'make setup   only the environment in $(VENV)   PYTHON=python3.12 with this Python   CPU_ONLY=1 see docs/install.md'
	@echo 'make clean   remove caches   make clean-demo   remove $(DEMO_OUT)'

setup: $(STAMP)
	@# $(PYTHON) matters only where it is named: else any that fits would do
	@test -z '$(filter command environment,$(firstword $(origin PYTHON)))' || test "$$($(PYTHON) -V)" = "$$($(BIN)/python -V)" || \
		{ echo "error: $(VENV) has $$($(BIN)/python -V), not $$($(PYTHON) -V); remove it, or name another folder: VENV=DIR" >&2; exit 2; }

demo: $(STAMP)
	@$(BIN)/python -m downstream.quickstart --out '$(DEMO_OUT)' --seed $(SEED) $(if $(DEMO_STEPS),--steps $(DEMO_STEPS))

# One thread: sums of floating-point numbers depend on how many there are. -ra: the last lines say what was skipped, and why.
# Four workers, on any machine: many tests start two processes that wait for each other, and those of Slurm mostly wait.
test: $(STAMP) compiler
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder -ra --durations=15 $(ARGS)

test-fast: $(STAMP) compiler
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --no-loadscope-reorder -ra -m 'not slow' $(ARGS)

# The tests compare our AdamW with DeepSpeed's, which is compiled first. A run on a CPU compiles nothing.
compiler: $(STAMP)
	@$(BIN)/python -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' || \
		echo "note: this Python has no headers (Debian: apt-get install python3-dev), so DeepSpeed's AdamW is not compiled and its tests are skipped" >&2
	@command -v g++ >/dev/null || { echo 'error: g++ is missing, which the tests compile with (Debian: apt-get install g++)' >&2; exit 2; }

# Hours: three seeds of pre-training, each then fine-tuned on everything. CORPORA and EVALUATION are laid out as shared/ is.
CORPORA ?= ../shared/corpora
EVALUATION ?= ../shared/evaluation
bench-pretrain: $(STAMP)
	$(BIN)/python benchmarks/results.py --raw '$(CORPORA)' --evaluation '$(EVALUATION)' $(ARGS)

# As long: three seeds, each with all tasks and without each of the five that the paper leaves out.
bench-ablation: $(STAMP)
	$(BIN)/python benchmarks/ablation.py --raw '$(CORPORA)' --evaluation '$(EVALUATION)' $(ARGS)

# Those that no test runs. Nothing is taken over from the time before.
bench-smoke: $(STAMP)
	rm -rf runs/smoke
	$(BIN)/python benchmarks/smoke.py --demo '$(DEMO_OUT)' --out runs/smoke $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A link that leads nowhere, or a page that no menu has, ends the build. The variable silences an advertisement.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

clean-demo:
	rm -rf '$(DEMO_OUT)'

# With CPU_ONLY=1 the CUDA libraries are left out; a CPU build of torch and torchvision must be in .venv already.
LOCK := $(if $(CPU_ONLY),$(VENV)/cpu.lock,requirements.lock)

$(STAMP): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: no Python 3.11, 3.12 or 3.13 found (Debian: apt-get install python3 python3-venv python3-dev); or name one: make setup PYTHON=...' >&2; exit 2; }
	@$(PYTHON) -c '$(FITS)' 2>/dev/null || { echo 'error: $(PYTHON) is not Python 3.11, 3.12 or 3.13; name another: make setup PYTHON=...' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'error: $(PYTHON) has no venv (Debian: apt-get install python3-venv)' >&2; exit 2; }
	@# pip comes last: Ctrl-C in the first seconds leaves a Python without it.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo '$(PYTHON) -m venv $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@$(if $(CPU_ONLY),awk '/^[a-z0-9]/ {cuda = /^(nvidia|cuda|triton)/} !cuda' requirements.lock > $(VENV)/cpu.lock)
	@$(if $(CPU_ONLY),$(BIN)/python -c 'import torch; exit(torch.version.cuda is not None)' || { echo 'error: CPU_ONLY=1 needs a CPU build of torch in $(VENV) first; docs/install.md says how' >&2; exit 2; })
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
