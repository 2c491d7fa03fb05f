# SPDX-License-Identifier: Apache-2.0
# `make demo` runs the main job; `make test` runs everything CI runs.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation
PYTEST  := $(BIN)/python -m pytest
# Three workers for CI's two cores: much of the time they wait for processes to start.
# One that has nothing left takes half of what another still has to do.
PARALLEL := -n 3 --dist worksteal
# Tests start hundreds of programs of ours; compiled once, each starts sooner.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-plain quick check docs site format test-asan test-tokens bundle test-bundle bench soak coverage mutation clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo ## The story on your machine; ONCE=1 stops at its end
	$(BIN)/python -m demo $(if $(ONCE),--once)

test: $(VENV)/.test check ## Everything CI runs
	$(MAKE) --no-print-directory -j 2 test-plain test-asan

test-plain: $(VENV)/.test
	$(PYTEST) $(PARALLEL) -m "not soak" $(ARGS)

quick: $(VENV)/.test ## A subset in under three minutes
	$(PYTEST) $(PARALLEL) -m "not slow and not soak" --ignore=tests/flows \
	    --ignore=tests/clients --ignore=tests/tokens --ignore=tests/deploy \
	    --ignore=tests/firmware_bridge/transport \
	    $(addprefix --ignore=tests/appliance/test_,panel_anchor.py presence.py panel_losses.py tamper.py) $(ARGS)

check: $(VENV)/.test ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.test ## Write the reference pages from the code
	scripts/write-configuration >docs/configuration.md
	scripts/write-wire >docs/wire.md
	$(BIN)/python -m hub openapi >docs/openapi.json

site: $(VENV)/.test ## The documentation as a site, build/site/index.html; any warning fails
	$(BIN)/sphinx-build -W --keep-going -q -n -b html docs build/site

format: $(VENV)/.test ## Format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-asan: $(VENV)/.test ## The kernel's tests under Address- and UBSanitizer
	SALTKEEP_SANITIZE=address,undefined $(BIN)/python trinary/build_kernel.py build/asan
	PYTHONPATH=build/asan LD_PRELOAD=$$(gcc -print-file-name=libasan.so) \
	    ASAN_OPTIONS=detect_leaks=0 $(PYTEST) -o pythonpath=build/asan \
	    -p no:cacheprovider -q tests/trinary

test-tokens: $(VENV)/.test ## The custody suite on every kind of token, as root; prints a matrix
	scripts/bootstrap tokens
	SALTKEEP_TOKENS=softhsm2,tpm2-pkcs11,opencryptoki \
	    scripts/with-opencryptoki $(PYTEST) -q tests/tokens $(ARGS)

bundle: $(VENV)/.test ## An offline bundle to install from: build/bundle
	scripts/bundle

test-bundle: $(VENV)/.test ## Install and start it in a fresh Debian root, by hand, as root
	tests/bundle/run

bench: $(VENV)/.test ## Speeds as ratios to their peers, in one run
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.test ## Long tests, by hand
	$(PYTEST) -m soak $(ARGS)

# The modules that decide and record; a line or branch of theirs that no test takes
# fails. One process: what a worker of pytest-xdist imports first is not measured.
COMPLETE := appliance/policy*.py,appliance/journal*.py,appliance/signing.py
COMPLETE := $(COMPLETE),appliance/intent.py,appliance/second_signature.py
COMPLETE := $(COMPLETE),appliance/blind.py,appliance/approved.py
COVERING := joining approvals appliance_postgres faulty_hardware intent journal
COVERING += journal_conformance journal_export journal_postgres journal_shared
COVERING += policy backup refusals second_signature seed_export adoption
COVERING += journal_memory row_seal panel_anchor presence

coverage: $(VENV)/.test ## Branch coverage of policy, journal and signing; fails below 100 %
	$(BIN)/coverage run -m pytest -q -p no:randomly \
	    $(COVERING:%=tests/appliance/test_%.py) tests/signing_rpc $(ARGS)
	$(BIN)/coverage report --include='$(COMPLETE)' --show-missing --fail-under=100

mutation: $(VENV)/.test ## Which mutants of policy and journal the tests miss, by hand
	$(PIP) --require-hashes -r requirements/mutation.txt
	rm -rf mutants
	$(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

clean: ## Remove what was built
	rm -rf $(VENV) build demo-state mutants .mypy_cache .ruff_cache .pytest_cache
	find . -name '*.so' -not -path './.git/*' -delete

$(VENV)/.demo: scripts/bootstrap requirements/build.txt requirements/appliance.txt requirements/hub.txt requirements/bridge.txt setup.py pyproject.toml $(wildcard trinary/kernel/*.[ch]) trinary/build_kernel.py
	scripts/bootstrap demo
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/build.txt
	$(PIP) --require-hashes -r requirements/appliance.txt
	$(PIP) --require-hashes -r requirements/hub.txt
	$(PIP) --require-hashes -r requirements/bridge.txt
	$(PIP) third_party/pysha3
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.demo requirements/dev.txt requirements/docs.txt
	scripts/bootstrap test
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --require-hashes -r requirements/docs.txt
	touch $@
