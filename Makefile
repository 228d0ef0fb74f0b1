# `make` alone lists what there is. Every target but `help` needs the environment, which `setup` makes once.
.DEFAULT_GOAL := help
SHELL := bash
BIN := .venv/bin
MILLRACE := $(BIN)/millrace
export MILLRACE_PYTHON
TOGETHER := --numprocesses 2 --dist loadscope --no-loadscope-reorder

.PHONY: help setup demo up down status logs reset test test-fast test-long check-dags lint bench dbt upgrade

help:
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
	  awk -F'|' '{ printf "  make %-11s %s\n", $$1, $$2 }'

setup: ## make .venv with everything in it (the others do this by themselves)
	@include/stack/setup.sh

demo: setup ## start the stack, run every DAG on the demo shop and show what happened
	@$(MILLRACE) demo $(ARGS)

up: setup ## start Postgres, S3 and Airflow and wait until they are healthy
	@$(MILLRACE) up

down: setup ## stop everything that runs
	@$(MILLRACE) down

status: setup ## show what runs, where, and how to log in
	@$(MILLRACE) status

logs: setup ## show the last log lines of every service (ARGS="scheduler -f")
	@$(MILLRACE) logs $(ARGS)

reset: setup ## delete all local data of a stopped stack; asks first (ARGS=--yes)
	@$(MILLRACE) reset $(ARGS)

test: setup ## run the tests: fast, dbt, integration, end to end
	@$(BIN)/python -m pytest -m "not bench and not long" $(TOGETHER) $(ARGS)

test-long: setup ## run what takes long: chaos, every bad batch, every way of reading under kills
	@$(BIN)/python -m pytest -m long $(TOGETHER) $(ARGS)

test-fast: setup check-dags ## check the DAGs and run the unit tests, in seconds and without a service
	@$(BIN)/python -m pytest -m unit $(ARGS)

check-dags: setup ## check the integrity of all DAGs, as CI does before a deploy (ARGS=--update-snapshot)
	@$(BIN)/python -m pytest tests/dags $(ARGS)

lint: setup ## check style, types and who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup ## measure throughput and latency
	@$(BIN)/python -m pytest -m bench -s $(ARGS)

dbt: setup ## run dbt (ARGS="build --select +fct_orders")
	@$(MILLRACE) dbt $(ARGS)

upgrade: setup ## take the newest versions that fit into requirements.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.10 --no-emit-index-url \
	  --no-annotate --custom-compile-command "make upgrade" requirements.in --output-file requirements.txt
	@git --no-pager diff --stat requirements.txt
