# Everything a person runs. `make demo` and `make test` need git, make and python3-venv before them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := device gateway hardware protocol process mcc demo simulation benchmarks tests
# Installed once per state of these two files; later runs need no network.
INPUTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint schemas bench clean mosquitto

help: ## what there is
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/demo.stamp: $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Kentongan needs Python 3.11 or later; name one with: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp $(INPUTS)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

mosquitto:
	@PATH=$$PATH:/usr/sbin command -v mosquitto >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients >/dev/null; \
	  else \
	    echo "The tests need mosquitto: sudo apt-get install mosquitto mosquitto-clients"; exit 1; \
	  fi; }

demo: $(VENV)/demo.stamp ## the whole story on this machine: button to command centre and back
	@$(BIN)/python -m demo

lint: $(VENV)/dev.stamp ## ruff, mypy --strict, and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: mosquitto lint ## everything that must hold before a change lands
	$(BIN)/pytest

schemas: $(VENV)/dev.stamp ## write docs/protocol/ from the code
	$(BIN)/python -m protocol.schema docs/protocol

bench: mosquitto $(VENV)/dev.stamp ## how long from the third press to the command centre, against a floor
	@$(BIN)/python -m benchmarks

clean: ## remove what these targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
