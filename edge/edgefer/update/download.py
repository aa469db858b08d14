"""Downloads the model of an order: limited in size and time, from its own host only, and not from this machine unless that is allowed."""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from edgefer.errors import ModelError
from edgefer.files import atomic_path, read_regular
from edgefer.http_deadline import opener
from edgefer.redact import reason, redact
from edgefer.settings import UpdateSettings
from edgefer.update.order import Order

_CONNECT_S = 30.0


class AddressNotAllowed(ModelError):
    """The url leads to an address that the settings do not allow."""


def model_file(folder: Path, sha256: str) -> Path:
    """Path of a downloaded model below ``folder``."""
    return folder / sha256 / "model.tflite"


def is_complete(path: Path, sha256: str) -> bool:
    """Whether a file exists and has this digest."""
    try:
        return hashlib.sha256(read_regular(path)).hexdigest() == sha256
    except OSError:
        return False


def download(order: Order, folder: Path, settings: UpdateSettings, clock: Callable[[], float] = time.monotonic) -> Path:
    """Download into `model_file`, atomically; a file that is already complete is not downloaded again.

    Raises `OSError` for a failure that a retry may cure, `ModelError` for any other.
    """
    path = model_file(folder, order.sha256)
    if is_complete(path, order.sha256):
        return path
    check_address = (lambda _: None) if settings.allow_local else _refuse_local
    http_opener = opener(settings.timeout_s, _Redirects(settings.schemes), check_address=check_address)
    request = urllib.request.Request(order.url, headers={"User-Agent": "edgefer"})
    end_s = clock() + settings.timeout_s
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            http_opener.open(request, timeout=min(_CONNECT_S, settings.timeout_s)) as answer,
            atomic_path(path) as draft,
            draft.open("wb") as file,
        ):
            _copy(answer, file, order, settings, lambda: clock() > end_s)
    except urllib.error.HTTPError as error:
        raise (OSError if error.code >= 500 else ModelError)(f"the server answers {error.code} {redact(error.reason)}") from None
    except ModelError:
        raise
    except TimeoutError:
        raise TimeoutError(f"not complete after {settings.timeout_s:g} s (update.timeout_s)") from None
    except (urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"cannot be downloaded: {reason(error)}") from None
    finally:
        with suppress(OSError):
            # Fails where a file is in it.
            path.parent.rmdir()
    return path


def _copy(answer: Any, file: IO[bytes], order: Order, settings: UpdateSettings, late: Callable[[], bool]) -> None:
    """Copy the body and check its size, time and digest."""
    digest, size = hashlib.sha256(), 0
    # read1 returns what has arrived: a server that sends a byte now and then cannot hold us past the time limit.
    while content := answer.read1(65_536):
        size += len(content)
        if size > settings.max_mb * 1_000_000:
            raise ModelError(f"larger than {settings.max_mb:g} MB (update.max_mb)")
        if order.size and size > order.size:
            raise ModelError(f"larger than the {order.size} bytes of the order")
        if late():
            raise TimeoutError
        digest.update(content)
        file.write(content)
    # Bytes that HTTP announced and that did not come: read1 reports no error for them.
    if getattr(answer, "length", 0):
        raise ConnectionError("the connection was lost")
    if digest.hexdigest() != order.sha256:
        raise ModelError(f"the file's sha256 is not {order.sha256[:12]}…, as the order announced")


def _refuse_local(address: str) -> None:
    """Raises `AddressNotAllowed` for an IP address of this machine, of a link, or of no single machine."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6 and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast:
        raise AddressNotAllowed("the url leads to this machine itself or to a link-local address: not allowed (update.allow_local)")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A server may redirect on its own host, but not to a scheme that is not allowed."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request; raises `ModelError` for another scheme that is not allowed, and for another host or port."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in self._schemes:
            raise ModelError(f"the server redirects to {new.scheme}:, which is not allowed (update.schemes)")
        if (old.hostname, old.port) != (new.hostname, new.port):
            raise ModelError("the server redirects to another host or port, which is not allowed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
