"""Everything here runs against the cluster of `make cluster-up deploy`."""

from tests.harness.fixtures import cluster

__all__ = ["cluster"]
