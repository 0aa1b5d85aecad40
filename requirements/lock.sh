#!/usr/bin/env bash
# Resolves the hash locks anew; `requirements/lock.sh --upgrade` also raises what is locked already.
# Why these and not uv.lock: docs/decisions/0001-hash-locked-requirements.md
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv

lock() { # lock OUTPUT SOURCE... : the first line of the output names this script, never an index
  local out=$1; shift
  "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
    --custom-compile-command requirements/lock.sh "${upgrade[@]}" --output-file "$out" "$@"
}

upgrade=("$@")
lock requirements/operator.txt --extra operator pyproject.toml
lock requirements/runner.txt --extra runner pyproject.toml
lock requirements/dev.txt --extra dev pyproject.toml
lock requirements/fuzz.txt --extra fuzz --constraint requirements/dev.txt pyproject.toml
lock requirements/node.txt requirements/node.in
lock requirements/go.txt requirements/go.in
lock requirements/mirrors.txt requirements/mirrors.in

# The npm registry of the development cluster; its .npmrc keeps addresses out of the lock.
(cd devcluster/mirrors/npm && npm install --silent --package-lock-only --omit=dev)
# Bun of images/Dockerfile.bun, likewise.
(cd images/bun && npm install --silent --package-lock-only)
