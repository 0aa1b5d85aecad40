"""Runs after everything else of `make test`, and looks back at it."""

from tests.harness.fixtures import cluster

__all__ = ["cluster"]
