# make train    set up, and train until Ctrl-C          make train ARGS=--resume    go on
# make test     set up, and run the quick tests         make test-all               all of them
# make check    what the code must look like            make docs                   pages made from the code
# make golden   tests/golden/ anew, after a change that is meant to move bits
# make pythons  the golden digests on each Python that pyenv has here
# make bench    measure how fast it is, 10 minutes      make soak               memory over 1,000 updates
# make worker   set up, and train tic-tac-toe by self-play with RLlib       make test-rllib    its tests
# make chaos    play the Antithesis platform (needs Docker)   make clean              forget the environment
# make play     the learned game beside the exact one   make test-world-model   its tests and checks
PYTHON ?= python3
VENV := .venv
ARGS ?=

# An environment counts as made when the stamp named after all that it is made from is in it. Another Python, folder or
# requirement, or an installation that was cut off, has no such stamp, and is made anew.
made_from = $(shell { $(PYTHON) --version; pwd; cat $(1); } | sha256sum | cut -c1-16)
RUN_STAMP := $(VENV)/made-for-running-$(call made_from,requirements.txt)
DEV_STAMP := $(VENV)/made-for-testing-$(call made_from,requirements.txt requirements-dev.txt)
RLLIB_VENV := .venv-rllib
RLLIB_STAMP := $(RLLIB_VENV)/made-for-running-$(call made_from,requirements.txt requirements-rllib.txt)
RLLIB_DEV_STAMP := $(RLLIB_VENV)/made-for-testing-$(call made_from,requirements.txt requirements-rllib.txt requirements-rllib-dev.txt)

WORLD_VENV := .venv-world-model
WORLD_STAMP := $(WORLD_VENV)/made-for-playing-$(call made_from,requirements-world-model.txt)
WORLD_DEV_STAMP := $(WORLD_VENV)/made-for-testing-$(call made_from,requirements-world-model.txt requirements-world-model-dev.txt)

.PHONY: train test test-all check format docs golden pythons chaos bench soak clean play test-world-model
.PHONY: worker test-rllib
train: $(RUN_STAMP)
	$(VENV)/bin/python driver.py --batch-size=10 $(ARGS)

# Two processes, a file's tests in one of them: many wait for Ray to start.
test: $(DEV_STAMP)
	$(VENV)/bin/python -m pytest -m "not slow and not docker" -n 2 --dist loadfile $(ARGS)

test-all: $(DEV_STAMP)
	$(VENV)/bin/python -m pytest $(ARGS)

check: $(DEV_STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache

format: $(DEV_STAMP)
	$(VENV)/bin/ruff format .

docs: $(RUN_STAMP)
	$(VENV)/bin/python -m bitexact.reporting.catalog invariants.py > docs/properties.md
	$(VENV)/bin/python -m bitexact.reporting.catalog rllib_worker/invariants.py > docs/rllib-worker-properties.md
	$(VENV)/bin/python -m bitexact.reporting.catalog world_model/invariants.py > docs/world-model-properties.md

golden: $(DEV_STAMP)
	PYTHONPATH=.:tests $(VENV)/bin/python tests/playthroughs.py $(ARGS)

pythons:
	.ci/pythons

chaos: $(RUN_STAMP)
	$(VENV)/bin/python -m workload.local_antithesis --minutes 10 $(ARGS)

bench: $(RUN_STAMP)
	$(VENV)/bin/python -m benchmarks.run $(ARGS)
	$(VENV)/bin/python -m benchmarks.page

soak: $(RUN_STAMP)
	$(VENV)/bin/python -m benchmarks.run --only soak $(ARGS)
	$(VENV)/bin/python -m benchmarks.page

play: $(WORLD_STAMP)
	$(WORLD_VENV)/bin/python -m world_model play $(ARGS)

test-world-model: $(WORLD_DEV_STAMP)
	$(WORLD_VENV)/bin/mypy world_model
	$(WORLD_VENV)/bin/python -m pytest --confcutdir=tests/world_model tests/world_model $(ARGS)

worker: $(RLLIB_STAMP)
	$(RLLIB_VENV)/bin/python -m rllib_worker --config rllib_worker/examples/tictactoe_self_play.json $(ARGS)

test-rllib: $(RLLIB_DEV_STAMP)
	$(RLLIB_VENV)/bin/python -m mypy rllib_worker
	$(RLLIB_VENV)/bin/python -m pytest tests/rllib_worker -m "not slow" $(ARGS)

clean:
	rm -rf $(VENV) $(WORLD_VENV) $(RLLIB_VENV)

$(RUN_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements.txt
	touch $@

$(DEV_STAMP): $(RUN_STAMP)
	$(VENV)/bin/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

$(WORLD_STAMP):
	rm -rf $(WORLD_VENV)
	$(PYTHON) -m venv $(WORLD_VENV)
	$(WORLD_VENV)/bin/python -m pip install --quiet --requirement requirements-world-model.txt
	touch $@

$(WORLD_DEV_STAMP): $(WORLD_STAMP)
	$(WORLD_VENV)/bin/python -m pip install --quiet --requirement requirements-world-model-dev.txt
	touch $@

$(RLLIB_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 2; }
	rm -rf $(RLLIB_VENV)
	$(PYTHON) -m venv $(RLLIB_VENV)
	$(RLLIB_VENV)/bin/python -m pip install --quiet --requirement requirements-rllib.txt
	touch $@

$(RLLIB_DEV_STAMP): $(RLLIB_STAMP)
	$(RLLIB_VENV)/bin/python -m pip install --quiet --requirement requirements-rllib-dev.txt
	touch $@
