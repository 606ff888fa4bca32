# One command per chore. Needs make and a python3 of at least 3.11, nothing else: each target makes
# the virtual environment that it wants, and makes it anew when the requirements change.

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
# One more than CI has processors, as much of the tests' time goes by in waiting for servers.
TEST_WORKERS ?= 3
# Which tests are long. CI has run those that are measured before, under coverage.
LONG ?= long
# More arguments for pytest, for example: make test PYTEST_ARGS="-k metadata"
PYTEST_ARGS ?=
# More arguments for the benchmark, for example: make bench BENCH_ARGS="--comparisons isolation"
BENCH_ARGS ?=

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
PACKAGING := setup.cfg pyproject.toml requirements/base.txt requirements/examples.txt

# Empty files whose dates say when the environment was made, and when each set was installed in it.
CREATED := $(VENV)/.created
SERVING := $(VENV)/.serving
DEVELOPMENT := $(VENV)/.development
# Ray brings 600 MB, and versions of its own: its tests start it in an environment apart.
RAY := .venv-ray/.ready
# So does MLflow, whose server and library tests start there, as they do what speaks as S3.
MLFLOW := .venv-mlflow/.ready

# Neighbouring tests share servers; worksteal keeps neighbours on one worker.
PYTEST := $(BIN)/python -m pytest
PYTEST_PARALLEL := --numprocesses $(TEST_WORKERS) --dist worksteal

# Some images set it; the tests' thousands of processes would compile the same modules each anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help serve test test-long coverage bench bench-quick lint audit format build schema clean clean-all

help: ## List the targets
	@echo "make TARGET, where TARGET is one of:"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-14s%s\n", $$1, $$2 }'
	@echo
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) HOST=$(HOST) PORT=$(PORT)" \
		"TEST_WORKERS=$(TEST_WORKERS) PYTEST_ARGS=$(PYTEST_ARGS)"

serve: $(SERVING) ## Serve the example models on http://127.0.0.1:8000/docs
	@echo "Starting the example models of rest_config.yaml; each is fitted on its data as it loads."
	@echo "The documentation page is http://$(HOST):$(PORT)/docs. Press Ctrl-C to stop."
	@$(BIN)/python manage.py serve --host $(HOST) --port $(PORT)

test: $(DEVELOPMENT) ## Run the tests, but for the long ones (some minutes)
	@echo "Running the tests in $(TEST_WORKERS) processes (some minutes) ..."
	@$(PYTEST) $(PYTEST_PARALLEL) -m "not long" $(PYTEST_ARGS)

# What measures would be disturbed by others, so that comes by itself, with a report of its own. To
# pytest 5 means that no test was chosen, as it may be in one of the two parts.
test-long: $(DEVELOPMENT) ## Run the long tests
	@echo "Running the long tests in $(TEST_WORKERS) processes (many minutes) ..."
	@parallel=0; alone=0; \
	$(PYTEST) $(PYTEST_PARALLEL) -m "$(LONG) and not alone" $(PYTEST_ARGS) || parallel=$$?; \
	echo "Running those that need the machine for themselves, one by one (many minutes) ..."; \
	$(PYTEST) -m "$(LONG) and alone" $(PYTEST_ARGS:%.xml=%-alone.xml) || alone=$$?; \
	case "$$parallel $$alone" in \
	"0 0" | "0 5" | "5 0") ;; \
	*) echo "The long tests failed: see above (status $$parallel in parallel, $$alone alone)."; \
		exit 1 ;; \
	esac

# The report comes also where a test fails.
coverage: $(DEVELOPMENT) ## Run the tests, measuring what they cover of models_api (at least 95 %)
	@echo "Running the tests under coverage in $(TEST_WORKERS) processes (some minutes) ..."
	@$(BIN)/coverage erase
	@status=0; \
	$(BIN)/coverage run -m pytest $(PYTEST_PARALLEL) -m "not long or measured" $(PYTEST_ARGS) || status=$$?; \
	echo "Adding up what each process covered ..."; \
	$(BIN)/python .ci/coverage_data.py .; \
	$(BIN)/coverage combine --quiet; \
	$(BIN)/coverage html --quiet --fail-under 0; \
	$(BIN)/coverage report || status=$$?; \
	echo "Each file line by line: build/coverage/index.html"; \
	exit $$status

