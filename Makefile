# Two commands do everything on a fresh machine that has Python >= 3.11 and make: `make run` and `make test`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TEST_PROCESSES ?= 3
PROTOS := $(wildcard protos/allocator/v1/*.proto)

.PHONY: help run test check reproduce report-picture bench bench-solver protos generate requirements format clean

help: ## Show what can be made
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## Start the demonstration: daemon, this machine, simulated nodes, jobs, a live view (Ctrl-C ends it)
	@$(BIN)/allocator demo $(ARGS)

test: $(VENV)/.dev node_modules/.installed ## Run every test, installing what is missing
	@tests/install-system-packages
	@OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal $(ARGS)

check: $(VENV)/.dev node_modules/.installed ## Lint, types, layers, API lint, generated files up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	npx --no-install buf lint
	@$(MAKE) --no-print-directory -s generated OUT=build/generated
	diff -r --exclude=__pycache__ --exclude=__init__.py build/generated/allocator/v1 allocator/v1
	$(BIN)/python -m deploy.grafana.dashboard --check
	$(BIN)/python -m deploy.example_config --check
	$(BIN)/python -m allocator.metrics.reference --check

reproduce: $(VENV)/.dev ## Compute published tables again from the traces in ALLOCATOR_TRACES; downloads nothing (ARGS=easy openb gavel)
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m simulations reproduce $(ARGS)

report-picture: $(VENV)/.dev ## Replay six schedulers, and take the picture of their report anew, about a minute
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m simulations sweep schedulers --out build/schedulers
	$(BIN)/python -m simulations report build/schedulers --out build/schedulers.html
	$(BIN)/python -m tests.simulations.report.picture build/schedulers.html simulations/report/example.png

bench: $(VENV)/.dev ## Measure: rounds, solver (up to 1,000 jobs), intake
	OPENBLAS_NUM_THREADS=1 BENCH_MOST_JOBS=$${BENCH_MOST_JOBS:-1000} $(BIN)/python -m tests.bench $(ARGS)

bench-solver: $(VENV)/.dev ## The solver's whole table, about 6 minutes (BENCH_ONLY, BENCH_SEEDS, BENCH_MOST_JOBS, BENCH_JSON)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench solver

bench-%: $(VENV)/.dev ## One of the others, whole: bench-placement, bench-round, bench-intake, bench-replay, bench-enforcement, bench-agents, bench-instant, bench-slurm
	@$(if $(filter slurm enforcement,$*),tests/install-system-packages $*)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench $*

protos: $(VENV)/.dev ## Generate allocator/v1 from protos/
	@$(MAKE) --no-print-directory -s generated OUT=.

.PHONY: generated
generated:
	@mkdir -p $(OUT)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(OUT) --mypy_out=quiet:$(OUT) $(PROTOS)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) \
		$(filter %_service.proto,$(PROTOS))

generate: protos ## Generate everything that is generated: protos, dashboard, example configuration, metrics reference
	$(BIN)/python -m deploy.grafana.dashboard
	$(BIN)/python -m deploy.example_config
	$(BIN)/python -m allocator.metrics.reference

requirements: $(VENV)/.dev ## Choose the newest versions that go together, with hashes
	@$(BIN)/pip install -q uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra sim --extra postgres --extra kubernetes pyproject.toml requirements/build.in -o requirements/run.txt
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra sim --extra postgres --extra kubernetes --group dev pyproject.toml requirements/build.in -c requirements/run.txt -o requirements/dev.txt

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .

clean: ## Remove everything that was made
	rm -rf $(VENV) node_modules build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3")'
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing (once)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "Installing what tests and checks need (once)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

node_modules/.installed: package.json .npmrc
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund && touch $@; \
	else echo "npm is missing: 'make check' cannot lint the API" >&2; fi
