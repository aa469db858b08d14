"""An update order: the message that names a model to install, and the checks it must pass."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgefer.errors import MissingLibrary, ModelError, SettingsError
from edgefer.settings import UpdateSettings

MESSAGE_LIMIT_BYTES = 16_384


class Order(msgspec.Struct, frozen=True):
    """The JSON of the message."""

    url: Annotated[str, Meta(max_length=2048)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Meta(max_length=200)] = ""
    """Ed25519 over the 64 characters of ``sha256``, in base64."""


def read_order(payload: bytes, settings: UpdateSettings) -> Order:
    """The order of a message; raises `ModelError` where it is malformed or the settings do not allow it."""
    try:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise ValueError(f"{len(payload):,} bytes, at most {MESSAGE_LIMIT_BYTES:,} are read")
        order = msgspec.json.decode(payload, type=Order)
        scheme = _scheme(order.url)
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


def check_signature(order: Order, public_key: Path) -> None:
    """Raises `ModelError` unless the key signed this sha256, `SettingsError` for a file that is no such key."""
    key = load_key(public_key)
    from cryptography.exceptions import InvalidSignature

    if not order.signature:
        raise ModelError("not signed, but update.public_key is set")
    try:
        key.verify(base64.b64decode(order.signature, validate=True), order.sha256.encode())
    except (InvalidSignature, ValueError):
        raise ModelError("the signature is not that of update.public_key over this sha256") from None


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
