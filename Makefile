# Everything sets up its own environment in .venv; nothing else is needed but Python 3.11 to 3.13.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-backends lint types format benchmark clean

# The main job: train, look at alignments, export, serve, ask.
demo: $(VENV)/.demo
	$(BIN)/python -m applications.demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 8 --dist worksteal

# The layers on JAX and torch too, and beside PyPI's entmax. They are downloads that nothing else
# needs.
test-backends: $(VENV)/.backends
	$(BIN)/python -m pytest -q tests/test_backends.py tests/keras_attention/test_entmax_parity.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.dev
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/python -m benchmarks.translation_throughput
	$(BIN)/python -m benchmarks.additive_attention

clean:
	rm -rf $(VENV) demo

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[applications,serving]"
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

$(VENV)/.backends: $(VENV)/.dev
	$(BIN)/pip install --quiet jax torch==2.13.0
	$(BIN)/pip install --quiet entmax
	touch $@
