"""Downloads the model of an order: limited in size and time, without a move to a scheme that is not allowed."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from edgefer.errors import ModelError
from edgefer.files import atomic_path
from edgefer.redact import reason, redact
from edgefer.settings import UpdateSettings
from edgefer.update.order import Order

_CONNECT_S = 30.0


def model_file(folder: Path, sha256: str) -> Path:
    """Path of a downloaded model below ``folder``."""
    return folder / sha256 / "model.tflite"


def is_complete(path: Path, sha256: str) -> bool:
    """Whether a file exists and has this digest."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def download(order: Order, folder: Path, settings: UpdateSettings, clock: Callable[[], float] = time.monotonic) -> Path:
    """Download into `model_file`, atomically; a file that is already complete is not downloaded again.

    Raises `OSError` for a failure that a retry may cure, `ModelError` for any other.
    """
    path = model_file(folder, order.sha256)
    if is_complete(path, order.sha256):
        return path
    opener = urllib.request.build_opener(_Redirects(settings.schemes))
    request = urllib.request.Request(order.url, headers={"User-Agent": "edgefer"})
    end_s = clock() + settings.timeout_s
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            opener.open(request, timeout=min(_CONNECT_S, settings.timeout_s)) as answer,
            atomic_path(path) as draft,
            draft.open("wb") as file,
        ):
            _copy(answer, file, order, settings, lambda: clock() > end_s)
    except urllib.error.HTTPError as error:
        raise (OSError if error.code >= 500 else ModelError)(f"the server answers {error.code} {redact(error.reason)}") from None
    except ModelError:
        raise
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
        if late():
            raise TimeoutError(f"not complete after {settings.timeout_s:g} s (update.timeout_s)")
        digest.update(content)
        file.write(content)
    # Bytes that HTTP announced and that did not come: read1 reports no error for them.
    if getattr(answer, "length", 0):
        raise ConnectionError("the connection was lost")
    if digest.hexdigest() != order.sha256:
        raise ModelError(f"the file has the sha256 {digest.hexdigest()[:12]}…, the order announced {order.sha256[:12]}…")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """A server may redirect, but not to a scheme that is not allowed."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request; raises `ModelError` for a scheme that is not allowed."""
        scheme = urlsplit(newurl).scheme
        if scheme not in self._schemes:
            raise ModelError(f"the server redirects to {scheme}:, which is not allowed (update.schemes)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
