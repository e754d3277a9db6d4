# make train   simulate a survey, train the simple CNN on it, evaluate      (ARGS="model=resnet50 data=galaxy10")
# make baseline   repeat the published baseline beside our tuned experiments, then compare them   (ARGS=data=simulated SEEDS=0,1,2)
# make test    run the tests                                               (ARGS="-k split")
# make test-long   run those that take minutes or need SLURM or PostgreSQL (skipped with a reason where it is not there)
# make bench   measure ours beside the alternatives, then print the table (three quarters of an hour; the machine idle)
# make benchmark-accuracy   our networks and their rivals on one split, into docs/records.md   (ARGS="--data gz1=gz1.h5"; resumes)
# make check   format, lint, type-check, and who may import whom
# make docs    build the documentation into build/docs                     (LINKCHECK=1 also opens the external links)
# Each sets up .venv by itself, once. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
ARGS ?=
SEEDS ?= 0
BASELINE ?= runs/baseline
BENCHMARKS := equivariance start_up forked_trials store_reading input_pipeline training predicting end_to_end report_time
EXPERIMENTS := baseline_pca,tuned_pca,baseline_cnn,tuned_cnn,baseline_resnet50,tuned_resnet50,baseline_inceptionv3,tuned_inceptionv3

.PHONY: train baseline test test-long bench benchmark-accuracy check docs install clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make\|Each\)/\1/p' Makefile

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "galaxy10 needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say e.g.: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	@echo "Installing into $(VENV) (torch is large: this takes a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[weights,dev]'
	@touch $(READY)

train: $(READY)
	@$(BIN)/python train.py $(if $(findstring data=,$(ARGS)),,data=simulated) $(ARGS)

# What fails must not keep the rest from being compared; the exit code is the grid's.
baseline: $(READY)
	@$(BIN)/python train.py -m experiment=$(EXPERIMENTS) seed=$(SEEDS) run.root=$(BASELINE) $(ARGS); code=$$?; \
	test $$code -gt 1 || $(BIN)/galaxy10 compare '$(BASELINE)/grid-*' -o $(BASELINE)/comparison || code=1; exit $$code

test: $(READY)
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m "not long" --max-torch-imports 30 $(ARGS)

test-long: $(READY)
	@HYPOTHESIS_PROFILE=many $(BIN)/python -m pytest -n 2 --dist loadscope -m 'long or properties' $(ARGS)

bench: $(READY)
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done
	@$(BIN)/python benchmarks/table.py

benchmark-accuracy: $(READY)
	@$(BIN)/python benchmarks/accuracy/run.py --write docs/records.md $(ARGS)

check: $(READY)
	@$(BIN)/ruff format $(if $(CI),--check) .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: $(READY)
	@$(BIN)/python docs/draw_packages.py
	@$(BIN)/python docs/check_links.py
	@$(BIN)/sphinx-build -q -b html -W --keep-going -d build/doctrees docs build/docs
	@echo "build/docs/index.html"
	@test -z '$(LINKCHECK)' || $(BIN)/sphinx-build -q -b linkcheck -d build/doctrees docs build/linkcheck

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
