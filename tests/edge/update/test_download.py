from __future__ import annotations

import hashlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgefer.errors import ModelError
from edgefer.settings import UpdateSettings
from edgefer.update.download import AddressNotAllowed, download, model_file
from edgefer.update.order import Order

A = "a" * 64
MODEL = b"a model" * 5000


class Server(ThreadingHTTPServer):
    """Answers by path; /drip sends without end."""

    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer: dict[str, Callable[[], None]] = {"/model": self._model, "/cut": self._model, "/drip": self._drip}
        redirects = {"/moved": "/model", "/away": "https://127.0.0.1:9/", "/inside": "http://127.0.0.2:9/hit/reboot?now"}
        if self.path == "/drip-header":
            self._drip_header()
        elif self.path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[self.path])
            self.end_headers()
        elif self.path in answer:
            self.send_response(200)
            if self.path == "/cut":
                self.send_header("Content-Length", str(2 * len(MODEL)))
            self.end_headers()
            answer[self.path]()
        else:
            self.send_error(int(self.path[1:]))

    def _model(self) -> None:
        self.wfile.write(MODEL)

    def _drip(self) -> None:
        try:
            while True:
                self.wfile.write(b"x" * 100)
        except OSError:
            pass

    def _drip_header(self) -> None:
        try:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
            while True:
                self.wfile.write(b"a")
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


OPEN = UpdateSettings(schemes=["http", "file"], max_mb=0.1, allow_local=True)
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.mark.parametrize("path", ["/model", "/moved"])
def test_a_complete_model_appears_under_its_digest(server: str, tmp_path: Path, path: str) -> None:
    found = download(Order(server + path, SHA256), tmp_path, OPEN)
    assert found == model_file(tmp_path, SHA256)
    assert found.read_bytes() == MODEL
    assert list(found.parent.iterdir()) == [found]


def test_a_file_url_may_be_allowed_and_a_complete_model_is_not_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / "stick.tflite").write_bytes(MODEL)
    order = Order(f"file://{tmp_path}/stick.tflite", SHA256)
    download(order, tmp_path / "models", OPEN)
    (tmp_path / "stick.tflite").unlink()
    assert download(order, tmp_path / "models", OPEN).read_bytes() == MODEL
    model_file(tmp_path / "models", SHA256).write_bytes(b"damaged")
    with pytest.raises(OSError, match="No such file"):
        download(order, tmp_path / "models", OPEN)


@pytest.mark.parametrize(
    ("path", "changes", "kind", "fact"),
    [
        ("/model", {"sha256": A}, ModelError, "aaaaaaaaaaaa"),
        ("/model", {"max_mb": 0.01}, ModelError, "larger than 0.01 MB"),
        ("/drip", {}, ModelError, "larger than 0.1 MB"),
        ("/drip", {"max_mb": 500.0, "ticks": True}, OSError, "after 120 s"),
        ("/cut", {}, OSError, "connection was lost"),
        ("/away", {}, ModelError, "https:, which is not allowed"),
        ("/inside", {}, ModelError, "another host or port"),
        ("/model", {"size": 100}, ModelError, "larger than the 100 bytes"),
        ("/404", {}, ModelError, "answers 404"),
        ("/503", {}, OSError, "answers 503"),
    ],
)
def test_a_failed_download_gives_the_reason_and_leaves_no_file(
    server: str, tmp_path: Path, path: str, changes: dict[str, object], kind: type[Exception], fact: str
) -> None:
    settings = UpdateSettings(schemes=["http"], allow_local=True, max_mb=changes.get("max_mb", 0.1))  # type: ignore[arg-type]
    times = itertools.count(step=10 if changes.get("ticks") else 0)
    with pytest.raises(kind, match=fact) as error:
        order = Order(server + path, str(changes.get("sha256", SHA256)), size=changes.get("size", 0))  # type: ignore[arg-type]
        download(order, tmp_path, settings, lambda: next(times))
    assert isinstance(error.value, ModelError) == (kind is ModelError), "whether a retry is possible"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_drips_its_header_is_given_up_after_the_whole_time(server: str, tmp_path: Path) -> None:
    settings = UpdateSettings(schemes=["http"], allow_local=True, timeout_s=1)
    begun_s = time.monotonic()
    with pytest.raises(OSError, match="after 1 s"):
        download(Order(server + "/drip-header", SHA256), tmp_path, settings)
    assert time.monotonic() - begun_s < 30


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "[fe80::1]", "[::ffff:127.0.0.1]"])
def test_an_order_does_not_lead_to_this_machine_or_to_a_link_unless_that_is_allowed(tmp_path: Path, host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        with pytest.raises(AddressNotAllowed, match="allow_local"):
            download(Order(f"http://{host}:{inside.getsockname()[1]}/m", SHA256), tmp_path, UpdateSettings(schemes=["http"]))
        with pytest.raises(BlockingIOError):
            inside.accept()


def test_an_unreachable_server_may_be_retried(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be downloaded") as error:
        download(Order("http://127.0.0.1:9/m", SHA256), tmp_path, OPEN)
    assert not isinstance(error.value, ModelError)
