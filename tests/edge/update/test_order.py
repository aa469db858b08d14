from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from edgefer.errors import ModelError, SettingsError
from edgefer.settings import UpdateSettings
from edgefer.update.order import Order, read_order

A, B = "a" * 64, "b" * 64


def message(url: str = "https://host/m.tflite", sha256: str = A, **more: str) -> bytes:
    return json.dumps({"url": url, "sha256": sha256, **more}).encode()


def test_an_order_has_a_url_and_a_digest_and_unknown_fields_are_ignored() -> None:
    assert read_order(message(later="x"), UpdateSettings()) == Order("https://host/m.tflite", A)


@pytest.mark.parametrize(
    ("payload", "fact"),
    [
        (b"now!", "is expected"),
        (b"\xff", "is expected"),
        (b"[]", "is expected"),
        (b'{"url": "https://h/m"}', "missing required field `sha256`"),
        (message(sha256="A" * 64), "sha256"),
        (message(sha256="../../etc"), "sha256"),
        (message(url="http://host/m"), "http: is not allowed"),
        (message(url="file:///etc/passwd"), "file: is not allowed"),
        (message(url="/etc/passwd"), "no scheme"),
        (message(url="https://[::1/m"), "is expected"),
        (message(url="https://user:secret@host/m"), "user and password"),
        (message(url="https://" + "h" * 3000), "is expected"),
        (b" " * 20_000 + message(), "at most 16,384"),
    ],
)
def test_an_order_that_is_not_allowed_is_refused_with_the_reason(payload: bytes, fact: str) -> None:
    with pytest.raises(ModelError, match=fact) as error:
        read_order(payload, UpdateSettings())
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_with_a_public_key_only_its_owner_can_order(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="cryptography is not installed (pip install 'edgefer[ota]')")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def pem(key: Ed25519PrivateKey | X25519PrivateKey) -> bytes:
        return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(by: Ed25519PrivateKey, what: str) -> str:
        return base64.b64encode(by.sign(what.encode())).decode()

    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(pem(ours))
    how = UpdateSettings(public_key=str(tmp_path / "key.pem"))
    assert read_order(message(signature=signed(ours, A)), how).sha256 == A
    for signature in ("", "?", signed(theirs, A), signed(ours, B)):
        with pytest.raises(ModelError, match="sign"):
            read_order(message(signature=signature), how)
    for content, fact in ((b"no key", "no public key in PEM"), (pem(X25519PrivateKey.generate()), "not an Ed25519 key")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(SettingsError, match=fact):
            read_order(message(signature=signed(ours, A)), how)
