"""An update order: the message that names a model to install, and the checks it must pass.

The fields are those of a TUF target file with its version and expiry, in one message with one signature. TUF itself has four roles, each
with a key and a file of its own: for one key and one model at a time that is more to run, to lose and to get wrong.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgefer.errors import MissingLibrary, ModelError, SettingsError
from edgefer.settings import UpdateSettings
from edgefer.update.ledger import Ledger

MESSAGE_LIMIT_BYTES = 16_384


class Order(msgspec.Struct, frozen=True):
    """The JSON of the message."""

    url: Annotated[str, Meta(max_length=2048)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Meta(max_length=200)] = ""
    """Ed25519 over `signed_text`, in base64. The following fields are required with it."""
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    """The model's name, as in its card."""
    version: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    """Counts the orders of a device: one with a lower number than the last is a replay."""
    size: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    """Bytes of the file."""
    expires: Annotated[int, Meta(ge=0, lt=2**40)] = 0
    """When the order becomes invalid, in seconds since 1970."""


def read_order(payload: bytes, settings: UpdateSettings) -> Order:
    """The order of a message; raises `ModelError` where it is malformed or the settings do not allow it."""
    try:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise ValueError(f"{len(payload):,} bytes, at most {MESSAGE_LIMIT_BYTES:,} are read")
        order = msgspec.json.decode(payload, type=Order)
        scheme = _scheme(order.url)
        if not order.url.isprintable():
            raise ValueError("the url has control characters")
    except (msgspec.MsgspecError, ValueError) as error:
        raise ModelError(f'not an update: {error}; {{"url": …, "sha256": …}} is expected') from None
    # The message is retained, and the status repeats errors. An @ anywhere is refused: a / in a password hides the rest of it.
    if "@" in order.url:
        raise ModelError("the url may hold no user and password: every reader of the broker sees it (an @ in a path is %40)")
    if scheme not in settings.schemes:
        raise ModelError(f"{scheme or 'no scheme'}: is not allowed; update.schemes has {', '.join(settings.schemes)}")
    if settings.public_key:
        check_signature(order, Path(settings.public_key))
    return order


def _scheme(url: str) -> str:
    """Raises `ValueError` for a malformed address, with a text that repeats nothing of it."""
    try:
        parts = urlsplit(url)
        # Without slashes, the part before the colon may be a user and the rest a password.
        return parts.scheme if parts.port != 0 and ":/" in url else ""
    except ValueError:
        raise ValueError("the url, or the port in it, is malformed") from None


def signed_text(order: Order) -> bytes:
    """What the signature covers: a line for the format, then one for each field."""
    fields = (order.name, order.version, order.url, order.size, order.sha256, order.expires)
    return "".join(f"{line}\n" for line in ("edgefer update 1", *fields)).encode()


def check_signature(order: Order, public_key: Path) -> None:
    """Raises `ModelError` unless the key signed every field, `SettingsError` for a file that is no such key."""
    key = load_key(public_key)
    if not order.signature:
        raise ModelError("not signed, but update.public_key is set")
    if _signed(key, order.signature, order.sha256.encode()):
        raise ModelError(
            "signed in the old way, over the sha256 alone: it could be replayed; sign name, version, url, size, sha256 and expires"
        )
    if not _signed(key, order.signature, signed_text(order)):
        raise ModelError("the signature is not that of update.public_key over name, version, url, size, sha256 and expires")
    if missing := [name for name in ("name", "version", "size", "expires") if not getattr(order, name)]:
        raise ModelError(f"signed, but without {' and '.join(missing)}")


def check_fresh(order: Order, ledger: Ledger, now_s: float) -> None:
    """Raises `ModelError` for a signed order that is older than the last one, or expired."""
    if order.version < ledger.version or (order.version == ledger.version and order.sha256 != ledger.version_sha256):
        raise ModelError(f"version {order.version} is not newer than {ledger.version}, the last one here: a replay, or a counter to raise")
    if now_s >= order.expires:
        expired = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(order.expires))
        raise ModelError(f"expired on {expired}: sign it again")


def _signed(key: Any, signature: str, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(base64.b64decode(signature, validate=True), text)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_key(path: Path) -> Any:
    """The Ed25519 public key of a PEM file, as 'openssl pkey -pubout' writes it; raises `SettingsError`."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise MissingLibrary("signed updates need cryptography: pip install 'edgefer[ota]'") from None
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"update.public_key {path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"update.public_key {path}: no public key in PEM; write one with 'openssl pkey -pubout'") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError(f"update.public_key {path}: not an Ed25519 key")
    return key
