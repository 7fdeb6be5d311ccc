# `make help` lists the targets. Everything a target needs it sets up itself; caches are outside the clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CACHE := $(or $(YOLO_OPERATOR_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/yolo-operator)
VENV := $(CACHE)/venv
BIN := $(VENV)/bin
export KUBECONFIG ?= $(CACHE)/state/kubeconfig
# No package of ours or of others reports home.
export ORT_DISABLE_TELEMETRY := 1
export YOLO_OFFLINE := 1
export YOLO_AUTOINSTALL := false

include tests/cluster/cluster.mk

.PHONY: help demo test test-unit test-all test-releases parts bench bench-load bench-many bench-pictures bench-scale bench-start bench-wire lint format crds golden verify venv lock sbom licences

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-20s %s\n", $$1, $$2}' | sed 's/: .*  /  /'

demo: parts ## From a fresh machine to a Ready YoloDeployment and detections on a picture
	@$(BIN)/python tests/demo/demo.py

# What needs the cluster in one process, the rest beside it, as tests/conftest.py says.
PYTEST := $(BIN)/pytest -n 2 --no-loadscope-reorder

test: parts gateway programs lint kind-config-check ## The suite: a row of every mechanism, on the real parts
	@$(PYTEST) -m "not matrix"
	@$(BIN)/pytest tests/afterwards

test-all: parts gateway programs lint kind-config-check ## The suite with every long matrix whole; writes docs/bad-specs.md, docs/reliability.md, docs/answers.md and docs/sizes.md
	@$(PYTEST) --table=docs/bad-specs.md --faults-table=docs/reliability.md --answers-table=docs/answers.md --sizes-table=docs/sizes.md
	@$(BIN)/pytest tests/afterwards
	@$(MAKE) --no-print-directory test-releases

RELEASES ?= 1.30 1.32 1.37
test-releases: parts gateway programs ## What depends on Kubernetes' release, against API servers of others: CRD, CEL, admission, faults
	@for release in $(RELEASES); do echo "Kubernetes $$release"; YOLO_OPERATOR_TEST_KUBERNETES=$$release $(BIN)/pytest -q -m "not matrix" tests/apiserver tests/faults; done

test-unit: venv ## The quick tests that need no cluster
	@$(BIN)/pytest -m "not cluster and not matrix" tests/core tests/controller

parts: ## All that demo and test need: packages, Python, cluster, images, weights
	@$(MAKE) --no-print-directory prerequisites
	@$(MAKE) --no-print-directory venv
	@$(MAKE) --no-print-directory cluster-up
	@$(MAKE) --no-print-directory images
	@$(MAKE) --no-print-directory weights

bench: parts ## The figures of docs/performance.md, in one run
	@$(BIN)/python bench/bench.py

bench-wire: parts ## Bytes, times and pictures per second over slow links, for docs/performance.md
	@$(BIN)/python bench/wire.py

bench-pictures: parts ## The ways that a picture's file can take through Triton, for docs/performance.md
	@$(BIN)/python bench/pictures.py

bench-load: parts ## From the storage to a serving pod, by Triton and by an init container, for docs/performance.md
	@$(BIN)/python bench/load.py

bench-many: parts ## Twenty models in one YoloServer, and in twenty YoloDeployments, for docs/performance.md
	@$(BIN)/python bench/many.py

bench-start: parts ## From apply to the first right answer, beside the same work by hand, for docs/performance.md
	@$(BIN)/python bench/start.py

N ?= 1000
PER_SERVER ?= 0
bench-scale: prerequisites venv ## N resources (1000), PER_SERVER of them on each YoloServer (0): time, CPU, memory and requests of the operator, for docs/performance.md
	@$(BIN)/python bench/scale.py $(N) --per-server $(PER_SERVER)

MADE := $(VENV)/made-for-$(shell cat requirements/dev.txt pyproject.toml | sha256sum | cut -c1-12)-$(shell pwd | sha256sum | cut -c1-6)

venv: $(MADE) ## The Python environment

$(MADE):
	@echo "[venv] Python environment in $(VENV)"
	@test -x $(BIN)/python || python3 -m venv $(VENV) || { echo "python3 -m venv fails: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@rm -f $(VENV)/made-for-* && touch $@

lint: venv ## Format, rules, types, layers, generated files
	@$(BIN)/ruff format --check -q . || { echo "not formatted: run make format"; exit 1; }
	@# without ruff's cache: it does not see that a module which a file imports has moved
	@$(BIN)/ruff check -q --no-cache .
	@$(BIN)/mypy
	@$(BIN)/lint-imports | tail -2
	@$(MAKE) --no-print-directory verify

format: venv ## Write the code as the formatter wants it
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --no-cache --fix .

crds: venv ## Write the CRDs from operator/yolo_operator/core/api/, their pages in docs/ and the chart's copies
	@$(BIN)/python crds/generate.py
	@$(BIN)/python crds/reference.py
	@cp crds/*.yaml helm/yolo-operator/files/

verify: venv ## What is generated is as its source says
	@$(BIN)/python crds/generate.py --check
	@$(BIN)/python crds/reference.py --check
	@for each in crds/*.yaml; do cmp $$each helm/yolo-operator/files/$${each##*/} || { echo "the chart's CRDs are old: run make crds"; exit 1; }; done

golden: venv ## Write the golden files anew; look at the diff
	@$(BIN)/pytest -q tests/core --update-golden

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate
lock: venv ## Lock the operator's and the developers' packages with hashes
	@UV_PYTHON_DOWNLOADS=never $(LOCK) requirements/operator.in -o requirements/operator.txt
	@UV_PYTHON_DOWNLOADS=never $(LOCK) requirements/dev.in -o requirements/dev.txt
	@UV_PYTHON_DOWNLOADS=never $(LOCK) --no-deps requirements/pictures.in -o requirements/pictures.txt
	@UV_PYTHON_DOWNLOADS=never $(LOCK) requirements/sbom.in -o requirements/sbom.txt

SBOM := $(CACHE)/sbom
BILL := $(SBOM)/made-for-$(shell sha256sum < requirements/sbom.txt | cut -c1-12)

$(BILL): | $(MADE)
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(SBOM)/venv
	@$(BIN)/uv pip install -q --python $(SBOM)/venv/bin/python --require-hashes -r requirements/sbom.txt
	@rm -f $(SBOM)/made-for-* && touch $@

sbom: $(BILL) ## A bill of materials of each image's Python packages, in CycloneDX
	@$(SBOM)/venv/bin/python requirements/bill.py sbom $(SBOM)

licences: $(BILL) ## Write docs/licences.md from what the locked packages state
	@$(SBOM)/venv/bin/python requirements/bill.py licences docs/licences.md
