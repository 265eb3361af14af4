# Every target is one command. `make` alone lists them.
BIN := .venv/bin
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup setup-sevennet setup-dft quickstart test test-fuzz test-faults test-sevennet lint types contracts up down clean purge

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1 - \2/p' Makefile

setup:
	@sh deploy/setup.sh

setup-sevennet: setup ## install SevenNet beside MACE, in an environment of its own
	@sh deploy/setup.sh sevennet

setup-dft: setup ## build GPAW in an environment of its own; it needs a C compiler, libxc, FFTW and OpenBLAS
	@sh deploy/setup.sh dft

quickstart: setup ## install, start everything, run the whole pipeline on bundled data
	@$(BIN)/heo quickstart

test: setup ## install and run the whole test suite
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-fuzz: setup ## ask every deployment a thousand wrong questions over REST
	@$(BIN)/python -m pytest -s tests/fuzz/rest.py

test-faults: setup ## kill processes, thirty of each kind, and compare what is left: hours, and it goes on where it stopped
	@$(BIN)/python -W ignore tests/faults/suite.py

test-sevennet: setup-sevennet ## evaluate SevenNet beside heo-mini by workers of both environments
	@$(BIN)/python -m pytest tests/integration/sevennet.py

lint: setup ## check style and formatting
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## check types
	@$(BIN)/mypy

contracts: setup ## check which package may import which
	@$(BIN)/lint-imports

up: setup ## start database, Prefect server and workers
	@$(BIN)/heo up

down: ## stop them; data stay
	@if [ -x $(BIN)/heo ]; then $(BIN)/heo down; fi

clean: down ## stop everything, remove .venv and caches; results in .heo stay
	@sh deploy/clean.sh

purge: clean ## the same, and remove .heo: database, models and reports
	@rm -rf .heo
