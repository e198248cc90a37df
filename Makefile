# Python 3.11 and make are all that is needed: the first target makes .venv and installs the pinned versions once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint venv clean

demo: venv
	$(BIN)/foretable demo

test: venv
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	FORETABLE_WAREHOUSE=:memory: DBT_TARGET_PATH=$(CURDIR)/target DBT_LOG_PATH=$(CURDIR)/logs \
		$(BIN)/sqlfluff lint dbt_project --processes 2 --disable-progress-bar

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "foretable needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf build dist target logs .foretable
