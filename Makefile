# The words of this project. `make` alone lists them.
#   PYTHON=python3.12 make setup     another interpreter (3.11 to 3.13)

PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
RUN := $(BIN)/python
USER_READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
DOCS_READY := $(VENV)/.ready-docs
INSTALL := $(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt

# Where it is set, as in many containers, each of the processes that tests start would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# Where the tests in a browser look for axe; REGRAFT_AXE names another file.
AXE := build/axe/axe.min.js

.PHONY: help setup setup-dev setup-browser demo check format test test-slow bench docs docs-generate docs-serve clean

help:
	@echo "make setup      .venv with the command $(BIN)/regraft"
	@echo "make demo       set up, then one real task from data to a proven model (about two minutes)"
	@echo "make check      format, lint, types, order of the rooms, architecture tests"
	@echo "make format     put the code into the house format"
	@echo "make test       the default tests: no network, no GPU, minutes"
	@echo "make test-slow  the full product of the contract tests"
	@echo "make setup-browser  what the tests of regraft ui in a browser need: Chromium, Playwright, axe (Debian, as root)"
	@echo "make bench      our times against PyTorch's own transfer-learning tutorial, as ratios"
	@echo "make docs       the documentation as a static site in build/site; a dead link fails"
	@echo "make docs-serve the same, shown on http://127.0.0.1:8000 with search"
	@echo "make docs-generate  write again what the documentation takes from the code"
	@echo "make clean      remove .venv and what the tools leave behind"

setup: $(USER_READY)

setup-dev: $(DEV_READY)

# A stamp is older than the two files that say what to install, or it is right.
$(USER_READY): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' here. Install Python 3.11, 3.12 or 3.13, or name one: make setup PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else "Regraft needs Python 3.11, 3.12 or 3.13; %s is %d.%d. Name another: make setup PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	"$(PYTHON)" -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(DEV_READY): $(USER_READY)
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(DOCS_READY): $(USER_READY)
	$(INSTALL) --editable '.[docs]'
	@touch $@

# Debian's Chromium, what drives it, and the rules of accessibility. Needs root, npm and a package index.
setup-browser: $(DEV_READY)
	apt-get install -y --no-install-recommends chromium fonts-dejavu-core
	$(INSTALL) --editable '.[dev,browser]'
	mkdir -p $(dir $(AXE))
	npm pack --silent --pack-destination $(dir $(AXE)) axe-core@4.14.1
	tar -xzf $(dir $(AXE))axe-core-4.14.1.tgz -C $(dir $(AXE)) --strip-components 1 package/axe.min.js

demo: $(USER_READY)
	$(RUN) examples/demo.py

check: $(DEV_READY)
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(BIN)/lint-imports
	$(RUN) docs/generate.py --check
	$(RUN) -m pytest tests/architecture -q

format: $(DEV_READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# One process a core, whole files each: modules share networks and folders among their tests.
# Files in the order of their folders: by the number of tests, slow files of few tests would come last, one at a time.
PARALLEL := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test: $(DEV_READY)
	$(RUN) -m pytest $(PARALLEL)

test-slow: $(DEV_READY)
	$(RUN) -m pytest $(PARALLEL) -m "slow and not gpu"

bench: $(USER_READY)
	$(RUN) benchmarks/bench.py

# Not with --quiet, which keeps warnings from being counted, so that a dead link would pass. The variable silences an
# advertisement of the theme.
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "build/site/index.html"

docs-serve: docs
	$(RUN) -m http.server --bind 127.0.0.1 --directory build/site 8000

docs-generate: $(DEV_READY)
	$(RUN) docs/generate.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
