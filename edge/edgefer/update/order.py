"""A model over the air: what a message may ask for, how the file is fetched, and what is remembered over a restart."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from edgefer.errors import MissingLibrary, ModelError, SettingsError
from edgefer.files import atomic_path
from edgefer.redact import reason, scrub
from edgefer.settings import UpdateSettings

MESSAGE_LIMIT_BYTES = 16_384
REMEMBERED = 20
"""Models that failed, of which the last so many are not tried again on their own."""
FILE = "model.tflite"


class Order(msgspec.Struct, frozen=True):
    """The retained message: where a model is, what it must be, and who says so."""

    url: Annotated[str, Meta(max_length=2048)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Meta(max_length=200)] = ""
    """Ed25519 over the 64 characters of ``sha256``, in base64."""


def read_order(payload: bytes, how: UpdateSettings) -> Order:
    """What a message asks for; raises `ModelError` for what these settings do not allow."""
    try:
        if len(payload) > MESSAGE_LIMIT_BYTES:
            raise ValueError(f"{len(payload):,} bytes, at most {MESSAGE_LIMIT_BYTES:,} are read")
        order = msgspec.json.decode(payload, type=Order)
        scheme = _scheme(order.url)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ModelError(f'not an update: {error}; {{"url": …, "sha256": …}} is expected') from None
    # What cannot be fetched is said in a retained message. Anywhere: a / in a password ends the part it belongs in.
    if "@" in order.url:
        raise ModelError("no user and password in the url, please: who reads the broker would read them (an @ in a path is %40)")
    if scheme not in how.schemes:
        raise ModelError(f"{scheme or 'no scheme'}: is not allowed; update.schemes has {', '.join(how.schemes)}")
    if how.public_key:
        check_signature(order, Path(how.public_key))
    return order


def _scheme(url: str) -> str:
    """Raises `ValueError` for what is no address, in words that repeat nothing of it."""
    try:
        parts = urlsplit(url)
        # Without slashes it may be a user, before a password.
        return parts.scheme if parts.port != 0 and ":/" in url else ""
    except ValueError:
        raise ValueError("the url, or the port in it, is malformed") from None


def check_signature(order: Order, public_key: Path) -> None:
    """Raises `ModelError` unless the key's owner signed this sha256, `SettingsError` for a file that is no such key."""
    import base64

    key = load_key(public_key)
    from cryptography.exceptions import InvalidSignature

    if not order.signature:
        raise ModelError("not signed, but update.public_key is set")
    try:
        key.verify(base64.b64decode(order.signature, validate=True), order.sha256.encode())
    except (InvalidSignature, ValueError):
        raise ModelError("the signature is not that of update.public_key over this sha256") from None


def load_key(path: Path) -> Any:
    """An Ed25519 public key out of a PEM file, as 'openssl pkey -pubout' writes it."""
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


