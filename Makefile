# make run: install into .venv and run the built-in study.  make test: everything that CI checks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

NNI := .venv-nni

.PHONY: run test test-nni docs clean

run: $(VENV)/.core
	$(BIN)/stsearch run quickstart

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) docs
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadgroup
	$(MAKE) test-nni

# The bridge to NNI, in a layer over .venv that holds NNI and what its pins hold back.
test-nni: $(NNI)/.done
	$(NNI)/bin/python -c 'import stsearch.nni'
	$(NNI)/bin/python -m pytest --numprocesses auto --maxprocesses 4 tests/nni/test_nni.py

# The documentation as a site in build/site; a broken link ends it. To search in it: python3 -m http.server -d build/site
docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f .mkdocs.yml

# torch first and pinned, so that nothing installed later replaces the build that is there.
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,docs,postgres,mysql,flow,export,slurm,ray]'
	touch $@

$(NNI)/.done: $(VENV)/.test constraints-nni.txt
	test -x $(NNI)/bin/python || $(BIN)/python -m venv $(NNI)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(NNI)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/stsearch-core.pth"
	$(NNI)/bin/pip install --quiet --constraint constraints-nni.txt --editable '.[nni]' || { \
		echo "NNI could not be installed into $(NNI) (no network?), so the bridge to it is NOT tested." >&2; exit 1; }
	touch $@

clean:
	rm -rf $(VENV) $(NNI) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
