from __future__ import annotations

import base64
import json
from pathlib import Path

import msgspec
import pytest

from edgefer.errors import ModelError, SettingsError
from edgefer.settings import UpdateSettings
from edgefer.update.ledger import Ledger
from edgefer.update.order import Order, check_fresh, read_order, signed_text

A, B = "a" * 64, "b" * 64


FIELDS = {"name": "small", "version": 7, "size": 1234, "expires": 1_800_000_000}
SIGNED = Order("https://host/m.tflite", A, name="small", version=7, size=1234, expires=1_800_000_000)


def message(url: object = "https://host/m.tflite", sha256: object = A, **more: object) -> bytes:
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

    def signed(by: Ed25519PrivateKey, what: bytes) -> str:
        return base64.b64encode(by.sign(what)).decode()

    ours, theirs = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(pem(ours))
    how = UpdateSettings(public_key=str(tmp_path / "key.pem"))
    text = signed_text(SIGNED)
    assert text == b"edgefer update 1\nsmall\n7\nhttps://host/m.tflite\n1234\n" + A.encode() + b"\n1800000000\n"
    right = message(**FIELDS, signature=signed(ours, text))
    assert msgspec.structs.replace(read_order(right, how), signature="") == SIGNED
    for signature in ("", "?", signed(theirs, text), signed(ours, text + b"x"), signed(ours, A.encode())):
        with pytest.raises(ModelError, match="sign"):
            read_order(message(**FIELDS, signature=signature), how)
    changes = {"name": "other", "version": 8, "url": "https://host/other", "size": 1, "sha256": B, "expires": 1_900_000_000}
    for name, value in changes.items():
        with pytest.raises(ModelError, match="signature is not that of"):
            read_order(message(**{**FIELDS, "sha256": A, name: value}, signature=signed(ours, text)), how)
    with pytest.raises(ModelError, match=r"signed in the old way.*name, version, url, size, sha256 and expires"):
        read_order(message(signature=signed(ours, A.encode())), how)
    bare = Order("https://host/m.tflite", A)
    with pytest.raises(ModelError, match="without name and version and size and expires"):
        read_order(message(signature=signed(ours, signed_text(bare))), how)
    for content, fact in ((b"no key", "no public key in PEM"), (pem(X25519PrivateKey.generate()), "not an Ed25519 key")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(SettingsError, match=fact):
            read_order(right, how)


@pytest.mark.parametrize(
    ("accepted", "now_s", "fact"),
    [
        (Ledger(), 0.0, ""),
        (Ledger(version=6, version_sha256=B), 0.0, ""),
        (Ledger(version=7, version_sha256=A), 0.0, ""),
        (Ledger(version=7, version_sha256=B), 0.0, "version 7 is not newer than 7"),
        (Ledger(version=8, version_sha256=B), 0.0, "version 7 is not newer than 8"),
        (Ledger(), 1_800_000_000.0, "expired on 2027-01-15 08:00 UTC"),
    ],
)
def test_a_signed_order_is_neither_a_replay_nor_expired(accepted: Ledger, now_s: float, fact: str) -> None:
    if not fact:
        check_fresh(SIGNED, accepted, now_s)
        return
    with pytest.raises(ModelError, match=fact):
        check_fresh(SIGNED, accepted, now_s)
