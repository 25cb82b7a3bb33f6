# Every target makes .venv from requirements.lock on first use (Python 3.11 or later, pip, and network or cache for pip).
# Arguments go through ARGS:  make test ARGS="tests/unit -k merkle"

SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
KERNEL := crypto/hitsearch/_kernel.so
READY := $(STAMP) $(KERNEL)
ARGS  ?=

.DEFAULT_GOAL := help
.PHONY: help dev demo test lint bench attacks mutants tamper vectors

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

# PYTHON=... chooses an interpreter; otherwise the first of these that starts and is new enough.
$(STAMP): requirements.lock pyproject.toml
	@python=; for name in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Concordat needs Python 3.11 or later; found: $$(python3 --version 2>&1 || echo none). Set PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "$$python has no venv module (Debian: apt-get install python3-venv)." >&2; exit 1; \
	fi; \
	echo "Installing into $(VENV) with $$("$$python" --version) ..."; \
	"$$python" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Built by the installation; again when its sources change. Without a C compiler the search goes through SEAL alone.
$(KERNEL): hatch_build.py $(wildcard crypto/hitsearch/_kernel*.[ch]) | $(STAMP)
	@$(BIN)/python hatch_build.py

dev: $(READY) ## Install everything into .venv
	@echo "Ready: source $(BIN)/activate"

demo: $(READY) ## Three countries, one hit, one refusal, three audits
	@$(BIN)/concordat demo $(ARGS)

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP) ## Style, types, and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure search, latency, ledger and real faces (half an hour)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock || \
	  echo "No fuzzer for this machine: the coverage-guided run will be skipped." >&2
	@$(BIN)/python -m pytest -q -m bench tests/bench $(ARGS)

attacks: $(READY) ## Attack the search with each defence off, and on (5 minutes)
	@$(BIN)/python tests/attacks/search/run.py $(ARGS)

mutants: $(READY) ## Break the code on purpose; the tests must notice
	@$(BIN)/python tests/mutants/run.py $(ARGS)

tamper: $(READY) ## Damage ledgers in every way; the audit must name each
	@$(BIN)/python tests/tamper/run.py $(ARGS)

vectors: $(READY) ## Check the test vectors in specs/vectors
	@$(BIN)/python -m pytest tests/vectors $(ARGS)
