# `make reproduce` trains the latent-size grid, `make test` runs the tests, `make docs` the site.
# Each makes a virtual environment in .venv first, once.

PYTHON ?= python3
VENV ?= .venv
PRESET ?= quick
RUN = $(VENV)/bin/python
# Modules are compiled when they are first imported: all of them would take a minute.
INSTALL = $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help reproduce test test-all test-long lint lock locked audit tables notebooks docs clean

help:
	@echo "make reproduce   prepare MNIST and train the latent-size grid (PRESET=$(PRESET))"
	@echo "make test        lint and run the tests of every change, some ten minutes on two cores"
	@echo "make test-all    the same with the slow tests: every experiment, family and long form"
	@echo "make test-long   the long forms of what breaks from outside: kills, damage, full disks"
	@echo "make lock        pin what pyproject.toml asks for anew, with the hashes of all files"
	@echo "make locked      a virtual environment with exactly what is pinned"
	@echo "make audit       look up known weaknesses of what is pinned; needs a network"
	@echo "make tables      write the tables of README.md and docs/ anew from the committed results"
	@echo "make notebooks   run the notebooks and guides of docs/, and write below their code what it shows"
	@echo "make docs        build the site of docs/ into site/"
	@echo "make clean       remove the virtual environment and caches; runs are kept"

reproduce: $(VENV)/.installed
	$(RUN) -m ae_jax.cli data prepare mnist
	@echo "On two idle cores the quick grid takes ten to twenty-five minutes, by their speed, the standard one six hours or so."
	@echo "Stopped and started again, it continues."
	$(RUN) -m experiments.kingma_welling --preset $(PRESET)
	@echo "Next: source $(VENV)/bin/activate, then the commands of README.md work as they stand."

test: lint
	$(RUN) -m pytest -q -n 2 --dist loadfile -m "not slow"

test-all: lint
	$(RUN) -m pytest -q -n 2 --dist loadfile

test-long: lint
	$(RUN) -m pytest -q -s tests/faults -m slow --timeout 7200

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .ci ae_jax docs experiments tests
	$(VENV)/bin/ruff format --check .ci ae_jax docs experiments tests
	$(VENV)/bin/mypy --no-error-summary
	$(RUN) .ci/lock.py

lock: $(VENV)/.tools
	$(VENV)/tools/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate \
	  --no-header --python-version 3.11 --extra test --extra docs pyproject.toml \
	  --output-file requirements.lock

locked:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes \
	  --requirement requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-docs

audit: $(VENV)/.tools
	$(VENV)/tools/bin/pip-audit --strict --disable-pip --require-hashes \
	  --requirement requirements.lock

tables: $(VENV)/.installed
	$(RUN) -m experiments.docs

notebooks: $(VENV)/.installed-test
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m docs.executed

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

# A stamp is written only when the installation has succeeded, and is older than pyproject.toml
# when that has changed.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) --editable '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(INSTALL) --editable '.[docs]'
	touch $@

$(VENV)/.tools:
	$(PYTHON) -m venv $(VENV)/tools
	$(VENV)/tools/bin/pip install --quiet --disable-pip-version-check uv pip-audit
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build site *.egg-info
