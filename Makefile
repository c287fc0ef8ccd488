# What a user types; `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
# The tests of a file share what its first one trained, so they stay in one process; tests/conftest.py orders them.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
STAMP := $(shell date +%Y-%m-%d_%H-%M-%S)
DEMO := data=synthetic image_size=128 trainer.max_epochs=12

CROSSVAL ?= outputs/crossval
GUIDES ?= crossfit
SEEDS ?= 0
# Without the slash at its end, or the ensembles would lie inside of it.
override CROSSVAL := $(patsubst %/,%,$(patsubst %/,%,$(CROSSVAL)))
FOLDS := seed=$(SEEDS) data.fold=0,1,2,3,4 test=true
EVERY := output_dir=$(CROSSVAL) reuse=true $(SHARE_GPU) $(ARGS) hydra.sweep.dir=$(CROSSVAL)
# Of bench-gpu, whose runs share a GPU.
SHARED := trainer=gpu data.num_workers=2 hydra/launcher=joblib hydra.launcher.n_jobs=5

.DEFAULT_GOAL := help
.PHONY: help settings install demo crossval ensemble check test test-slow faults bench-gpu browser strace lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/installed ## make .venv with the locked dependencies and this package

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "busi needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@touch $@

demo: install ## train both stages on synthetic data (minutes on two cores)
	$(BIN)/python -m busi.train stage=seg $(DEMO) hydra.run.dir=outputs/seg/$(STAMP)-demo
	$(BIN)/python -m busi.train stage=cls $(DEMO) hydra.run.dir=outputs/cls/$(STAMP)-demo seg_ckpt=outputs/seg/$(STAMP)-demo
	@echo
	@echo 'Synthetic data, so these numbers mean nothing medically. Two run folders:'
	@echo '  outputs/seg/$(STAMP)-demo   masks: metrics.json, figures/test_overlays.png'
	@echo '  outputs/cls/$(STAMP)-demo   diagnosis: metrics.json, figures/test_confusion.png'
	@echo 'Next, on real data:'
	@echo '  source .venv/bin/activate'
	@echo '  export BUSI_ROOT=/path/to/Dataset_BUSI_with_GT'
	@echo '  python -m busi.train stage=seg'
	@echo '  python -m busi.train stage=cls'

# Values go into command lines as they are, and an empty CROSSVAL would write to the root of the file system.
settings: export CROSSVAL := $(CROSSVAL)
settings: export GUIDES := $(GUIDES)
settings: export SEEDS := $(SEEDS)
settings:
	@fail() { echo "error: $$1" >&2; exit 1; }; LC_ALL=C; \
	case "$$CROSSVAL" in ''|-*|*[!A-Za-z0-9._/+-]*) \
		fail "CROSSVAL='$$CROSSVAL': give a folder, of letters, digits and . _ - + /, e.g. CROSSVAL=outputs/crossval";; esac; \
	case ",$$SEEDS," in *,,*|*[!0-9,]*) fail "SEEDS='$$SEEDS': give whole numbers, e.g. SEEDS=0,1,2";; esac; \
	case ",$$GUIDES," in *,,*|*[!a-z_,]*) fail "GUIDES='$$GUIDES': give names, e.g. GUIDES=crossfit,predicted";; esac

crossval: settings install ## all five folds of both stages, and the report (hours); e.g. make crossval ARGS="experiment=quick"
	$(BIN)/python -m busi.train -m stage=seg $(FOLDS) $(SEG) $(EVERY)/seg
	for pair in 0:2,3,4 1:0,3,4 2:0,1,4 3:0,1,2 4:1,2,3; do \
		$(BIN)/python -m busi.train -m stage=seg data.fold=$${pair%:*} data.leave_out=$${pair#*:} $(SEG) $(EVERY)/inner$${pair%:*} || exit 1; \
	done
	$(BIN)/python -m busi.train -m stage=cls $(FOLDS) guide=$(GUIDES) $(CLS) $(EVERY)/cls
	$(BIN)/python -m busi.report $(CROSSVAL) --output $(CROSSVAL)/report

ensemble: settings install ## after make crossval SEEDS=0,1,2: the seeds of each fold as one model, and the report
	$(BIN)/python -m busi.ensemble $(CROSSVAL) --output $(CROSSVAL)-ensemble
	$(BIN)/python -m busi.report $(CROSSVAL)-ensemble --output $(CROSSVAL)-ensemble/report

check: ## lint, layers, types and tests, in the environment that is there
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	@# Beside the tests: alone, it would leave all processors but one idle.
	@said=$$(mktemp); trap 'rm -f $$said' EXIT; $(BIN)/mypy > $$said 2>&1 & \
	  $(PYTEST) -m "not slow"; tests=$$?; wait $$!; types=$$?; cat $$said; exit $$((tests | types))

test: install check ## install, then check

test-slow: install ## tests that need minutes
	$(PYTEST) -m slow

faults: install ## kill, starve and damage runs, and see them end as if nothing had happened (minutes)
	KILLS=10 $(BIN)/python -m pytest -m slow tests/test_faults.py -vv

bench-gpu: install ## how fast a GPU trains, validates, predicts and cross-validates (minutes); skipped without one
	@there=$$($(BIN)/python -c 'import torch; print(torch.cuda.is_available())') || exit 1; \
	if test "$$there" != True; then echo 'skipped: no GPU'; exit 0; fi; \
	$(BIN)/python -m busi.bench --only gpu && began=$$(date +%s) && \
	$(MAKE) --no-print-directory --old-file=install crossval CROSSVAL=outputs/bench/$(STAMP) SHARE_GPU='$(SHARED)' && \
	echo "make crossval, five runs at a time: $$(($$(date +%s) - began)) s"

browser: ## install Chromium, which the slow tests of the demo drive (Debian and Ubuntu; asks for the password of root)
	@command -v chromium >/dev/null || { \
		root=$$(test "$$(id -u)" = 0 || echo sudo); \
		$$root apt-get update --quiet && $$root apt-get install --yes --quiet --no-install-recommends chromium; \
	}

strace: ## install strace, with which a slow test shows that nothing leaves the machine (Debian and Ubuntu, as above)
	@command -v strace >/dev/null || { \
		root=$$(test "$$(id -u)" = 0 || echo sudo); \
		$$root apt-get update --quiet && $$root apt-get install --yes --quiet --no-install-recommends strace; \
	}

lock: ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --quiet --output-file requirements.lock

clean: ## remove the environment and caches, not outputs
	rm -rf .venv .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
