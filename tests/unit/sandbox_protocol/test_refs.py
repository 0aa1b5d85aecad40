import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox_protocol.refs import Refs, from_public_host

UID = "6f1c1c0e-8a3f-4f57-9d9c-0b8a52f0d3aa"
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@given(st.uuids())
def test_every_name_is_a_legal_dns_label(uid: uuid.UUID) -> None:
    refs = Refs(str(uid))
    assert LABEL.fullmatch(refs.namespace)
    assert LABEL.fullmatch(refs.public_host(65535, "preview.example").partition(".")[0])


@given(st.uuids(), st.uuids())
def test_two_runners_never_share_a_namespace(one: uuid.UUID, other: uuid.UUID) -> None:
    assert (Refs(str(one)) == Refs(str(other))) == (Refs(str(one)).namespace == Refs(str(other)).namespace)


@given(st.uuids(), st.integers(1, 65535))
def test_a_public_host_leads_back_to_its_runner_and_port(uid: uuid.UUID, port: int) -> None:
    refs = Refs(str(uid))
    assert from_public_host(refs.public_host(port, "preview.localhost") + ":8090", "preview.localhost") == (refs, port)


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "shop",
        UID.upper(),
        UID + "\n",
        UID + "/../kube-system",
        UID.replace("-", ""),
        "../" + UID,
        UID[:-1] + "g",
        "{" + UID + "}",
    ],
)
def test_anything_but_a_uid_is_refused(uid: str) -> None:
    with pytest.raises(ValueError, match="not the UID"):
        Refs(uid)


@pytest.mark.parametrize(
    "host",
    [
        "preview.localhost",
        "3000-.preview.localhost",
        f"3000-{'a' * 26}.evil.example",
        f"3000-{'a' * 26}.preview.localhost.evil.example",
        f"0-{'a' * 26}.preview.localhost",
        f"65536-{'a' * 26}.preview.localhost",
        f"03000-{'a' * 26}.preview.localhost",
        f"3000-{'a' * 25}.preview.localhost",
        f"3000-{'1' * 26}.preview.localhost",
        f"x.3000-{'a' * 26}.preview.localhost",
    ],
)
def test_a_foreign_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="not a preview host"):
        from_public_host(host, "preview.localhost")


@given(st.uuids())
def test_a_runner_has_one_spelling_of_its_host_only(uid: uuid.UUID) -> None:
    host = Refs(str(uid)).public_host(3000, "preview.localhost")
    label = host.partition(".")[0]
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    others = [label[:-1] + c for c in alphabet if c != label[-1]]
    for other in others:
        try:
            refs, _ = from_public_host(f"{other}.preview.localhost", "preview.localhost")
        except ValueError:
            continue
        assert refs.uid != str(uid)


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_outside_tcp_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not between 1 and 65535"):
        Refs(UID).public_host(port, "preview.localhost")
