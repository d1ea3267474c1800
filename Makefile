# Every verb sets up what it needs first; nothing has to be installed by hand.
#
#   make run                        the example: a report from examples/data/sales.csv
#   make run GOAL="..."             an agent plans and does it (needs a model provider's key)
#   make run PLAN=my/plan.yaml      runs a plan file
#   make test | check | fmt         the tests; linters and types; the formatter
#   make up | down                  the Prefect server and its UI in the background
#   make bench                      the benchmarks
#   make lock                       resolves pyproject.toml into the lock files
#
# ARGS="..." is appended to the command of run, test, up and bench.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test check fmt up down bench lock

# It would keep Python from caching what it compiles, and double the time of every start.
unexport PYTHONDONTWRITEBYTECODE

# By the environment and as written, so that no quote or dollar sign of a goal is interpreted.
export RUN_GOAL := $(value GOAL)
export RUN_PLAN := $(value PLAN)

BIN := .venv/bin
SETUP := deployments/setup.sh
UV_COMPILE := uv pip compile pyproject.toml --group build --universal --generate-hashes \
	--python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header -q

help:
	@sed -n '3,12s/^# \{0,3\}//p' Makefile

.venv/.ok-runtime: requirements.lock pyproject.toml $(SETUP)
	@$(SETUP) runtime

.venv/.ok-dev: requirements-dev.lock requirements.lock pyproject.toml $(SETUP)
	@$(SETUP) dev

run: .venv/.ok-runtime
	@if [ -n "$$RUN_GOAL" ]; then $(BIN)/manus run "$$RUN_GOAL" $(ARGS); \
	elif [ -n "$$RUN_PLAN" ]; then $(BIN)/manus run "$$RUN_PLAN" $(ARGS); \
	else $(BIN)/manus run examples/plans/csv_report.yaml --input examples/data/sales.csv $(ARGS); fi

test: .venv/.ok-dev
	@$(BIN)/python -m pytest -q -n 2 --dist loadscope $(ARGS)

check: .venv/.ok-dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/test_house.py

fmt: .venv/.ok-dev
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

up: .venv/.ok-runtime
	@$(BIN)/manus up $(ARGS)

down:
	@if [ -x $(BIN)/manus ]; then $(BIN)/manus down; fi

bench: .venv/.ok-dev
	@$(BIN)/python -m tests.bench.run $(ARGS)
	@$(BIN)/python -m tests.bench.router

# In an environment of its own: uv is needed by nothing else.
.venv/.uv/bin/uv: | .venv/.ok-dev
	@$(BIN)/python -m venv .venv/.uv
	@.venv/.uv/bin/python -m pip install -q uv

lock: .venv/.uv/bin/uv
	@.venv/.uv/bin/$(UV_COMPILE) -o requirements.lock
	@.venv/.uv/bin/$(UV_COMPILE) --group dev -c requirements.lock -o requirements-dev.lock
	@! grep -n '://' requirements.lock requirements-dev.lock
