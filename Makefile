# Everything a developer types. The virtual environment is made and kept up to date by .ci/setup.

PYTHON := .venv/bin/python
MANAGE := $(PYTHON) manage.py
ARGS ?=
PROCESSES ?= 3

# Some images set it, and each of the many processes would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run setup setup-development test prove campaign lint bench clean requirements

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' Makefile

run: setup  ## everything on this machine, e.g. make run ARGS="--port 8123 --no-browser --fresh"
	@exec $(MANAGE) dev $(ARGS)

setup:
	@sh .ci/setup runtime

setup-development:
	@sh .ci/setup development

test: setup-development  ## all tests, by three processes (many of them wait); what needs a missing part (containers, browser) skips, with the reason
	$(PYTHON) -m pytest -n $(PROCESSES) --failed-first --durations=15 --durations-min=1 $(ARGS)

prove: setup-development  ## the long tier of the proofs, e.g. make prove ARGS="tests/unit/sdk -s"
	$(PYTHON) -m pytest --long -m long $(ARGS)

campaign: setup-development  ## kills, freezes, locks and cuts a whole installation under load, e.g. ARGS="--seed 7"
	$(PYTHON) -m tests.reliability.campaign $(ARGS)

lint: setup-development  ## ruff, mypy, import contracts, Django's checks, migrations, templates
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	PYTHONPATH=sdk/python .venv/bin/lint-imports --no-cache
	$(MANAGE) check --fail-level WARNING
	$(PYTHON) .ci/check_migrations.py
	.venv/bin/djangofmt --check templates
	$(PYTHON) .ci/check_templates.py
	$(PYTHON) .ci/measure_code.py

bench: setup-development  ## the figures of the README, as a table
	$(PYTHON) -m benchmarks $(ARGS)

clean:  ## removes the virtual environment and the data of make run
	@sh .ci/clean

requirements: setup-development  ## pins the newest versions that requirements/*.in allow
	.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--custom-compile-command "make requirements" requirements/runtime.in -o requirements/runtime.txt
	.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade \
		--custom-compile-command "make requirements" -c requirements/runtime.txt requirements/development.in \
		-o requirements/development.txt
