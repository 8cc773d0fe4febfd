# The front door. Needs Python 3.11 and make; everything else is installed into .venv on the first call.
#
#   make book                                            the book of the profile quick: _build/html/index.html
#   make book PROFILE=electronics PARAMS="seed=1"        another profile, some parameters changed
#   make test                                            the tests
#   make record PROFILE=electronics                      keeps what a run measured: its JSON, in results/
#   make lab                                             JupyterLab with the notebooks
#   make bench                                           the speed comparisons
#   make clean                                           removes what was generated, keeps .venv

PROFILE ?= quick
PARAMS ?=
CORES ?= all
PYTHON ?= $(shell command -v python3.11 || command -v python3)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := /bin/bash

.PHONY: book record test lint lab bench clean

# A killed run leaves Snakemake's lock and unfinished files behind: it goes on without the one and makes the others anew.
book: .venv/installed
	@snakemake book --cores $(CORES) --nolock --rerun-incomplete --quiet all \
	    --config profile='$(PROFILE)' params='$(PARAMS)'
	@echo "open _build/html/index.html"

record:
	@[ -d runs/$(PROFILE) ] || { echo "nothing has run of the profile $(PROFILE): make book PROFILE=$(PROFILE) first" >&2; exit 1; }
	@cd runs/$(PROFILE) && find . -name '[0-9]_*.json' ! -name '4_expert.json' -print | tar -cf - -T - | (mkdir -p $(CURDIR)/results/$(PROFILE) && tar -C $(CURDIR)/results/$(PROFILE) -xf -)
	@git status --short results

test: .venv/installed lint
	pytest

lint: .venv/installed
	ruff check .
	ruff format --check .

lab: .venv/installed
	jupyter lab notebooks

bench: .venv/installed
	for file in benchmarks/*.py; do python $$file || exit 1; done

clean:
	rm -rf _build runs book/stages .snakemake

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --editable .
	@touch $@