# The servers have environments of their own in .venv-benchmarks; what drives them needs no packages.
bench: $(CREATED) ## Measure this service beside its peers; needs wrk (53 minutes)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-quick: $(CREATED) ## The same, but only throughput, and less of that (some minutes)
	@$(BIN)/python -m benchmarks --quick $(BENCH_ARGS)

# All four run, whichever of them fails.
lint: $(DEVELOPMENT) ## Check style, types and imports
	@failed=; \
	echo "Checking the style (ruff) ..."; \
	$(BIN)/ruff check || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --check || failed="$$failed ruff-format"; \
	echo "Checking the types (mypy, up to a minute the first time) ..."; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	echo "Checking which module imports which (import-linter) ..."; \
	$(BIN)/lint-imports --no-logo || failed="$$failed import-linter"; \
	if [ -n "$$failed" ]; then echo "Not clean:$$failed"; exit 1; fi

# Says so, and passes, where no service that knows of vulnerabilities can be reached.
audit: $(DEVELOPMENT) ## Look for known vulnerabilities in what users install (needs a network)
	@echo "Looking up known vulnerabilities (up to a minute) ..."
	@$(BIN)/python .ci/audit.py

format: $(DEVELOPMENT) ## Format the code and mend what ruff can mend
	@echo "Formatting ..."
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

build: $(DEVELOPMENT) ## Build the wheel and the sdist into dist/
	@echo "Building the sdist, and the wheel from it, into dist/ (half a minute) ..."
	@rm -rf dist build/lib build/bdist.*
	@$(BIN)/python -m build > dist.log 2>&1 || { cat dist.log; rm dist.log; exit 1; }
	@rm dist.log
	@ls dist/*

schema: $(SERVING) ## Write the OpenAPI document of the example models to schema.yaml
	@echo "Writing the OpenAPI document of the models in rest_config.yaml to schema.yaml ..."
	@$(BIN)/python manage.py spectacular --file schema.yaml --validate --fail-on-warn

clean: ## Remove what the targets made, but for the virtual environments
	@echo "Removing builds, reports and caches ..."
	@rm -rf build dist *.egg-info schema.yaml .coverage .coverage.* \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

clean-all: clean ## Remove the virtual environments too
	@echo "Removing the virtual environments ..."
	@rm -rf .venv .venv-*

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "modelhost needs Python 3.11 or newer, and \"$(PYTHON)\" is" \
			"\"$$($(PYTHON) --version 2>&1)\"." \
			"Name a newer one: make PYTHON=/path/to/python3.12 ..."; \
		exit 1; }
	@echo "Creating the virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments." \
			"On Debian and Ubuntu: apt-get install python3-venv"; \
		exit 1; }
	@touch $@

$(SERVING): $(CREATED) $(PACKAGING)
	@echo "Installing the service and what the example models need, scikit-learn above all" \
		"(about a minute) ..."
	@$(PIP_INSTALL) --editable . --requirement requirements/examples.txt
	@touch $@

$(DEVELOPMENT): $(CREATED) $(PACKAGING) $(wildcard requirements/*.txt)
	@echo "Installing the service and the tools that test and check it (about two minutes) ..."
	@$(PIP_INSTALL) --editable . --requirement requirements/development.txt
	@touch $(SERVING) $@

$(RAY): $(PACKAGING) requirements/ray.txt
	@echo "Installing Ray, for the tests that deploy models on it, into .venv-ray (a minute) ..."
	@$(PYTHON) -m venv .venv-ray
	@.venv-ray/bin/python -m pip install --quiet --quiet --disable-pip-version-check \
		--editable '.[examples,ray]'
	@touch $@

$(MLFLOW): requirements/mlflow_testing.txt
	@echo "Installing MLflow and a server that speaks as S3, for tests, into .venv-mlflow (two minutes) ..."
	@$(PYTHON) -m venv .venv-mlflow
	@.venv-mlflow/bin/python -m pip install --quiet --quiet --disable-pip-version-check \
		--requirement requirements/mlflow_testing.txt
	@touch $@
