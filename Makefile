# make demo   trains and evaluates a small model on generated scenes (CPU, minutes)
# make test   runs the tests, but for the slow ones (minutes)
# make test-slow   runs those: several processes, browsers, clusters, kills, simulations
# make lint   ruff, mypy, import-linter
# make docs   builds the documentation site: build/docs/site/index.html (a minute)
# make wheel-test   runs part of the tests against a wheel in an empty environment
#
# Each makes .venv on its first call; later calls install nothing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
# Each process keeps to neighboring tests, which share what they train, until the other has none left.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --durations 20

.PHONY: demo test test-slow lint format docs wheel-test schema clean

demo: $(VENV)/installed
	$(BIN)/slotlab train experiments/demo.yaml --run $(RUN) --overwrite

test: $(VENV)/installed-dev
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/installed-dev
	$(PYTEST) -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd .typing && ../$(BIN)/lint-imports --config ../pyproject.toml  # from there it finds all of slotlab

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-dev
	$(BIN)/python docs/site/build.py

wheel-test: $(VENV)/installed-dev
	PYTHON=$(PYTHON) bash tests/wheel.sh

schema: $(VENV)/installed
	$(BIN)/slotlab schema --json experiments/schema.json
	$(BIN)/slotlab schema --ablation --json experiments/ablation_schema.json

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("slotlab needs Python 3.11 or newer, not %s; write: make PYTHON=python3.12 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
