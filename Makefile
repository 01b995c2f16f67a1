# What one does with this project; `make` lists it. Everything runs in $(VENV), which is built
# when it is absent or when pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

# A repository whose history `make demo` pushes; without it that of this folder.
GIT ?=
# The port of `make dev`.
PORT ?=
# Processes that run tests at a time; 0 runs them in pytest's own, as a debugger wants it. By default
# `make test` has three for two cores, as its longest tests wait more than they work.
WORKERS ?=
# Further arguments of all that say so in their description.
ARGS ?=

export DAGSTER_DISABLE_TELEMETRY = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo dev test quick check docs pictures fuzz soak bench capacity format clean

PYTEST = $(BIN)/python -m pytest --dist loadgroup --numprocesses
QUICK = $(addprefix musehub_pipeline_tests/,\
    domain phases postgres queue index audit test_index_mpacks.py test_odd_rows.py test_docs.py)

help: ## List these targets
	@awk -F ': .*## ' '/^[a-z]+: .*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  Variables: PYTHON=$(PYTHON) VENV=$(VENV); GIT=folder for demo, PORT=number for dev,"
	@echo "  WORKERS=number for test and quick, ARGS='...' for test, quick, fuzz, soak, bench, capacity."

demo: $(STAMP) ## Push a repository's history and index it here, with nothing to set up (GIT=folder)
	$(BIN)/musehub-pipeline demo $(if $(GIT),--git '$(GIT)')

dev: $(STAMP) ## Run the Dagster UI and daemon in the foreground (PORT=number)
	$(BIN)/musehub-pipeline dev $(if $(PORT),--port '$(PORT)')

test: $(STAMP) ## Run the test suite on real services (ARGS='-k word')
	$(PYTEST) $(or $(WORKERS),auto) $(ARGS)

quick: $(STAMP) ## Run the tests of the core that take no seconds each, as before a commit (ARGS='-k word')
	$(PYTEST) $(or $(WORKERS),logical) -m 'not slow' $(QUICK) $(ARGS)

check: $(STAMP) ## Check style, types, the direction of imports, and that Dagster loads the definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo
	$(BIN)/dagster definitions validate

# With --quiet, mkdocs would not count warnings, and --strict would let them pass.
docs: $(STAMP) ## Write docs/cli.md anew and build the documentation in site/; a warning is an error
	@$(BIN)/python -c 'import material' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs]'
	$(BIN)/python -m musehub_pipeline_tests.cli_reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

pictures: $(STAMP) ## Take the pictures in docs/pictures anew, of the real UI
	$(BIN)/python -m musehub_pipeline_tests.pictures

fuzz: $(STAMP) ## Look for mpacks that the pipeline stumbles over (ARGS=-max_total_time=seconds)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,fuzz]'
	$(BIN)/python -m musehub_pipeline_tests.fuzz $(ARGS)

soak: $(STAMP) ## Keep a hub under load while its parts die, for ten minutes (ARGS='--minutes 60')
	$(BIN)/python -m musehub_pipeline_tests.soak $(ARGS)

bench: $(STAMP) ## Measure throughput, memory, the queue and a lone push (ARGS='...')
	$(BIN)/python -m musehub_pipeline_tests.benchmarks $(ARGS)

capacity: $(STAMP) ## Say what a hub of some size needs, by rates measured here (ARGS='--per-second 50')
	$(BIN)/python -m musehub_pipeline_tests.capacity $(ARGS)

format: $(STAMP) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what can be made again: virtual environments, caches, the tests' pictures and the site
	test ! -f $(STAMP) || rm -rf $(VENV)
	rm -rf .fuzz .venv .venv-newest .pytest_cache .ruff_cache .hypothesis .coverage .artefacts build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c '' || { \
	    echo "$(PYTHON) does not run; pass another Python, as in: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	    echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); this project needs 3.11 to 3.14." >&2; \
	    echo "Pass another Python, as in: make PYTHON=python3.12" >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	    echo "$(PYTHON) cannot make virtual environments." >&2; \
	    echo "On Debian: apt-get install python3-venv" >&2; \
	    exit 1; }
	@echo "Installing into $(VENV); the first time this takes a minute or two."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@
