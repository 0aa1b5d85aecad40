"""Everything here runs against the cluster of `make cluster-up deploy`."""

from tests.harness.fixtures import (
    client,
    cluster,
    make_runner,
    namespace,
    pytest_runtest_makereport,
    runner,
    user,
)

__all__ = ["client", "cluster", "make_runner", "namespace", "pytest_runtest_makereport", "runner", "user"]
