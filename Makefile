# A fresh clone needs Python 3.11 or later, make, and nothing else: every target installs what it uses.
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# The peers of the benchmarks want versions of their own.
BENCH := .venv-bench
# The libraries that the adapters adapt.
INTEROP := .venv-interop
# XLA for CUDA, 0.6 GB; it needs no GPU.
GPU := .venv-gpu
READY = $(VENV)/.ready-

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help tour test test-slow test-all test-interop mutate bench bench-quick gpu-report check dist docs clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

tour: $(READY)tour ## Walk through thirteen chapters on real data; figures and a page in tour/
	$(BIN)/python -m likelax tour

test: $(READY)tests ## Run the tests (seconds each; the slow ones are left out)
	$(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(READY)tests ## Run the slow tests alone
	$(BIN)/python -m pytest -n $(WORKERS) -m slow

test-all: $(READY)tests ## Run all tests, the slow ones too
	$(BIN)/python -m pytest -n $(WORKERS) -m "not interop"

test-interop: $(INTEROP)/.ready ## Run the tests of adapters with every distribution of NumPyro, distrax, distreqx and TFP
	$(INTEROP)/bin/python -m pytest -n $(WORKERS) -m "slow or not slow" tests/interop

SEED ?= 0
COUNT ?= 20
mutate: $(READY)mutate ## Put COUNT small faults, chosen by SEED, into the library; print those that no test notices
	$(BIN)/python tests/mutate.py run --seed $(SEED) --count $(COUNT) --workers $(WORKERS)

bench: $(BENCH)/.ready ## Run the benchmarks against their peers; write docs/benchmarks.md (an hour)
	$(BENCH)/bin/python benchmarks/run.py
	$(BENCH)/bin/python benchmarks/page.py

bench-quick: $(BENCH)/.ready ## The same at small sizes, in minutes, to benchmarks/results/quick.json
	$(BENCH)/bin/python benchmarks/run.py --quick

check: $(READY)dev ## Lint, formatting, types, and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dist: $(READY)dist ## Build wheel and sdist, and try the wheel in an environment of its own
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python tests/wheel.py dist

docs: $(READY)docs ## Run the code of all pages and build the site in site/
	$(BIN)/python docs/build.py

gpu-report: $(GPU)/.ready ## Compile the main programs for an H100, without one; write docs/gpu.md (ten minutes)
	$(GPU)/bin/python benchmarks/gpu_report.py

clean: ## Remove the environment and everything made
	rm -rf $(VENV) $(BENCH) $(INTEROP) $(GPU) .mutants .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .site site tour dist

# One environment, and one stamp for each set of extras in it.
$(READY)tour: EXTRAS = plots,cli
$(READY)docs: EXTRAS = docs
$(READY)tests: EXTRAS = tests
$(READY)mutate: EXTRAS = mutate
$(READY)dist: EXTRAS = dist
$(READY)dev: EXTRAS = dev

$(READY)%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $@

$(INTEROP)/.ready: pyproject.toml
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --editable ".[tests,interop]"
	@touch $@

$(BENCH)/.ready: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --editable ".[bench]"
	@touch $@

$(GPU)/.ready: pyproject.toml
	$(PYTHON) -m venv $(GPU)
	$(GPU)/bin/python -m pip install --quiet --editable .
	version=$$($(GPU)/bin/python -c 'import jax; print(jax.__version__)'); $(GPU)/bin/python -m pip install --quiet \
	  --no-deps "jax-cuda12-plugin==$$version" "jax-cuda12-pjrt==$$version" "nvidia-cuda-nvcc-cu12"
	@touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("likelax needs Python 3.11 or later; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
