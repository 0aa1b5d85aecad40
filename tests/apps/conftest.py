"""Everything here runs against the cluster of `make cluster-up deploy`."""

from tests.harness.fixtures import cluster

__all__ = ["cluster"]

collect_ignore = ["corpus"]  # projects may bring tests of their own
