"""Fixtures of everything that needs the cluster. A runner that takes part in a failed test is described in its report."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import pytest

from devcluster.deploy import install
from devcluster.settings import state_from_environment
from sandbox_client import blocking
from sandbox_client.kubeconfig import Connection
from sandbox_protocol import names
from tests.harness.cluster import Cluster, Rule

UserFactory = Callable[[str | Sequence[Rule]], Connection]
RunnerFactory = Callable[..., blocking.Sandbox]

TEMPLATE = os.environ.get("SANDBOX_TEST_TEMPLATE", names.DEFAULT_TEMPLATE)
"""`make test-gvisor` names another one, which then stands in the default one's place: every runner of the run is of it."""
GVISOR = TEMPLATE.endswith("-gvisor")

WEB_SERVER = ["sh", "-c", "echo started; exec python3 -u -m http.server --bind $HOST $PORT"]
"""Serves the workspace: an app that is up in a moment and needs nothing installed."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    state = state_from_environment()
    if not state.kubeconfig.exists():
        pytest.fail(f"no cluster: {state.kubeconfig} does not exist; run `make cluster-up deploy`", pytrace=False)
    made = Cluster(state)
    with _standing_in(made):
        yield made


@contextlib.contextmanager
def _standing_in(cluster: Cluster) -> Iterator[None]:
    """Whatever a test makes without naming a template, or of a copy of the default one, is of `TEMPLATE`."""
    if TEMPLATE == names.DEFAULT_TEMPLATE:
        yield
        return
    default = cluster.get("sandboxtemplate", names.DEFAULT_TEMPLATE)
    metadata = {key: value for key, value in default["metadata"].items() if key in ("name", "labels", "annotations")}

    def put(spec: Any) -> None:
        # as who deploys it, so that the next deployment puts right what a run that was killed has left
        install.apply(cluster.state, [{**default, "metadata": metadata, "spec": spec}])

    put(cluster.get("sandboxtemplate", TEMPLATE)["spec"])
    try:
        yield
    finally:
        put(default["spec"])


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Fresh for this file, and deleted with every runner in it."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.path.stem)
    name = f"{stem[:40]}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=120s")


@pytest.fixture(scope="module")
def user(cluster: Cluster, namespace: str) -> UserFactory:
    """``user("edit")`` or ``user([rule, …])``: a new ServiceAccount of the namespace with just that right."""
    return lambda grant: cluster.user(namespace, f"user-{secrets.token_hex(3)}", grant)


@pytest.fixture(scope="module")
def client(user: UserFactory) -> Iterator[blocking.Client]:
    """The SDK as a user bound to the stock role `edit`."""
    with blocking.Client(user("edit")) as made:
        yield made


@pytest.fixture(scope="module")
def make_runner(client: blocking.Client) -> RunnerFactory:
    """``make_runner(name, spec)``: applied and Ready."""

    def make(name: str, spec: Mapping[str, Any] | None = None) -> blocking.Sandbox:
        sandbox = client.apply(name, {"command": WEB_SERVER} if spec is None else spec)
        sandbox.wait_ready()
        return sandbox

    return make


@pytest.fixture(scope="module")
def runner(make_runner: RunnerFactory) -> blocking.Sandbox:
    """One that the tests of a file share; it serves its workspace on port 3000."""
    return make_runner("shared")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call":
        values = getattr(item, "funcargs", {}).values()
        cluster = next((value for value in values if isinstance(value, Cluster)), Cluster(state_from_environment()))
        for sandbox in values:
            if isinstance(sandbox, blocking.Sandbox):
                try:
                    text = cluster.describe(sandbox)
                except Exception as error:  # a report must not hide the failure it is about
                    text = str(error)
                report.sections.append((f"SandboxRunner {sandbox.namespace}/{sandbox.name}", text))
    return report
