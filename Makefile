# One entry for people, for pre-commit and for CI. Everything runs in .venv; delete it to start anew.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= recipes/quickstart.yaml
READY := $(VENV)/.ready
# Unit tests share no state but the fixtures of their file.
PARALLEL := --numprocesses auto --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-unit test-slow test-all check lint type layers format bench docs deploy clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create .venv and install edgeprune with what its tests need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("edgeprune needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (make PYTHON=python3.12 …)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: setup  ## run recipes/quickstart.yaml: from nothing to a judged model
	$(BIN)/edgeprune run $(RECIPE)

test: setup  ## unit tests, thorough tests and tiny end-to-end runs
	$(BIN)/python -m pytest $(PARALLEL)
	$(BIN)/python -m pytest $(PARALLEL) -m 'thorough and not gpu'
	$(BIN)/python -m pytest -m 'recipe and not gpu'

test-unit: setup  ## unit tests only (some two minutes on 2 cores)
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: setup  ## the real quickstart, killed and resumed runs on real input
	$(BIN)/python -m pytest -m 'slow and not gpu'

test-all: test test-slow  ## everything that needs no GPU

check: lint type layers docs  ## everything that is checked without running the product

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

format: setup  ## rewrite the sources in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## check that docs, schemas and shipped files agree
	$(BIN)/python -m pytest tests/docs tests/test_house.py

bench: setup  ## side-by-side measurements; results in benchmarks/results
	$(BIN)/python benchmarks/finetune_overhead.py
	$(BIN)/python benchmarks/mask_overhead.py

# The verdict on another target (exit code 3) does not keep this one from its device.
deploy: export RECIPE := $(RECIPE)
deploy: setup  ## put RECIPE's model for TARGET on DEVICE (left out: an emulated one), and judge it there
	@test -n "$$TARGET" || { echo 'make deploy TARGET=arm64 [DEVICE=ssh://user@host] [RECIPE=recipes/….yaml]' >&2; exit 2; }
	$(BIN)/edgeprune run "$$RECIPE" || [ $$? -eq 3 ]
	$(BIN)/edgeprune deploy "runs/$$(basename "$$RECIPE" .yaml)/latest" --target "$$TARGET" $${DEVICE:+--device "$$DEVICE"}

clean:  ## remove .venv and runs; the cache of assets and artifacts stays
	rm -rf $(VENV) runs
