# Byline: every target's name is a verb; `make help` is made from the ## remarks.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
DEMO_DIR ?= byline-demo

.PHONY: help demo test test-all check format lint type house bench golden clean
.DEFAULT_GOAL := help

help: ## List the targets and what they do.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

# Torch comes first and by exact version, so that nothing else can pull another build of it.
$(VENV)/.ok: pyproject.toml constraints.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Byline needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; set PY=python3.11")'
	@echo 'Installing into $(VENV); a few minutes and about 2 GB'
	$(PY) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_ARGS) -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.ok ## Settle a whole month on this machine: real text, a real model, real books.
	$(BIN)/byline demo --dir $(DEMO_DIR)

test: $(VENV)/.ok ## Run the tests of every change (minutes).
	$(BIN)/pytest

test-all: $(VENV)/.ok ## Run all tests, nightly-scale ones included (an hour or more).
	$(BIN)/pytest -m '' --timeout 7200

format: $(VENV)/.ok ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.ok ## Check format and lint rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

type: $(VENV)/.ok ## Check the types, strictly.
	$(BIN)/mypy

house: $(VENV)/.ok ## Check the house rules: import arrow, sizes, docstrings, commands, README.
	$(BIN)/pytest tests/house

check: lint type test ## Run what CI runs: format, lint, types, house rules, tests.

bench: $(VENV)/.ok ## Measure speed and accuracy; prints ratios and intervals.
	$(BIN)/python -m tests.benchmarks

golden: $(VENV)/.ok ## Write the golden files anew; review the difference like code.
	$(BIN)/python -m tests.golden.regenerate

clean: ## Remove what the targets made.
	rm -rf $(VENV) $(DEMO_DIR) .mypy_cache .ruff_cache .pytest_cache .hypothesis
