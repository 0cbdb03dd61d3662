# `make demo` and `make test` need Python (3.11 or newer) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
# Further requirements for the tests, e.g. EXTRA="torch==2.13.0": their tests then run instead of being skipped.
EXTRA ?=
# The extras that are installed with it; GROUPS=test,ray tests the training on Ray too.
GROUPS ?= test
# One process more than there are cores, as tests of Ray and of the browser mostly wait; PYTEST="..." passes options on.
PYTEST ?= -n $(shell $(PYTHON) -c 'import os; print(1 + len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)))') --dist worksteal

bin := $(VENV)/bin
# Stamps say what is installed: a venv is made anew for another PYTHON, and added to for another EXTRA or GROUPS.
made := $(VENV)/made-by-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
tested := $(VENV)/tested-with-$(shell echo '$(GROUPS) $(EXTRA)' | cksum | cut -d ' ' -f 1)

# The packages that the page is built and tested with.
packages := web/node_modules/.package-lock.json

.PHONY: demo test test-all soak lint format page docs clean

demo: $(VENV)/installed
	$(bin)/handgrad train

test: $(tested) $(packages) lint
	$(bin)/python -m pytest $(PYTEST)

# The tests on every Python from 3.11 on that is here, each in a folder of its own.
test-all:
	@for version in 3.11 3.12 3.13; do \
	  if python$$version -c '' 2>/dev/null; then \
	    $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "python$$version is not installed: left out"; fi; \
	done

# The tests that draw at random, with SOAK times as many examples: minutes to hours.
SOAK ?= 20
soak: $(tested)
	HANDGRAD_SOAK=$(SOAK) $(bin)/python -m pytest $(PYTEST) \
	  tests/ops/test_hypothesis.py tests/engines/test_value_and_grad.py tests/formats/test_files.py tests/formats/test_onnx_hostile.py \
	  tests/formats/test_hostile_safetensors.py tests/formats/test_hostile_json.py tests/formats/test_hostile_tables.py \
	  tests/formats/test_to_onnx.py tests/formats/test_sklearn.py tests/check/test_healthy.py \
	  tests/engines/compiled/test_any_network.py tests/engines/compiled/test_vectors.py \
	  tests/training/test_checkpoints_killed.py tests/cli/test_killed.py tests/cli/test_streamed_killed.py \
	  tests/scale/test_two_hosts.py tests/models/graph/test_random.py tests/explain/test_derive.py tests/explain/test_source.py \
	  tests/explain/test_derive_pages.py tests/explain/why_zero/test_zeros_in_graphs.py

lint: $(tested)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

format: $(tested)
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

$(made):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handgrad needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The page in the package, from its sources in web/.
page: $(packages)
	cd web && npm run -s build

$(packages): web/package-lock.json
	@if command -v npm >/dev/null; then cd web && npm ci --no-audit --no-fund --loglevel=error; \
	else echo "Node.js is not here: the page in the package is tested as it is, and not built anew"; fi

# The generated parts of docs/: the table of ops, and that of the mutants.
docs: $(tested)
	$(bin)/python docs/generate.py
	PYTHONPATH=tests $(bin)/python -m mutation.report

$(VENV)/installed: $(made) pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(tested): $(made) pyproject.toml
	$(bin)/python -m pip install -q --disable-pip-version-check -e '.[$(GROUPS)]' $(EXTRA)
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) web/node_modules build dist .mypy_cache .ruff_cache .hypothesis
