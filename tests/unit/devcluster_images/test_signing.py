"""What the development cluster signs, the controller accepts."""

import stat
from pathlib import Path

import pytest

from devcluster.images.signing import public_pem, signature, signing_key
from sandbox_operator.model.images import parse
from sandbox_operator.model.signatures import SignatureError, downloaded, tag, trust, verify
from sandbox_operator.model.template import SignatureBounds, SignatureKey

IMAGE = f"localhost/sandbox-runner@sha256:{'a' * 64}"


def test_the_controller_accepts_a_signature_made_here(tmp_path: Path) -> None:
    key = signing_key(tmp_path / "cache" / "key.pem")
    name, line = signature(key, IMAGE)
    image = parse(IMAGE)
    assert name == tag(image.digest)
    trusted = trust(SignatureBounds(keys=(SignatureKey(name="development", public_key=public_pem(key)),)))
    assert verify(image, downloaded(line), trusted) == "development"
    with pytest.raises(SignatureError):
        verify(parse(f"localhost/sandbox-runner@sha256:{'b' * 64}"), downloaded(line), trusted)


def test_the_key_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    assert signature(signing_key(path), IMAGE) == signature(signing_key(path), IMAGE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]
