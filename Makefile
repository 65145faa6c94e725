# `make` alone prints what there is to do.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: help setup demo test check lint fast schema clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Byte-compiled once: starting workers and the Prefect server then costs half the CPU.
$(VENV)/.ready: pyproject.toml deploy/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightscore needs Python 3.11 or later; run: make PYTHON=python3.11 setup")'
	@echo "Creating $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
	@touch $@

setup: $(VENV)/.ready ## Create .venv with everything for development

demo: $(VENV)/.ready ## Score two weeks of New York flights, from data to published predictions (about 2 minutes)
	@$(BIN)/python -m flows.demo

test: $(VENV)/.ready ## Run all tests, the S3 and kill tests included
	$(BIN)/python -m pytest

fast: $(VENV)/.ready ## Run the fast tests only
	$(BIN)/python -m pytest -m 'not slow'

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint fast ## Run ruff, mypy (strict), import-linter and the fast tests

schema: $(VENV)/.ready ## Write the job file's JSON Schema again after a change of schemas/job.py
	$(BIN)/python -m schemas.job > schemas/job.schema.json

clean: ## Remove the environment and everything that the demo wrote
	rm -rf $(VENV) .demo
