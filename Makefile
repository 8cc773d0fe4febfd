# The front door. Needs Python 3.11 to 3.13 and make; everything else is installed into .venv on the first call.
#
#   make book                                            the book of the profile quick: _build/html/index.html
#   make book PROFILE=electronics PARAMS="seed=1"        another profile, some parameters changed
#   make pdf                                             its paper, printed by Chromium: _build/html/book/paper/print.pdf
#   make test                                            the tests
#   make record PROFILE=electronics                      keeps what a run measured: its JSON, in results/
#   make lab                                             JupyterLab with the notebooks
#   make bench                                           the speed comparisons
#   make clean                                           removes what was generated, keeps .venv

PROFILE ?= quick
PARAMS ?=
CORES ?= all
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13; do $$python --version > /dev/null 2>&1 && echo $$python && exit; done; echo python3)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := /bin/bash

.PHONY: book pdf record test lint lab bench clean

# A killed run leaves Snakemake's lock and unfinished files behind: it goes on without the one and makes the others anew.
book: .venv/installed
	@snakemake book --cores $(CORES) --nolock --rerun-incomplete --quiet all --max-jobs-per-timespan 100/3s \
	    --config profile='$(PROFILE)' params='$(PARAMS)'
	@echo "open _build/html/index.html"

pdf: .venv/installed
	@python book/print.py

record: .venv/installed
	@python -m layerwise.study.records '$(PROFILE)'
	@git status --short results

test: .venv/installed lint
	pytest

lint: .venv/installed
	ruff check .
	ruff format --check .
	lint-imports --no-logo
	mypy

lab: .venv/installed
	jupyter lab notebooks

bench: .venv/installed
	for file in benchmarks/*.py; do python $$file || exit 1; done

clean:
	rm -rf _build runs book/stages .snakemake

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv
	@awk '!/^#/ { print > ".venv/half" NR % 2 }' requirements.lock
	@for half in .venv/half0 .venv/half1; do .venv/bin/pip install --quiet --no-compile --no-deps -r $$half & done; wait
	.venv/bin/pip install --quiet --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --editable .
	@touch $@
