# Everything runs from a bare clone: every target installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# OpenMP threads that spin on shared cores make small operations many times slower.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help demo test lint bench bench-phantom clean

help:
	@echo "make demo           train, evaluate and report on generated cardiac volumes (about 10 minutes on 2 cores)"
	@echo "make test           the test suite;  make lint: ruff and mypy"
	@echo "make bench          speed, side by side;  make bench-phantom: four modes x three seeds"
	@echo "make data/PHANTOM   generated cardiac volumes;  make data/ACDC SOURCE=acdc.zip: the official release"
	@echo "make clean          remove caches and runs (data and .venv stay)"

$(STAMP): setup.cfg constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch -c constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[dev,export]" -c constraints.txt
	touch $@

test: $(STAMP)
	$(PY) -m pytest

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
