# The commands of this project. Each creates .venv first if it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PEERS := .cache/bench/venv
# Without stored bytecode, each test worker and each pyinfra process would compile all code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down clean test check lint unit end-to-end bench format docs lock

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## Make .venv with everything, as locked
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set it: make PYTHON=python3.12 …")'
	@$(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m compileall -q baikalctl tasks  # pyinfra itself never keeps compiled code
	@touch $@

demo: $(READY) ## Boot a machine, deploy to it, run a container next to it, and use both as calendar clients do
	@$(BIN)/python -m tests.lab.demo up

demo-down: $(READY) ## Remove the demo's machine and container
	@$(BIN)/python -m tests.lab.demo down

clean: $(READY) ## Remove the demo and everything that the lab keeps between runs
	@$(BIN)/python -m tests.lab.demo clean

test: unit end-to-end ## Test everything, on real machines and images; with ALL=1 also the lab that they are tested in

check: $(READY) ## Lint, types and unit tests, in a minute or two
	@$(MAKE) --no-print-directory --jobs=2 lint unit

lint: $(READY) ## Lint and types alone
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

# The tests of baikalctl fork thousands of times. That takes three times as long in a process that has also loaded pyinfra
# and all other tests.
PROGRAM_TESTS := $(addprefix tests/unit/,backup baikal changes checks commands container database host mail tls)
unit: $(READY) ## Unit tests alone
	@$(BIN)/python -m pytest --quiet --numprocesses auto $(PROGRAM_TESTS)
	@$(BIN)/python -m pytest --quiet --numprocesses auto tests/unit $(PROGRAM_TESTS:%=--ignore=%)

# Each of the two workers runs all tests of a file, which share machines. The tests put the longest files first.
end-to-end: $(READY) ## Test on real machines and images alone, as part of make test
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(ALL),--all) tests/e2e

bench: $(READY) $(PEERS)/ready ## Measure this and its peers; ROWS="machine serving" for some, RUNS=5
	@$(BIN)/python -m bench --ansible $(PEERS)/bin $(if $(RUNS),--runs $(RUNS)) $(ROWS)

$(PEERS)/ready: bench/requirements.lock
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement bench/requirements.lock
	@touch $@

format: $(READY) ## Format the code
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

docs: $(READY) ## Write the settings reference (docs/settings.md)
	@$(BIN)/python -m baikalctl settings > docs/settings.md

lock: $(READY) ## Choose the newest allowed versions and lock them
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 --group dev \
		--no-header --no-annotate --output-file requirements.lock pyproject.toml > /dev/null
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 \
		--constraint requirements.lock --no-header --no-annotate --output-file requirements-deploy.lock pyproject.toml > /dev/null
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --python-version 3.11 --group bench \
		--no-header --no-annotate --output-file bench/requirements.lock > /dev/null