def fetch(order: Order, folder: Path, how: UpdateSettings, clock: Callable[[], float] = time.monotonic) -> Path:
    """Download into ``folder``/<sha256>/, where it appears whole or not at all.

    Raises `OSError` for what may go better another time, `ModelError` for what will not.
    """
    path = folder / order.sha256 / FILE
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == order.sha256:
        return path
    limit_bytes, end_s, digest, size = int(how.max_mb * 1_000_000), clock() + how.timeout_s, hashlib.sha256(), 0
    opener = urllib.request.build_opener(_Redirects(how.schemes))
    request = urllib.request.Request(order.url, headers={"User-Agent": "edgefer"})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with opener.open(request, timeout=min(30.0, how.timeout_s)) as answer, atomic_path(path) as draft, draft.open("wb") as file:
            # read1: whatever has come, so that a server which sends a byte now and then cannot hold us past the limit.
            while content := answer.read1(65_536):
                size += len(content)
                if size > limit_bytes:
                    raise ModelError(f"larger than {how.max_mb:g} MB (update.max_mb)")
                if clock() > end_s:
                    raise TimeoutError(f"not there after {how.timeout_s:g} s (update.timeout_s)")
                digest.update(content)
                file.write(content)
            _check_arrived(answer, digest.hexdigest(), order.sha256)
    except urllib.error.HTTPError as error:
        raise (OSError if error.code >= 500 else ModelError)(f"the server answers {error.code} {scrub(error.reason)}") from None
    except urllib.error.URLError as error:
        raise OSError(f"cannot be fetched: {reason(error)}") from None
    except (http.client.HTTPException, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise OSError(f"cannot be fetched: {reason(error)}") from None
    finally:
        with suppress(OSError):
            # Only where nothing lies in it.
            path.parent.rmdir()
    return path


def _check_arrived(answer: Any, found: str, announced: str) -> None:
    """Raises `ConnectionError` for half a file, `ModelError` for another than was announced."""
    # What HTTP still owes us; read1 ends early without a word.
    if getattr(answer, "length", 0):
        raise ConnectionError("the connection broke off")
    if found != announced:
        raise ModelError(f"the file there has the sha256 {found[:12]}…, {announced[:12]}… was announced")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A server may send us on, but not to a scheme that is not allowed."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request; raises `ModelError` where it may not be made."""
        if urlsplit(newurl).scheme not in self._schemes:
            raise ModelError(f"the server sends us on to {urlsplit(newurl).scheme}:, which is not allowed (update.schemes)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Ledger(msgspec.Struct, frozen=True):
    """What is remembered over a restart; models are named by their sha256, the configured one by the empty string."""

    configured: str = ""
    """The setting ``model`` these lines are about: with another one they mean nothing."""
    current: str = ""
    previous: str = ""
    """The last one that proved itself: what is gone back to."""
    trial: Literal["", "running", "paused"] = ""
    """Whether ``current`` still has to prove itself; paused while edgefer was stopped in good order."""
    refused: dict[str, str] = {}
    """Why models failed: a retained message is not followed twice into the same hole."""


def on_trial(ledger: Ledger, sha256: str) -> Ledger:
    """Another model is in use and has to prove itself; one that was still on trial is not gone back to."""
    refused = {model: why for model, why in ledger.refused.items() if model != sha256}
    previous = ledger.previous if ledger.trial else ledger.current
    return msgspec.structs.replace(ledger, current=sha256, previous=previous, trial="running", refused=refused)


def proven(ledger: Ledger) -> Ledger:
    """It did."""
    return msgspec.structs.replace(ledger, previous="", trial="")


def rolled_back(ledger: Ledger, why: str) -> Ledger:
    """It did not."""
    back = msgspec.structs.replace(ledger, current=ledger.previous, previous="", trial="")
    return refused(back, ledger.current, why)


def refused(ledger: Ledger, sha256: str, why: str) -> Ledger:
    """A model that is not tried again on its own."""
    reasons = {**{model: said for model, said in ledger.refused.items() if model != sha256}, sha256: why}
    return msgspec.structs.replace(ledger, refused=dict(list(reasons.items())[-REMEMBERED:]))


def at_start(ledger: Ledger, configured: str) -> Ledger:
    """After a restart: a trial that ended without a word (a crash, a kill, a power cut) counts as failed; another setting begins afresh."""
    if ledger.configured != configured:
        return Ledger(configured)
    if ledger.trial == "running":
        return rolled_back(ledger, "edgefer ended unexpectedly during its trial")
    return msgspec.structs.replace(ledger, trial="running") if ledger.trial else ledger


def read_ledger(path: Path) -> Ledger:
    """The ledger of a file; an absent or damaged one is empty, which is the configured model."""
    try:
        ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return Ledger()
    return ledger if all(re.fullmatch("([0-9a-f]{64})?", sha256) for sha256 in (ledger.current, ledger.previous)) else Ledger()


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Whole or not at all, also in a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        draft.write_bytes(msgspec.json.encode(ledger))
