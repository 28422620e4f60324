# `make demo` and `make test` do all their own set-up; both may be run again at any time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check figures benchmark clean

help:
	@echo "make demo       segment the example pictures with the bundled model (sets itself up)"
	@echo "make test       run the tests (sets itself up)"
	@echo "make check      format, lint and type checks"
	@echo "make figures    measure the bundled model on held-out scenes (needs Debian's emoji font and CLDR names)"
	@echo "make benchmark  time this library against the reference implementation, about 15 minutes"
	@echo "make clean      remove the environment and what the tools left"

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py --out out/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

check: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

figures: $(VENV)/.core
	$(BIN)/clipseg evaluate nano

benchmark: $(VENV)/.test
	$(BIN)/python benchmarks/against_reference.py

# A Debian without python3-venv cannot make environments: as root we bring it, otherwise we say so.
$(BIN)/python:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  echo "python3-venv is missing; trying to install it" >&2; \
	  apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); } || { \
	  rm -rf $(VENV); echo "could not make a virtual environment: install python3-venv, then run make again" >&2; exit 1; }

# The stamps are written last, so an installation that was cut off is begun again.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[test]"
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
