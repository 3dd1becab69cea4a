# Every target does its own set-up in $(VENV) and skips it when nothing changed.
#   make PYTHON=python3.12 VENV=.venv312 test      another interpreter, another environment
#   make WORKERS=0 test                            one process, output unbuffered

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST_FLAGS ?=

BIN = $(VENV)/bin
PIP = "$(BIN)/python" -m pip --no-input --disable-pip-version-check --quiet
PYTEST = "$(BIN)/python" -m pytest
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# install(stamp, requirement): create the environment if it is missing, then install the package with its
# extras, unless the stamp is newer than both files that decide what is installed.
define install
	@if [ ! -x "$(BIN)/python" ]; then \
		echo "Creating $(VENV)"; "$(PYTHON)" -m venv "$(VENV)"; \
	fi
	@if [ ! "$(VENV)/$(1)" -nt pyproject.toml ] || [ ! "$(VENV)/$(1)" -nt constraints.txt ]; then \
		echo "Installing $(2) into $(VENV)"; \
		$(PIP) install --constraint constraints.txt --editable "$(2)" < /dev/null && touch "$(VENV)/$(1)"; \
	fi
endef

.DEFAULT_GOAL := help
.PHONY: help demo test slow slowest check structure clean install install-dev

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

install:  ## environment with the package, enough to generate
	$(call install,.installed,.)

install-dev:  ## environment with the training and development extras
	$(call install,.installed-dev,.[train$(comma)dev])

comma := ,

demo: install  ## label map to video: out/demo.mp4
	@mkdir -p out
	"$(BIN)/seg2vid" generate examples/street.png -o out/demo.mp4 --frames 25 --seed 3 --size 512x256 --overwrite
	@echo out/demo.mp4

test: install-dev  ## the fast tests
	$(PYTEST) $(PARALLEL) $(PYTEST_FLAGS)

slow: install-dev  ## the slow tests: training runs, real clips
	$(PYTEST) -m slow --timeout 1800 $(PYTEST_FLAGS)

slowest: install-dev  ## the fast tests with the twenty slowest of them listed
	$(PYTEST) $(PARALLEL) --durations 20 --durations-min 0.1 $(PYTEST_FLAGS)

check: install-dev  ## format, lint, layers, types, then the fast tests
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .
	"$(BIN)/lint-imports"
	"$(BIN)/mypy"
	$(PYTEST) $(PARALLEL) $(PYTEST_FLAGS)

structure: install-dev  ## rooms, arrows, circles, chains, files and lines of the package
	@"$(BIN)/python" benchmarks/structure.py

clean:  ## remove the environment, outputs and caches
	rm -rf "$(VENV)" out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +
