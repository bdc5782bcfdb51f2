# make search: install, simulate jets, run the search · make test: install, lint, types, tests · make ci: what CI runs
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DATA := data/ttbar

.DEFAULT_GOAL := help
.PHONY: help install search test lint ci clean

help:
	@sed -n '1s/# //p' $(firstword $(MAKEFILE_LIST))

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "raytag needs Python 3.11; found $$($(PYTHON) --version). Name one: make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Installing raytag into $(VENV) (a minute or two, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[simulate,dev]'
	@touch $@

install: $(INSTALLED)

search: $(INSTALLED)
	@$(BIN)/raytag data simulate $(DATA) --process ttbar --jets 60000 --seed 1
	@$(BIN)/python -m raytag.search experiments/gn2_width.yaml

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest

ci: test
	$(BIN)/python -m raytag.search experiments/smoke.yaml
	$(BIN)/raytag transfer smoke --width 128 --workers 2
	$(BIN)/python -m raytag.search experiments/transfer_smoke.yaml
	$(BIN)/raytag report transfer_smoke

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
