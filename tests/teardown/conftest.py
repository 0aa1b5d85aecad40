"""These tests take the one cluster of this machine apart, so they run last and apart: `make test-teardown`."""

import os

import pytest

from devcluster import machine_lock
from devcluster.settings import State, state_from_environment


@pytest.fixture(scope="session")
def state() -> State:
    state = state_from_environment()
    if os.geteuid() != 0:
        pytest.skip("the local driver needs root")
    if machine_lock.owner() not in (None, state.root):
        pytest.skip(f"another checkout's cluster is up: {machine_lock.owner()}")
    return state
