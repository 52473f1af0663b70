# make demo and make test do all their own set-up: a venv in .venv, pinned by .ci/constraints.txt.
# PYTEST='…' gives pytest more arguments.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: bench bench-peers demo test test-lab test-lab-full lint check-tools clean screenshot

demo: $(STAMP)
	@$(BIN)/oombot demo

test: $(STAMP) lint
	$(BIN)/python -m pytest $(PYTEST)

# real Debian machines in QEMU: docs/lab.md
test-lab: $(STAMP)
	$(BIN)/python -m tests.lab.images
	$(BIN)/python -m pytest tests/lab -m lab $(PYTEST)

# every form of every test, which takes hours: all suites, all crash points
test-lab-full: export OOMBOT_FULL = 1
test-lab-full: test-lab
	$(BIN)/python -m pytest tests/engine/test_cut_matrix.py $(PYTEST)

# make bench BENCH=fleet runs one of them, N=50 a quick look at it: docs/benchmarks.md
bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(BENCH) $(if $(N),--n $(N))

# what the reading benchmark is measured against; clush and pdsh are Debian's: apt-get install clustershell pdsh
bench-peers: $(STAMP)
	$(PYTHON) -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check parallel-ssh ansible-core

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-tools:
	@command -v $(PYTHON) >/dev/null || { echo "make: python3 is missing. On Debian: sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, this is $$($(PYTHON) -V). Set PYTHON=…"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: Python's venv is missing. On Debian: sudo apt-get install python3-venv"; exit 1; }

$(STAMP): pyproject.toml .ci/constraints.txt | check-tools
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c .ci/constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
