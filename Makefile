# `make run` and `make test` need Python 3.11 to 3.14 and make; everything else they fetch into .venv themselves.
#   UV_TORCH_BACKEND=cpu make run    a lighter install for a machine without an NVIDIA GPU
#   make run ARGS="--data my/folder" options of `anchorkit run`
#   make run PYTHON=python3.12       the Python to make .venv with
#   make docs RUN=runs/my-run         the run whose notebooks and handout the site shows
# Works with GNU make 3.81, which macOS has.

PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
ARGS ?=
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
RUN_READY := $(VENV)/.ready-to-run
TEST_READY := $(VENV)/.ready-to-test
DOCS_READY := $(VENV)/.ready-for-docs
LOWEST := .venv-lowest

.PHONY: help run test check docs lab test-lowest lowest-versions clean

help:
	@echo "make run          the notebooks from start to end, then a page with the result (about 5 minutes)"
	@echo "make test         the tests"
	@echo "make check        ruff, mypy, import-linter"
	@echo "make docs         the site of the documentation, for use without a network (docs/_build/html)"
	@echo "make lab          JupyterLab in notebooks/"
	@echo "make test-lowest  the tests with the oldest versions that pyproject.toml allows, in a .venv of their own"
	@echo "make clean        remove .venv, the site and caches (runs/ stays)"

run: $(RUN_READY)
	$(VENV_PYTHON) -m anchorkit run $(ARGS)

lab: $(RUN_READY)
	$(VENV_PYTHON) -m jupyterlab --notebook-dir=notebooks $(ARGS)

# A process a core, each with one thread for torch: two processes with two threads each wait for one another.
test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest -q --numprocesses=auto --dist=loadfile --no-loadscope-reorder --max-worker-restart=0 $(ARGS)

check: $(TEST_READY)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy --num-workers=2
	$(VENV)/bin/lint-imports

docs: $(DOCS_READY)
	$(VENV_PYTHON) docs/make_site.py $(if $(RUN),--run $(RUN)) $(ARGS)

# The stamps are redone when the dependencies change, and not otherwise. `doctor` compiles the evaluator's loops, and for the
# lessons draws the built-in images; tests draw their own.
$(RUN_READY): pyproject.toml | $(VENV_PYTHON)
	$(VENV_PYTHON) -m uv pip install --compile-bytecode --python $(VENV_PYTHON) --editable .
	-$(VENV_PYTHON) -m anchorkit doctor --ready
	@touch $@

$(TEST_READY): pyproject.toml | $(VENV_PYTHON)
	$(VENV_PYTHON) -m uv pip install --compile-bytecode --python $(VENV_PYTHON) --editable '.[dev]'
	-$(VENV_PYTHON) -c 'from anchorkit.doctor import try_out; print(try_out(train=1, val=6, test=0).found)'
	@touch $@

$(DOCS_READY): pyproject.toml | $(VENV_PYTHON)
	$(VENV_PYTHON) -m uv pip install --compile-bytecode --python $(VENV_PYTHON) --editable '.[docs,onnx]'
	@touch $@

$(VENV_PYTHON):
	@for candidate in $(PYTHON); do \
	  if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	    echo "making $(VENV) with $$candidate"; \
	    "$$candidate" -m venv $(VENV) && $(VENV_PYTHON) -m pip install --quiet uv && exit 0; \
	    rm -rf $(VENV); \
	    echo "$$candidate could not make $(VENV) (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "anchorkit needs Python 3.11 to 3.14; none of these is one: $(PYTHON). Name yours: make PYTHON=/path/to/python" >&2; \
	exit 1

# The oldest promised versions. Only wheels are used: the lowest version on each Python is the lowest with a wheel for it.
test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q $(ARGS)

$(LOWEST)/.ready: pyproject.toml | $(VENV_PYTHON)
	$(VENV_PYTHON) -m venv $(LOWEST)
	$(VENV_PYTHON) -m uv pip install --python $(LOWEST)/bin/python --resolution lowest-direct \
	  --only-binary :all: --no-binary anchorkit --editable '.[dev]'
	@touch $@

# What `make test-lowest` would install on the oldest and the newest Python, without installing it.
lowest-versions: | $(VENV_PYTHON)
	@for version in 3.11 3.14; do \
	  echo "# Python $$version"; \
	  $(VENV_PYTHON) -m uv pip compile --quiet --no-header --no-annotate --python-version $$version \
	    --resolution lowest-direct --only-binary :all: --extra dev pyproject.toml || exit 1; \
	done

clean:
	rm -rf $(VENV) $(LOWEST) build dist docs/_build
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
