# Thin names over the tools below; see README.md.
#   make book [CORPUS=emodb DATA=folder] [SCHEDULE=short] [SEED=0] [CORES=all] [PIP_ARGS=...]
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
CONFIG := $(foreach name,CORPUS DATA SCHEDULE SEED THREADS,$(if $($(name)),$(shell echo $(name) | tr A-Z a-z)='$($(name))'))
GRAPH := $(BIN)/python -m snakemake --workflow-profile workflow/profiles/default --cores $(CORES) $(if $(strip $(CONFIG)),--config $(CONFIG))

# Copies the records of runs on recordings, and the probes of their networks, to where they are committed.
KEEP := mkdir -p results/probes && cp -r build/runs/recordings results/ && find results/recordings -type f ! -name '*.json' -delete \
    && if test -d build/probes/recordings; then cp -r build/probes/recordings results/probes/; fi

.DELETE_ON_ERROR:
.PHONY: book test runs evidence bench notebooks results lock clean
.DEFAULT_GOAL := book

book: .venv/installed
	@$(GRAPH) -- book
	@echo "The book: $(CURDIR)/_build/html/index.html"

runs: .venv/installed
	@$(GRAPH) -- runs

test: .venv/installed
	@$(GRAPH) -- book
	@$(BIN)/python -m pytest
	@$(BIN)/python -m pytest --nbval --nbval-current-env -W default notebooks

# The runs that the book's claims rest on, worth most first; every experiment's records go into results/, to be committed.
evidence: .venv/installed
	@$(if $(CORPUS),,echo 'serlib: name the corpus, as in make evidence CORPUS=emodb DATA=data/emodb' >&2; exit 1)
	@for experiment in $$($(BIN)/python -m companion evidence '$(CORPUS)' --numbers); do \
	    $(GRAPH) -- evidence_$$experiment && $(KEEP) || exit 1; done

# How fast it all is on this machine: prints a table, writes benchmarks/cpu.json; make bench [BENCH="--data folder"]
bench: .venv/installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@$(BIN)/python -m snakemake --workflow-profile workflow/profiles/default --cores $(CORES) -- build/synthetic/emodb/images
	@$(BIN)/python -m benchmarks.cpu $(BENCH)

# Re-executes the notebooks on this build's synthetic speech and writes their outputs into notebooks/, to be committed.
notebooks: .venv/installed
	@$(GRAPH) -- runs
	@for notebook in notebooks/*.ipynb; do $(BIN)/python workflow/execute.py $$notebook $$notebook || exit 1; done

# Puts the records of runs on recordings, and the splits, into results/, to be committed: make results CORPUS=... DATA=...
results: .venv/installed
	@$(if $(and $(CORPUS),$(DATA)),,echo 'serlib: name the corpus, as in make results CORPUS=emodb DATA=data/emodb' >&2; exit 1)
	@$(GRAPH) -- runs
	@$(KEEP)
	@$(BIN)/python -m serlib audit $(CORPUS) --data '$(DATA)' --table build/recordings/$(CORPUS)/corpus.csv --out results/splits/$(CORPUS)

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "serlib: Python 3.11 or newer is needed; name it as in make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv (PyTorch and its CUDA libraries: about 5 GB, a few minutes; see README.md for the CPU-only way)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock $(PIP_ARGS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Writes the lock anew from what is installed, after a pin in pyproject.toml was changed and installed.
lock:
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia-|cuda-|triton)'; } > .lock && mv .lock requirements.lock

clean:
	rm -rf build _build .snakemake
