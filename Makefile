# Two commands matter on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help
PY := .venv/bin/python
UV_VERSION := 0.13.9
# uv for its speed, but with the machine's own certificates and the package index that pip is set to
UV = index=$$(.venv/bin/pip config get global.index-url 2>/dev/null || true); .venv/bin/uv --system-certs $${index:+--default-index $$index}
# Test runs end with the runner's own closing line; PYTEST_ARGS narrows them, e.g. PYTEST_ARGS='-k sync'
# The launcher has no dependency, and is built by the Go of the image, which is older: no toolchain is fetched for it
GO := CGO_ENABLED=0 GOTOOLCHAIN=local GOPROXY=off go
PYTEST := $(PY) -m pytest $(PYTEST_ARGS)

.PHONY: help demo test test-unit test-cluster test-e2e test-apps test-walls test-gvisor test-teardown check bench bench-edits soak fuzz cluster-up cluster-down cluster-status images language-images \
        load-sandbox-runner-image deploy undeploy locks up

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-28s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: requirements/dev.txt pyproject.toml
	@echo "==> Python environment .venv (from requirements/dev.txt, hash-checked)"
	@python3 -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	@python3 -c 'import ensurepip' 2>/dev/null || { echo "    installing the distribution's python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	@[ -x $(PY) ] || python3 -m venv .venv
	@.venv/bin/pip install -q --disable-pip-version-check uv==$(UV_VERSION)
	@$(UV) pip sync -q --python $(PY) --require-hashes requirements/dev.txt
	@$(UV) pip install -q --python $(PY) --no-deps -e .
	@touch $@

demo: up ## everything from nothing: a cluster, the operator, a real app, an edit seen in a real browser
	@$(PY) -m demo

up: .venv/ready ## cluster, images and operator, without the demo
	@$(PY) -m devcluster.everything

test: .venv/ready check test-unit up ## unit, cluster and end-to-end tests on the same cluster
	@$(PYTEST) tests/cluster tests/e2e tests/apps tests/audit

test-unit: .venv/ready ## no cluster, no network
	@cd launcher && $(GO) test ./...
	@$(PYTEST) tests/unit

test-cluster: up ## against the real cluster
	@$(PYTEST) tests/cluster

test-e2e: up ## real Chromium
	@$(PYTEST) tests/e2e

test-apps: up ## every project of tests/apps/corpus in a sandbox and in Chromium, or APPS='astro next*'; writes docs/apps.md; an hour
	@$(PY) -m tests.apps $(APPS)

# A cluster keeps the address families it was made with, so the attacks by IPv6 want a new one, on a machine that has it.
IPV6 = $(shell d=$${DEVCLUSTER_STATE:-.devcluster}; [ -e $$d/driver ] || [ -e $$d/etcd ] || [ ! -e /proc/net/if_inet6 ] || echo --with ipv6)

test-walls: .venv/ready ## every attack on a sandbox, with the wall and without; prints the table, writes docs/isolation.md
	@$(if $(IPV6),$(PY) -m devcluster up $(IPV6))
	@$(PY) -m devcluster.everything
	@$(PYTEST) $(or $(WALLS),tests/walls) --page

test-gvisor: .venv/ready ## cluster and end-to-end tests, and every attack, with gVisor's kernel below the sandboxes; half an hour
	@$(PY) -m devcluster up --with gvisor $(IPV6)
	@$(PY) -m devcluster.everything
	@export SANDBOX_TEST_TEMPLATE=sandbox-runner-gvisor; failed=0; \
	$(PYTEST) tests/cluster tests/e2e || failed=1; \
	$(PYTEST) tests/walls --page || failed=1; exit $$failed

bench-edits: .venv/ready ## does every edit reach every watcher? Real dev servers, no cluster; an hour. EDITS='--quick "vite8"' for less
	@$(PY) -m tests.bench.edits $(EDITS)

soak: up ## 20,000 syncs and 500 restarts of one runner: is memory flat? Takes some minutes
	@$(PY) -m tests.bench soak

test-teardown: .venv/ready ## shows that `down` leaves nothing behind; takes the cluster down
	@$(PYTEST) tests/teardown

SECONDS := 60
fuzz: .venv/ready ## searches for inputs that break a parser, SECONDS=60 for each of them; FUZZ='tar image' for some
	@$(UV) pip install -q --python $(PY) --require-hashes -r requirements/fuzz.txt
	@$(PY) -m tests.fuzz --seconds $(SECONDS) $(FUZZ)

check: .venv/ready ## format, lint, types, layers
	@[ -z "$$(gofmt -l launcher)" ] || { gofmt -d launcher; exit 1; }
	@cd launcher && $(GO) vet ./... && GOARCH=arm64 $(GO) vet ./...
	@.venv/bin/ruff format --check -q .
	@.venv/bin/ruff check -q .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache | grep -E "KEPT|BROKEN|Contracts:"

bench: up ## figures, each a ratio against something named
	@$(PY) -m tests.bench

cluster-up: .venv/ready ## a real Kubernetes; kubeconfig at .devcluster/kubeconfig
	@$(PY) -m devcluster up

cluster-down: .venv/ready ## take it down; leaves no trace outside .devcluster and the build cache
	@$(PY) -m devcluster down

cluster-status: .venv/ready ## what runs, and what it needs
	@$(PY) -m devcluster status

images: .venv/ready ## build both images
	@$(PY) -m devcluster.images build

language-images: .venv/ready ## build and load the images for Go, Bun and compilers; `make deploy` then offers them
	@$(PY) -m devcluster.images load languages

load-sandbox-runner-image: .venv/ready ## build and load the default runner image; prints its digest reference
	@$(PY) -m devcluster.images load runner

deploy: .venv/ready ## install or update the operator in the cluster
	@$(PY) -m devcluster.deploy up

undeploy: .venv/ready ## remove the operator and every runtime; leaves nothing
	@$(PY) -m devcluster.deploy down

locks: .venv/ready ## resolve requirements/*.txt anew from pyproject.toml
	@requirements/lock.sh
