# `make` alone prints what there is to do.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Where a shell sets it, each of the many processes of the tests compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-release up down status alerts test thorough check lint fast coverage stores image faults soak fuzz bench bench-readme bench-kernels schema clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two marks for one environment: everything, or what the demo needs. Everything will do for the demo.
READY := $(VENV)/.ready
DEMO_READY := $(or $(wildcard $(READY)),$(VENV)/.demo-ready)

# Byte-compiled once: starting workers and the Prefect server then costs half the CPU.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nightscore needs Python 3.11 or later; run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "Installing $(1) into $(VENV) (about a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[$(2)]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
endef

$(VENV)/.demo-ready: pyproject.toml deploy/constraints.txt
	$(call install,what the demo needs,demo)
	@touch $@

$(READY): pyproject.toml deploy/constraints.txt
	$(call install,everything for development,dev)
	@touch $@

setup: $(READY) ## Install everything for development into .venv, also after `make demo`

demo: $(DEMO_READY) ## Score two weeks of New York flights, from data to published predictions (about 2 minutes)
	@$(BIN)/nightscore demo

demo-release: $(DEMO_READY) ## The second act: shadow a challenger, compare, promote, and demote it (under a minute)
	@$(BIN)/nightscore demo --release

# Empty: as `nightscore up` has it.
STORE ?=
DB ?=
PREFECT_PORT ?=
MLFLOW_PORT ?=
S3_PORT ?=
POSTGRES_PORT ?=
PAGES_PORT ?=
FOREGROUND ?=

up: $(DEMO_READY) ## Start Prefect, MLflow and a worker on this machine (STORE=s3, DB=sqlite, PREFECT_PORT=..., FOREGROUND=1)
	@$(BIN)/nightscore up --demo $(if $(STORE),--store $(STORE)) $(if $(DB),--db $(DB)) \
	  $(if $(PREFECT_PORT),--prefect-port $(PREFECT_PORT)) $(if $(MLFLOW_PORT),--mlflow-port $(MLFLOW_PORT)) \
	  $(if $(S3_PORT),--s3-port $(S3_PORT)) $(if $(POSTGRES_PORT),--postgres-port $(POSTGRES_PORT)) \
	  $(if $(PAGES_PORT),--pages-port $(PAGES_PORT)) $(if $(FOREGROUND),--foreground)

down: $(DEMO_READY) ## Stop everything that `make up` started
	@$(BIN)/nightscore down

status: $(DEMO_READY) ## Show what is running
	@$(BIN)/nightscore status

alerts: $(DEMO_READY) ## Register the alerts in Prefect (PREFECT_API_URL, NIGHTSCORE_ALERT_SLACK, _EMAIL, _WEBHOOK; see README)
	@$(BIN)/nightscore alerts

# Each process has a file at a time. Three on two cores, since many tests wait for servers.
PROCESSES := 3
PARALLEL = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
test: $(READY) ## Run all tests, including those with S3 and kills (about 15 minutes)
	@$(BIN)/python -m pytest $(PARALLEL) $(CASES)

thorough: CASES := --thorough
thorough: test ## Run all tests with all their cases (an hour or two)

fast: PROCESSES := 2
fast: $(READY) ## Run the fast tests only, without workers or servers (about a minute)
	@$(BIN)/python -m pytest $(PARALLEL) -m 'not slow' --ignore tests/bench --ignore tests/faults --ignore tests/fuzz

# The commands, workers and servers that tests start are measured too.
coverage: $(READY) ## Measure line and branch coverage of each package with all tests
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest $(PARALLEL)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage json --quiet
	@$(BIN)/python -m tests.support.package_coverage

stores: $(READY) ## Run the tests of stores on each store with each output format
	@$(BIN)/python -m pytest $(PARALLEL) --thorough tests/contracts tests/inputs tests/ledger \
	  tests/operations tests/outputs tests/runs tests/storage tests/test_errors.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

image: $(READY) ## Execute the steps of deploy/Dockerfile in an empty environment, and print its sizes (10 minutes, 2 GB)
	$(BIN)/python -m pytest -q -s --thorough tests/deploy

faults: $(READY) ## Inject each fault of the table at each moment, and print what happened
	$(BIN)/python -m pytest -q --thorough tests/faults

SEED ?= 1
FORMAT ?= delta
soak: $(READY) ## Run a backfill through 200 faults and 500 kills (SEED=1, FORMAT=parquet; about 20 minutes)
	$(BIN)/python -m tests.faults --seed $(SEED) --format $(FORMAT)

COUNT ?= 10000
TARGET ?=
fuzz: $(READY) ## Fuzz models, MLmodel files, compiled forms and footers (SEED=1, COUNT=10000 each, TARGET=onnx; about 40 minutes)
	$(BIN)/python -m tests.fuzz --seed $(SEED) --count $(COUNT) $(if $(TARGET),--target $(TARGET))

check: lint fast ## Run ruff, mypy (strict), import-linter and the fast tests

BENCH ?=
SIZE ?= medium
WORKLOAD ?=
PEER ?=
REPEATS ?=
ONLY ?=
bench: $(READY) ## Measure Prefect, drift, a 10 TB plan, metrics of labelled rows, a canary's assignment, challengers, false promotions, and the engine beside its peers (an hour; BENCH=engine SIZE=small WORKLOAD=W1 PEER=ray); BENCH=bars: what is asked of speed (30 minutes; ONLY=4,5); BENCH=estimates: of performance, beside NannyML (20 minutes; REPEATS=5)
	$(BIN)/python -m tests.bench $(BENCH) --size $(SIZE) $(if $(WORKLOAD),--workload $(WORKLOAD)) \
	  $(if $(PEER),--peer $(PEER)) $(if $(REPEATS),--repeats $(REPEATS)) $(if $(ONLY),--only $(ONLY))

bench-readme: $(READY) ## Write the README's figures and picture of speed, from the last `make bench BENCH=bars`
	@$(BIN)/python -m tests.bench.bars.readme

bench-kernels: $(READY) ## Compare compiled predictors with the libraries, on one core (about 3 minutes)
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.kernels

schema: $(READY) ## Regenerate the JSON Schema of the job file after a change in schemas/
	$(BIN)/python -m nightscore.schemas.job > schemas/job.schema.json

clean: ## Remove the environment and everything that the demo wrote
	rm -rf $(VENV) .demo
