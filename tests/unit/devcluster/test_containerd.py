"""References of imported images."""

import pytest

from devcluster.containerd import digest_reference


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("localhost/runner:dev", "localhost/runner@sha256:ab"),
        ("localhost/runner", "localhost/runner@sha256:ab"),
        ("registry.test:5000/a/b:1.2", "registry.test:5000/a/b@sha256:ab"),
        ("registry.test:5000/a/b", "registry.test:5000/a/b@sha256:ab"),
    ],
)
def test_a_digest_reference_keeps_the_registrys_port_and_drops_the_tag(name: str, reference: str) -> None:
    assert digest_reference(name, "sha256:ab") == reference
