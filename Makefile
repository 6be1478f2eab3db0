# make demo, make test: each does all of its own set-up in .venv; a second run reuses it.
#   PYTHON=python3.12      another interpreter (3.11 or newer)
#   TORCH_INDEX=ADDRESS    take torch and torchvision from this index first, e.g. one with the small CPU-only pair
#   DEMO=FOLDER            where make demo works

PYTHON ?= python3
TORCH_INDEX ?=
DEMO ?= build/demo
BIN := .venv/bin

.PHONY: setup demo test test-all lint clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is %s. Try: make PYTHON=python3.12" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) --constraint constraints.txt torch torchvision)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

demo: setup
	rm -rf $(DEMO)
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh $(DEMO)

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --diff . || true

clean:
	rm -rf .venv build dist *.egg-info
