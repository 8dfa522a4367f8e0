# Everything a newcomer types. `make` alone says what there is.

PYTHON ?= python3
VENV ?= .venv
# address of a package index whose torch has no GPU libraries: docs/getting-started.md says where
TORCH_INDEX ?=
SIZE := $(if $(TORCH_INDEX),1.5 GB of disk and 0.4 GB of downloads,6.3 GB of disk and 3 GB of downloads)
# of pip, such as --no-cache-dir
PIP_OPTIONS ?=
# processes that run tests; each computes on one thread, or they would wait for one another
JOBS ?= 2
BIN := $(VENV)/bin
SOURCES := pmbench tests tools benchmarks docs
# metrics that need no download and are quick: those of tests/baselines/ladder.json
REGRESSED := l1,l2,l2-lab,psnr,grad,grad-rgb,lap1,ssim,dssim-lab,patch-rbf-3,patch-rbf-11,mmdpp,$\
watson-dct-initial,net-alex-random,net-squeeze-random,alex-loss-1-random
# of `pmbench check`, such as --summary FILE
CHECK_OPTIONS ?=
# of `make bench`, such as --quick or --only trunk/
BENCH_OPTIONS ?=
# a missing reference file fails where the reference material is there at all
export PMBENCH_REQUIRE_SHARED := $(if $(wildcard ../shared),1,$(PMBENCH_REQUIRE_SHARED))

.PHONY: help demo test check docs regress quick slow lowest newest bench clean

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## install, run MMD++ on the built-in data, show the leaderboard
	$(BIN)/pmbench eval --metric mmdpp

test: check docs regress quick  ## install and run everything that must pass: lint, types, docs, scores, tests

check: $(VENV)/.installed-dev  ## lint, format, types, import contracts
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

docs: $(VENV)/.installed-dev  ## build the documentation: build/docs/index.html
	$(BIN)/sphinx-build -W --keep-going -q -E -b html docs build/docs

regress: $(VENV)/.installed-dev  ## are scores on the built-in data those of the committed baseline?
	rm -rf build/regress
	$(BIN)/pmbench eval -m $(REGRESSED) -d ladder --fresh --results build/regress >/dev/null
	$(BIN)/pmbench check --baseline tests/baselines/ladder.json --results build/regress $(CHECK_OPTIONS)

quick: $(VENV)/.installed-dev  ## the tests that take seconds, alone
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m "not slow"

slow: $(VENV)/.installed-dev  ## the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) -m slow

lowest:  ## demo, scores and quick tests with the lowest versions that are allowed, on Python 3.11
	mkdir -p build
	$(PYTHON) tools/lowest.py > build/lowest.txt
	rm -f build/lowest/.installed*
	PIP_CONSTRAINT=$(CURDIR)/build/lowest.txt $(MAKE) VENV=build/lowest demo regress quick

newest:  ## the same with the newest versions of everything
	rm -f build/newest/.installed*
	PIP_UPGRADE=1 PIP_UPGRADE_STRATEGY=eager $(MAKE) VENV=build/newest demo regress quick

bench: $(VENV)/.installed-dev  ## how fast it is beside the usual ways: a table of ratios, half an hour
	$(BIN)/python -m benchmarks $(BENCH_OPTIONS)

clean:  ## remove the environment and what tools leave behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pmbench needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@mkdir -p $(VENV) && df -Pk $(VENV) | awk 'NR == 2 {free = $$4 * 1024 / 1e9; \
		printf "Installing into $(VENV) takes $(SIZE); %.1f GB are free there.\n", free; \
		exit free < $(firstword $(SIZE))}' || \
		{ echo "make room, set VENV=/another/place, or take a smaller torch: see TORCH_INDEX in the Makefile"; \
		exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }  # without pip it is none

# pip shows what it does on a terminal, and is silent elsewhere
pip = $(BIN)/pip install --disable-pip-version-check $$([ -t 2 ] || echo -qq) $(PIP_OPTIONS)

define install
	$(if $(TORCH_INDEX),$(pip) --index-url '$(TORCH_INDEX)' torch torchvision)
	$(pip) -e '$(1)'
endef

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(call install,.)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	$(call install,.[dev])
	@touch $@ $(VENV)/.installed
