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
	$(BIN)/fundus-preprocess demo $(DEMO)/camera --images-per-class 100 --size 512
	$(BIN)/fundus-preprocess run $(DEMO)/camera $(DEMO)/eyes --size 128
	$(BIN)/fundus-preprocess split $(DEMO)/eyes --ratios 0.6,0.1,0.3
	$(BIN)/fundus-synth train --data $(DEMO)/eyes --class anemic --steps 100 --out $(DEMO)/generator
	$(BIN)/fundus-synth generate $(DEMO)/generator --count 100 --keep-all --out $(DEMO)/synthetic
	$(BIN)/fundus-classify compare-augmentations --data $(DEMO)/eyes --classes normal,anemic \
	    --arms default,classical:anemia,gan --seeds 3 --epochs 40 --workers 2 \
	    --generator $(DEMO)/generator --generator-steps 400 \
	    --out $(DEMO)/comparison
	@echo "Open this page: $(DEMO)/comparison/report.html"

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build dist *.egg-info
