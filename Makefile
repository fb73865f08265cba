# The way in. `make up` needs nothing but Python 3.11 or later and make; `make test` brings what it needs.

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# A test file stays in one process, so that servers shared by its tests are started once. Three for two cores: many wait,
# and the long ones wait even more.
PYTEST := $(BIN)/python -m pytest
PARALLEL ?= -n 3 --dist loadfile
PARALLEL_LONG ?= -n 4 --dist loadfile
ARGS ?=
# The long tests that use fixed ports or a Docker engine, or take times: each has the machine for itself.
ALONE := tests/node/replication/test_soak.py tests/chaos tests/house tests/hexad/test_up.py
# The tests that draw random commands, and by how much `make proof` multiplies their rounds: 200 000 commands a family.
RANDOM_TESTS := tests/node/commands tests/node/script tests/node/acl
PROOF_ROUNDS ?= 20

.DEFAULT_GOAL := help
.PHONY: help up venv test test-long proof bench lint clean

help: ## show this list
	@echo "Hexad. Targets (ARGS='...' is handed on):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

up: venv ## start a six-node cluster on 127.0.0.1:7000-7005; Ctrl-C stops it
	@exec $(BIN)/hexad up $(ARGS)

venv: $(VENV)/.installed ## make the virtual environment with Hexad in it

test: $(VENV)/.dev ## run the tests (installs what they need; minutes)
	$(PYTEST) -m "not long and not proof" $(PARALLEL) $(ARGS)

test-long: $(VENV)/.dev ## run Docker, chaos, soaks and long fuzzing with few rounds
	$(PYTEST) -m "long and not proof" $(ARGS) $(ALONE)
	$(PYTEST) -m "long and not proof" $(PARALLEL_LONG) $(ARGS) tests $(ALONE:%=--ignore %)

proof: $(VENV)/.dev ## run the full rounds whose results stand in the README
	$(PYTEST) -m proof -s $(ARGS)
	HEXAD_PROOF=$(PROOF_ROUNDS) $(PYTEST) -m "not long and not proof" $(PARALLEL) $(ARGS) $(RANDOM_TESTS)

bench: $(VENV)/.dev ## measure beside redis-server on this machine
	$(BIN)/python -m tests.bench $(ARGS)

lint: $(VENV)/.dev ## mypy --strict and ruff
	$(BIN)/python -m mypy
	$(BIN)/python -m ruff check .

clean: ## delete the virtual environment and all caches (never a cluster's data)
	rm -rf $(VENV) tests/programs/.venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Stamps: the second call of any target finds them and installs nothing.
$(VENV)/.installed: pyproject.toml deploy/dev/venv.sh
	@deploy/dev/venv.sh $(VENV)
	@echo "Installing Hexad into $(VENV)"
	@$(PIP) --only-binary :all: --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed tests/setup/tools.sh
	@tests/setup/tools.sh $(BIN)/python
	@echo "Installing what the tests need into $(VENV)"
	@$(PIP) --only-binary :all: --no-binary crc16 --editable '.[dev]'
	@touch $@
