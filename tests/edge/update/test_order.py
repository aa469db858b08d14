from __future__ import annotations

import base64
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgefer.errors import ModelError, SettingsError
from edgefer.settings import UpdateSettings
from edgefer.update.order import (
    FILE,
    REMEMBERED,
    Ledger,
    Order,
    at_start,
    fetch,
    on_trial,
    proven,
    read_ledger,
    read_order,
    refused,
    rolled_back,
    write_ledger,
)

A, B = "a" * 64, "b" * 64
MODEL = b"a model" * 5000


def message(url: str = "https://host/m.tflite", sha256: str = A, **more: str) -> bytes:
    return json.dumps({"url": url, "sha256": sha256, **more}).encode()


def test_a_message_names_url_and_digest_and_may_say_more() -> None:
    assert read_order(message(later="x"), UpdateSettings()) == Order("https://host/m.tflite", A)


@pytest.mark.parametrize(
    ("payload", "said"),
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
        (message(url="https://user:secret@host/m"), "no user and password"),
        (message(url="https://" + "h" * 3000), "is expected"),
        (b" " * 20_000 + message(), "at most 16,384"),
    ],
)
def test_a_message_that_is_not_allowed_is_refused_and_says_why(payload: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said) as error:
        read_order(payload, UpdateSettings())
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_only_the_key_s_owner_can_order_where_a_key_is_configured(tmp_path: Path) -> None:
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
    for content, said in ((b"no key", "no public key in PEM"), (pem(X25519PrivateKey.generate()), "not an Ed25519 key")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(SettingsError, match=said):
            read_order(message(signature=signed(ours, A)), how)


class Server(ThreadingHTTPServer):
    """Answers by path; /drip goes on for ever, a little at a time."""

    daemon_threads = True
    more = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer: dict[str, Callable[[], None]] = {"/model": self._model, "/cut": self._model, "/drip": self._drip}
        redirects = {"/moved": "/model", "/away": "https://127.0.0.1:9/"}
        if self.path in redirects:
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


OPEN = UpdateSettings(schemes=["http", "file"], max_mb=0.1)
SHA256 = hashlib.sha256(MODEL).hexdigest()


@pytest.mark.parametrize("path", ["/model", "/moved"])
def test_a_model_appears_under_its_digest_once_it_is_whole(server: str, tmp_path: Path, path: str) -> None:
    found = fetch(Order(server + path, SHA256), tmp_path, OPEN)
    assert found == tmp_path / SHA256 / FILE
    assert found.read_bytes() == MODEL
    assert [entry.name for entry in found.parent.iterdir()] == [FILE]


def test_a_file_may_be_named_where_that_is_allowed_and_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    (tmp_path / "stick.tflite").write_bytes(MODEL)
    order = Order(f"file://{tmp_path}/stick.tflite", SHA256)
    fetch(order, tmp_path / "models", OPEN)
    (tmp_path / "stick.tflite").unlink()
    assert fetch(order, tmp_path / "models", OPEN).read_bytes() == MODEL
    (tmp_path / "models" / SHA256 / FILE).write_bytes(b"damaged")
    with pytest.raises(OSError, match="No such file"):
        fetch(order, tmp_path / "models", OPEN)


@pytest.mark.parametrize(
    ("path", "how", "kind", "said"),
    [
        ("/model", {"sha256": A}, ModelError, "was announced"),
        ("/model", {"max_mb": 0.01}, ModelError, "larger than 0.01 MB"),
        ("/drip", {}, ModelError, "larger than 0.1 MB"),
        ("/drip", {"max_mb": 500.0, "ticks": True}, OSError, "not there after 120 s"),
        ("/cut", {}, OSError, "broke off"),
        ("/away", {}, ModelError, "https:, which is not allowed"),
        ("/404", {}, ModelError, "answers 404"),
        ("/503", {}, OSError, "answers 503"),
    ],
)
def test_a_download_that_fails_says_why_and_leaves_nothing_behind(
    server: str, tmp_path: Path, path: str, how: dict[str, object], kind: type[Exception], said: str
) -> None:
    settings = UpdateSettings(schemes=["http"], max_mb=how.get("max_mb", 0.1))  # type: ignore[arg-type]
    times = itertools.count(step=10 if how.get("ticks") else 0)
    with pytest.raises(kind, match=said) as error:
        fetch(Order(server + path, str(how.get("sha256", SHA256))), tmp_path, settings, lambda: next(times))
    assert isinstance(error.value, ModelError) == (kind is ModelError), "whether it is tried again"
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot be fetched") as error:
        fetch(Order("http://127.0.0.1:9/m", SHA256), tmp_path, OPEN)
    assert not isinstance(error.value, ModelError)


def test_a_trial_ends_well_or_goes_back_to_the_last_model_that_proved_itself() -> None:
    start = Ledger("small")
    first = proven(on_trial(start, A))
    assert (first.current, first.previous, first.trial) == (A, "", "")
    second = on_trial(first, B)
    assert (second.current, second.previous) == (B, A)
    assert rolled_back(second, "x").current == A
    assert rolled_back(second, "x").refused == {B: "x"}
    overtaken = on_trial(second, "c" * 64)
    assert rolled_back(overtaken, "y").current == A, "B never proved itself"
    assert on_trial(rolled_back(second, "x"), B).refused == {}, "asked for again, it starts clean"


def test_a_crash_during_the_trial_goes_back_and_a_stop_in_good_order_does_not() -> None:
    trial = on_trial(proven(on_trial(Ledger("small"), A)), B)
    crashed = at_start(trial, "small")
    assert (crashed.current, crashed.trial) == (A, "")
    assert "unexpectedly" in crashed.refused[B]
    stopped = Ledger("small", B, A, "paused")
    assert at_start(stopped, "small") == trial
    assert at_start(first := proven(trial), "small") == first
    assert at_start(trial, "nano") == Ledger("nano"), "another model was configured: that counts"


def test_what_is_refused_is_remembered_within_bounds() -> None:
    ledger = Ledger("small")
    for number in range(50):
        ledger = refused(ledger, f"{number:064d}", "broken")
    assert len(ledger.refused) == REMEMBERED
    assert f"{49:064d}" in ledger.refused


def test_a_ledger_outlives_a_restart_and_a_damaged_one_means_the_configured_model(tmp_path: Path) -> None:
    ledger = on_trial(Ledger("small"), A)
    write_ledger(tmp_path / "state" / "update.json", ledger)
    assert read_ledger(tmp_path / "state" / "update.json") == ledger
    for content in (b"", b"{", b'{"current": "../../etc"}', b'{"current": 3}', b'{"refused": {"\x80": ""}}'):
        (tmp_path / "ledger").write_bytes(content)
        assert read_ledger(tmp_path / "ledger") == Ledger()
    assert read_ledger(tmp_path / "none") == Ledger()
