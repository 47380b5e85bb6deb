# Thin names over workflow/run.py; see README.md.
#   make book [CORPUS=emodb DATA=folder] [SCHEDULE=short] [SEED=0] [THREADS=1] [CHANNEL=0] [CORES=all] [V=1] [PIP_ARGS=...]
PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python -m workflow.run

# What is given goes to the recipes by the environment, as it was typed: neither make nor a shell reads it.
GIVEN := CORPUS DATA SCHEDULE SEED THREADS CHANNEL CORES V PYTHON PIP_ARGS BENCH
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)

# Modules are those of this folder and of .venv, and run as they are written, whatever the user's Python is told.
unexport $(filter-out PYTHON,$(filter PYTHON%,$(.VARIABLES)))

.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: book read test check-all runs evidence bench notebooks results pdf lock clean
.DEFAULT_GOAL := book

# runs: what the book reads.
# notebooks: re-executes them on this build's synthetic speech, and writes the cards of the weights, to be committed.
# evidence: the runs without a record in results/, experiment by experiment, worth most first; their records go there.
# results: puts the records of runs on recordings, and the splits, into results/, to be committed.
book runs notebooks evidence results: .venv/installed
	@$(RUN) $@

# read: the committed book: trains and executes nothing, and installs what rendering needs alone, as requirements.lock has it.
READS := espeakng-loader jaxtyping jupyter-book pydantic scipy seaborn soundfile tqdm
read: .venv-read/installed
	@.venv-read/bin/python -m workflow.run $@

test: .venv/installed
	@$(RUN) book
	@$(BIN)/python -m pytest -n logical --dist worksteal
	@$(BIN)/python -m pytest -n logical --dist loadscope --no-loadscope-reorder --nbval --nbval-current-env -W default notebooks

# What takes too long for every change: more generated inputs, a killed build, two processes, a Slurm of this host,
# commands watched for connections, those of the telling and papermill run as shown, a hostile environment, Firefox, the
# PDF, the audit of the pins. Takes hours; .github/workflows/nightly.yml does it every night.
check-all: test
	@$(BIN)/python -m tests.fuzz 100
	@$(BIN)/python -m pytest -m nightly
	@$(BIN)/python -m workflow.pdf _build/book.pdf
	@.ci/audit
	@$(BIN)/python -m tests.kills build/kills 10

# The book as one file, _build/book.pdf: tagged, with an outline; needs Chromium.
pdf: .venv/installed
	@$(RUN) book
	@$(BIN)/python -m workflow.pdf _build/book.pdf

# How fast it all is on this machine: prints a table, writes benchmarks/cpu.json; make bench [BENCH="--data folder"]
bench: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@$(RUN) bench

.venv/installed: SIZE := PyTorch and its CUDA libraries: about 5 GB, a few minutes; see README.md for the CPU-only way
.venv/installed: WANTED := -r requirements.lock
.venv-read/installed: SIZE := about 600 MB, a minute
.venv-read/installed: WANTED := -c requirements.lock $(READS)
.venv/installed .venv-read/installed: requirements.lock pyproject.toml
	@"$$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11, 5) and "serlib: Python 3.11.5 or newer is needed; name it as in make PYTHON=python3.11")'
	@"$$PYTHON" -m workflow.run check
	@test -x $(@D)/bin/python || "$$PYTHON" -m venv $(@D)
	@echo "Installing into $(@D) ($(SIZE))"
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(WANTED) $$PIP_ARGS
	@test $(@D) != .venv || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Writes the lock anew from what is installed, after a pin in pyproject.toml was changed and installed.
lock:
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia-|cuda-|triton)'; } > .lock && mv .lock requirements.lock

clean:
	rm -rf build _build .snakemake
