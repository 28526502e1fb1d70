# make quickstart | test | check | docs | format          PYTHON=python3.12 make ... chooses the interpreter (3.10 or newer)
PYTHON ?= python3
BIN := .venv/bin
RUN := output/quickstart

.PHONY: quickstart test check docs format

quickstart: .venv/installed
	$(BIN)/python train.py --config configs/quickstart.yaml checkpoint.resume=auto
	$(BIN)/python validate.py --checkpoint $(RUN)/best.pt --data-dir data/fashion-mnist-small
	$(BIN)/python scripts/report.py $(RUN)

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses=2

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@echo "installing into .venv: some minutes, and 6 GB with PyTorch's build for GPUs"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev,docs]'
	@touch $@
