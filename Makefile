# `make demo` and `make test` need Python (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
# Further requirements for the tests, e.g. EXTRA="torch==2.13.0": their tests then run instead of being skipped.
EXTRA ?=
# One process a core; PYTEST="..." passes options on.
PYTEST ?= -n auto

bin := $(VENV)/bin

.PHONY: demo test test-all soak lint format clean

demo: $(VENV)/installed
	$(bin)/handgrad train

test: $(VENV)/tested lint
	$(bin)/python -m pytest $(PYTEST) -m "not soak"

# The tests on every Python from 3.11 on that is here, each in a folder of its own.
test-all:
	@for version in 3.11 3.12 3.13; do \
	  if python$$version -c '' 2>/dev/null; then \
	    $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "python$$version is not installed: left out"; fi; \
	done

soak: $(VENV)/tested
	$(bin)/python -m pytest $(PYTEST) -m soak

lint: $(VENV)/tested
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

format: $(VENV)/tested
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handgrad needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/tested: $(VENV)/bin/python pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[test]' $(EXTRA)
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis
