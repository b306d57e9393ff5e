# Everything starts from here, on a machine with Python 3.11+ and make. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PARAMS ?= params.yaml
# MLflow and Prefect keep what they know in the project folder; set these to use your own servers.
export MLFLOW_DISABLE_TELEMETRY ?= true
export DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false
export PREFECT_HOME ?= $(CURDIR)/.prefect
export DVC_NO_ANALYTICS ?= 1

# One thread a test process: threads that wait for each other are slower than none.
CORES := $(shell getconf _NPROCESSORS_ONLN)
PYTEST := PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 MAKEFLAGS= $(BIN)/python -m pytest \
	--dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-fast lint docs ui deploy services services-down services-status doctor repro audit lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create the environment with the pinned dependencies

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.locked: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is $$($(PYTHON) --version); Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned dependencies into $(VENV) (torch is large: some minutes the first time)"
	@infra/install.sh $(BIN)/python requirements.lock || \
		{ echo "error: the lock has files for Linux (x86-64, arm64), macOS 14 or newer (arm64) and Windows;" \
		"elsewhere, install what pyproject.toml asks for: pip install '.[pipeline]'"; exit 2; }
	@touch $@

demo: setup ## Run the whole pipeline on the embedded image set
	@PATH="$(BIN):$$PATH" $(BIN)/python -m flows pipeline --params $(PARAMS)

test: setup ## Run all tests, fast ones and those on real servers, and the lint beside them
	@$(MAKE) --no-print-directory -j2 lint test-all

test-all: setup # two processes a core: slow tests wait for servers most of their time
	@$(PYTEST) -n $$(($(CORES) * 2))

test-fast: setup ## Run the fast tests
	@$(PYTEST) -n $(CORES) -m "not slow"

lint: setup ## Check style, types and the architecture
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary soup flows
	@PATH="$(BIN):$$PATH" $(BIN)/lint-imports --no-logo > .lint-imports.log || { cat .lint-imports.log; exit 1; }

docs: setup ## Build the site of docs/ into site/ (open site/index.html)
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH="$(CURDIR)" $(BIN)/mkdocs build --quiet --clean

ui: setup ## Start MLflow and Prefect on what was run (Ctrl-C stops both)
	@PATH="$(BIN):$$PATH" infra/ui.sh

deploy: setup ## The same, with the pipeline deployed and a worker for it
	@PATH="$(BIN):$$PATH" TARGET=deploy infra/ui.sh worker

services: setup ## Start PostgreSQL, S3, MLflow, Prefect and a worker, with passwords
	@PATH="$(BIN):$$PATH" infra/services.sh up

services-down: ## Stop them; what they hold stays
	@PATH="$(BIN):$$PATH" infra/services.sh down

services-status: ## Say which of them run
	@PATH="$(BIN):$$PATH" infra/services.sh status

doctor: setup ## Look for what is wrong with servers, workers, limits (FREE=1: free stuck slots)
	@PATH="$(BIN):$$PATH" $(BIN)/python -m flows doctor $(if $(FREE),--free)

repro: setup ## Reproduce by DVC: only what changed is run
	@PATH="$(BIN):$$PATH" $(BIN)/dvc repro

audit: setup ## Look for known vulnerabilities of the pinned versions (asks the package index)
	@$(BIN)/python .ci/audit.py

lock: ## Pin what pyproject.toml asks for, with hashes (UPGRADE=1: the newest versions; needs uv)
	@infra/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## Delete results, runs and caches (not the environment)
	rm -rf out data/shapes .cache mlruns mlflow.db .prefect
