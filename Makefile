# make setup   the environment, in .venv
# make demo    a small simulated experiment through the whole workflow
# make test    all tests            make lint    formatters and linters
# make bench   what each stage costs    make torture kills runs 200 times and compares; 50,000 damaged files
# make test-peers reads what is exported with other programs, in environments of their own
# make slurm   the environment with the Slurm plugin                 make test-slurm starts a real Slurm here and tests with it
# make lock    new pins (maintainers)
.PHONY: setup slurm demo test test-peers test-slurm torture lint bench lock clean
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

setup: .venv/.done
test test-peers torture lint: .venv/.done-dev
bench: .venv/.done-dev
slurm: .venv/.done-slurm
test-slurm: .venv/.done-dev .venv/.done-slurm

.venv/.done: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; found " + sys.version.split()[0] + ": try make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	@# Else every job compiles them where PYTHONDONTWRITEBYTECODE is set: 0.04 s each
	$(BIN)/python -m compileall -q scripts
	@touch $@

.venv/.done-dev: .venv/.done requirements-dev.txt
	$(PIP) -r requirements-dev.txt
	@touch $@

.venv/.done-slurm: .venv/.done requirements-slurm.txt
	$(PIP) -r requirements-slurm.txt
	@touch $@

demo/.done: .venv/.done scripts/demo/*.py scripts/pyama/microscopy.py
	$(BIN)/python scripts/demo/make_demo.py demo
	@touch $@

demo: demo/.done
	$(BIN)/snakemake --cores 2
	$(BIN)/python scripts/demo/score_demo.py demo results

test: demo/.done
	$(BIN)/python -m pytest -n 2 --dist loadfile

PEERS := $(patsubst tests/peers/%.txt,.venv/peers/%/.done,$(wildcard tests/peers/*.txt))

.venv/peers/%/.done: tests/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/peers/pyme/.done: tests/peers/pyme.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps pymecompress==0.3.6
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps python-microscopy==26.9.3
	@touch $@

test-peers: $(PEERS)
	$(BIN)/python -m pytest -rs tests/peers

test-slurm:
	.ci/slurm run $(BIN)/python -m pytest tests/test_slurm.py

torture:
	PYAMA_KILLS=200 $(BIN)/python -m pytest -s tests/test_crash.py -k random
	PYAMA_FUZZ=5000 $(BIN)/python -m pytest -s tests/test_fuzz.py -k damaged

lint: demo/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

bench:
	$(BIN)/python benchmarks/run.py

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	for name in requirements requirements-dev requirements-slurm; do .venv/lock/bin/uv pip compile --quiet --upgrade --universal \
		--python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links $$name.in -o $$name.txt; done

clean:
	rm -rf .venv demo
