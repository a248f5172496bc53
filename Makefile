# Needs make and Python 3.11 or newer (Debian: apt install make python3-venv).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# Most tests wait more than they compute. The tests of a file share gateways, so they
# stay together; the longest files, those of tests/chaos, come first.
JOBS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Without byte code every process compiles everything again, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run demo test clients fuzz check format

help:
	@echo 'make run     start the gateway; the first time also set it up'
	@echo 'make setup   set it up, or bring it up to date, without starting it'
	@echo 'make demo    watch a token refresh and two answers, without an account'
	@echo 'make test    run the tests'
	@echo 'make clients try clients that need Node.js, Chromium or frameworks'
	@echo 'make fuzz    put 100,000 odd and broken streams through every dialect'
	@echo 'make check   run every check: style, types, tests, clients'
	@echo 'make format  put the code into its style'

setup: $(VENV)/run.stamp

# A configuration is written only where nothing else says how to start.
run: $(VENV)/run.stamp
	@[ -n "$$KIMI_PROXY_CONFIG$$KIMI_TOKEN" ] || \
		$(MAKE) --silent --no-print-directory config.yaml
	@$(BIN)/kimi-proxy check-config
	@echo 'Ctrl-C ends it. Ask it from another terminal:'
	@echo
	@$(BIN)/kimi-proxy curl
	@echo
	@exec $(BIN)/kimi-proxy run

config.yaml: | $(VENV)/run.stamp
	@$(BIN)/kimi-proxy init >/dev/null
	@echo 'Wrote config.yaml with a key of your own.'

demo: $(VENV)/run.stamp
	@$(BIN)/python -m emulators.demo

test: $(VENV)/dev.stamp
	$(PYTEST)

# Needs Chromium. Node.js is among the tools; npm fetches clients once.
clients: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/clients

fuzz: $(VENV)/dev.stamp
	$(BIN)/python -m tests.http.stream_fuzz 100000

check: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)
	@$(MAKE) --no-print-directory clients

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/run.stamp: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) \
		and "kimi-proxy needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	@echo 'Setting up $(VENV), once.'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --requirement requirements.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo 'Adding the tools for the checks, once.'
	@$(PIP) install --requirement requirements-dev.txt
	@touch $@
