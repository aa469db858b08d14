# ruff: noqa: E402 (without the extra this file is skipped before it imports more)
from __future__ import annotations

import gc
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import Run, one_line

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
parser = pytest.importorskip("prometheus_client.parser", reason="the extra 'web' is not installed")

import edgefer
from edgefer.errors import EdgeferError, SinkError
from edgefer.files import shipped
from edgefer.history.store import History
from edgefer.output import About, Background, begin, close_all
from edgefer.sinks import open_sink, web
from edgefer.sinks.web import Web
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.spec import parse_spec
from edgefer.types import Box, Face, Frame, Observation
from edgefer.web import app, auth
from edgefer.web.live import pixelate
from edgefer.web.prometheus import Metrics

TOKEN = "correct-horse-battery-staple"
DEPLOY = shipped("deploy")
OPENAPI = json.loads((app.WEB_ASSETS / "openapi.json").read_text())


def seen(index: int = 0, faces: int = 1, bgr: np.ndarray | None = None) -> Observation:
    found = tuple(Face(n + 1, Box(40 + 60 * n, 50, 50, 50), "happy", 0.9321, {"happy": 0.9321, "sad": 0.0679}) for n in range(faces))
    luma = np.full((240, 320), 90, np.uint8) if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return Observation(Frame(index, 1_795_608_000 + index / 10, np.asarray(luma, np.uint8), bgr, dropped=2), found, {"detect": 2.0})


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        return dict(json.loads(self.body))


Ask = Callable[..., Answer]


def ask(sink: Web, path: str, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", sink.address.port, timeout=10)
    with closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


Serve = Callable[..., Web]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Opens the sink with options, tells it of its run, closes it in the end."""
    with ExitStack() as stack:

        def open_web(**options: str) -> Web:
            query = "&".join(f"{name}={value}" for name, value in options.items())
            sink = open_sink(f"http://127.0.0.1:0?{query}" if query else "http://127.0.0.1:0")
            assert isinstance(sink, Web)
            stack.callback(sink.close)
            model = {"name": "toy", "sha256": "abc", "path": "/secret/place.tflite", "labels": ["happy", "sad"]}
            sink.begin(About("1.2.3", "test camera", lambda: model, ()))
            return sink

        yield open_web


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "web.token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return str(path)


class Stream:
    """A reader of /api/events."""

    def __init__(self, sink: Web) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", sink.address.port, timeout=10)
        self.connection.request("GET", "/api/events")
        self.answer = self.connection.getresponse()

    def next(self, wanted: str) -> dict[str, object]:
        while True:
            event, data, empty = (self.answer.readline().decode().rstrip("\n") for _ in range(3))
            assert (event.startswith("event: "), data.startswith("data: "), empty) == (True, True, ""), (event, data)
            if event == f"event: {wanted}":
                return dict(json.loads(data[6:]))

    def close(self) -> None:
        self.connection.close()


def test_the_state_holds_what_is_seen_and_how_the_run_is_doing(serve: Serve) -> None:
    sink = serve()
    assert ask(sink, "/api/state").json["observation"] is None
    assert ask(sink, "/readyz").status == 503
    sink.write(seen(7, faces=2))
    state = ask(sink, "/api/state").json
    assert (state["version"], state["source"], state["model"], state["labels"]) == ("1.2.3", "test camera", "toy", ["happy", "sad"])
    assert [face["track"] for face in state["observation"]["faces"]] == [1, 2]  # type: ignore[index]
    vitals = state["vitals"]
    assert isinstance(vitals, dict)
    assert (vitals["camera"], vitals["frames"], vitals["dropped"]) == ("live", 1, 2)
    assert vitals["memory_mb"] > 10
    assert ask(sink, "/readyz").status == ask(sink, "/healthz").status == 200


def test_the_model_says_everything_but_where_its_file_lies(serve: Serve) -> None:
    answer = ask(serve(), "/api/model")
    assert answer.json["sha256"] == "abc"
    assert b"/secret" not in answer.body


def test_events_bring_states_and_faces(serve: Serve) -> None:
    sink = serve()
    with closing(Stream(sink)) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.next("state")["observation"] is None
        for index in (4, 5):
            sink._live._published_s = float("-inf")
            sink.write(seen(index))
            assert stream.next("faces")["frame"] == index
        assert stream.next("state")["vitals"]["frames"] == 2  # type: ignore[index]


def test_at_most_ten_observations_a_second_are_shown(serve: Serve) -> None:
    sink = serve()
    for index in range(50):
        sink.write(seen(index))
    assert ask(sink, "/api/state").json["observation"]["frame"] <= 2  # type: ignore[index]
    assert ask(sink, "/api/state").json["vitals"]["frames"] == 50  # type: ignore[index]


def test_nothing_is_encoded_while_nobody_looks_and_once_for_all_who_do(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, encoded = serve(), []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *how: encoded.append(1) or encode(*how))
    for index in range(5):
        sink._live._published_s = float("-inf")
        sink.write(seen(index))
    assert encoded == []
    pictures = {ask(sink, "/api/picture").body for _ in range(4)}
    assert len(encoded) == len(pictures) == 1


def test_a_picture_is_the_frame_and_says_which(serve: Serve) -> None:
    scene = Scene(SyntheticOptions(size="320x240"))
    sink = serve()
    assert ask(sink, "/api/picture").status == 204
    sink.write(seen(30, bgr=scene.draw(30)))
    answer = ask(sink, "/api/picture")
    shown = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert answer.headers["edgefer-frame"] == "30"
    assert np.abs(shown.astype(int) - scene.draw(30)).mean() < 5
    boxed = cv2.imdecode(np.frombuffer(ask(sink, "/api/picture?boxes=true").body, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(boxed.astype(int) - shown).max() > 60
    assert ask(sink, "/api/picture?boxes=maybe").status == 400


def test_large_frames_are_shrunk_before_they_are_shown(serve: Serve) -> None:
    sink = serve()
    sink.write(seen(bgr=np.zeros((1080, 1920, 3), np.uint8)))
    assert cv2.imdecode(np.frombuffer(ask(sink, "/api/picture").body, np.uint8), cv2.IMREAD_COLOR).shape == (540, 960, 3)


def test_a_pixelated_picture_has_coarse_blocks_everywhere_and_coarser_ones_on_faces() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    coarse = pixelate(noise, [Box(100, 60, 96, 96)])
    assert len(np.unique(coarse[0, :, 0])) <= 40, "also a face that was not found is hidden"
    assert len(np.unique(coarse[100, 100:196, 0])) <= 6
    outside = pixelate(noise, [Box(-50, -50, 80, 80), Box(300, 200, 90, 90), Box(1000, 1000, 50, 50)])
    assert outside.shape == noise.shape


def put(sink: Web, show: str, **headers: str) -> Answer:
    return ask(sink, "/api/privacy", "PUT", json.dumps({"show": show}), content_type="application/json", **headers)


def test_the_privacy_switch_hides_what_it_says(serve: Serve) -> None:
    sink = serve()
    sink.write(seen(bgr=Scene(SyntheticOptions(size="320x240")).draw(0)))
    clear = ask(sink, "/api/picture").body
    assert put(sink, "pixelated").json["show"] == "pixelated"
    assert ask(sink, "/api/picture").body != clear
    put(sink, "faces")
    assert ask(sink, "/api/picture").status == 204
    assert ask(sink, "/api/state").json["observation"]
    put(sink, "totals")
    assert ask(sink, "/api/state").json["observation"] is None
    assert ask(sink, "/api/picture").status == 204
    with closing(Stream(sink)) as stream:
        for _ in range(2):
            sink._live._published_s = float("-inf")
            sink.write(seen(9))
            assert stream.next("state")["observation"] is None
    assert put(sink, "pictures").status == 200
    assert ask(sink, "/api/picture").status == 200


def test_nobody_can_switch_on_more_than_the_configuration_allows(serve: Serve) -> None:
    sink = serve(show="faces")
    sink.write(seen())
    assert put(sink, "pictures").status == put(sink, "pixelated").status == 403
    assert ask(sink, "/api/state").json["allowed"] == ["totals", "faces"]
    assert ask(sink, "/api/picture").status == 204
    for wrong in ("", "{}", '{"show": "all"}', '{"show": "faces", "more": 1}', "\xff", "[" * 600, " " * 5000 + '{"show": "faces"}'):
        assert ask(sink, "/api/privacy", "PUT", wrong).status == 400


def test_away_from_this_machine_pictures_are_off_until_they_are_asked_for() -> None:
    assert web._most(*web._address(parse_spec("http://127.0.0.1:80"))) == "pictures"
    assert web._most(*web._address(parse_spec("web:"))) == "pictures"
    assert web._most(*web._address(parse_spec("http://192.0.2.7:80"))) == "faces"
    assert web._most(*web._address(parse_spec("http://127.0.0.1:80?host=fer.test"))) == "faces", "a reverse proxy lets others in"
    assert web._most(*web._address(parse_spec("http://[::]:80?show=pixelated"))) == "pixelated"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a b"])
def test_a_name_that_is_not_this_machines_is_turned_away(serve: Serve, host: str) -> None:
    assert ask(serve(), "/api/state", Host=host).status == 421


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:80", "192.0.2.1:80", f"{socket.gethostname()}.local", "fer.test"]
)
def test_addresses_and_own_names_are_answered(serve: Serve, token_file: str, host: str) -> None:
    sink = serve(host="fer.test", token_file=token_file)
    assert ask(sink, "/api/state", Host=host, Authorization=f"Bearer {TOKEN}").status == 200


def test_another_site_can_neither_read_nor_change(serve: Serve) -> None:
    sink = serve()
    answer = ask(sink, "/api/state", Origin="http://evil.example")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert ask(sink, "/api/picture", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403
    assert put(sink, "faces", Origin="http://evil.example").status == 403
    assert put(sink, "faces", Sec_Fetch_Site="same-site").status == 403
    assert put(sink, "faces", Origin=f"http://127.0.0.1:{sink.address.port}", Sec_Fetch_Site="same-origin").status == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/api/state", "/nowhere", "/api/privacy", "/api/history?from=x"])
def test_every_answer_carries_the_security_headers(serve: Serve, token_file: str, path: str) -> None:
    for sink in (serve(), serve(token_file=token_file)):
        headers = ask(sink, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "server" not in headers


def test_with_a_token_nothing_is_told_without_it(serve: Serve, token_file: str) -> None:
    sink = serve(token_file=token_file)
    sink.write(seen())
    for path in (*OPENAPI["paths"], "/page.js", "/openapi.json", "/nowhere"):
        wanted = 200 if path in ("/healthz", "/readyz") else 401
        assert ask(sink, path, "PUT" if path == "/api/privacy" else "GET").status == wanted, path
    assert ask(sink, "/api/state", Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(sink, "/api/state", Authorization=f"Basic {TOKEN}").status == 401
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "ÿ"):
        assert ask(sink, "/api/state", Authorization=f"Bearer {wrong}").status == 401


def log_in(sink: Web, token: str) -> Answer:
    return ask(sink, "/login", "POST", f"token={token}", content_type="application/x-www-form-urlencoded")


def test_a_browser_shows_the_token_once_and_keeps_a_cookie_that_is_not_the_token(serve: Serve, token_file: str) -> None:
    sink = serve(token_file=token_file)
    question = ask(sink, "/")
    assert (question.status, b"password" in question.body) == (401, True)
    assert log_in(sink, "wrong").status == 401
    answer = log_in(sink, TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    kept = cookie.partition(";")[0]
    assert ask(sink, "/api/state", Cookie=kept).status == 200
    assert b"canvas" in ask(sink, "/", Cookie=kept).body
    assert ask(sink, "/api/state", Cookie=kept[:-1] + "0" * 2).status == 401
    assert ask(sink, "/api/state", Cookie='x="').status == 401


def test_guessing_is_slowed_down_and_who_is_in_stays_in(serve: Serve, token_file: str) -> None:
    sink = serve(token_file=token_file)
    kept = log_in(sink, TOKEN).headers["set-cookie"].partition(";")[0]
    assert [ask(sink, "/api/state", Authorization=f"Bearer guess{n}").status for n in range(auth.GUESSES)] == [401] * auth.GUESSES
    late = ask(sink, "/api/state", Authorization=f"Bearer {TOKEN}")
    assert (late.status, late.headers["retry-after"]) == (429, "60")
    assert log_in(sink, TOKEN).status == 429
    assert ask(sink, "/api/state", Cookie=kept).status == 200


def test_guesses_are_forgotten_after_a_while_and_addresses_are_bounded() -> None:
    now = [0.0]
    guesses = auth.Guesses(lambda: now[0])
    for _ in range(auth.GUESSES):
        guesses.wrong("2001:db8::1")
    assert guesses.too_many("2001:db8::2"), "one machine has all addresses of its network"
    assert not guesses.too_many("192.0.2.1")
    now[0] = auth.WINDOW_S + 1
    assert not guesses.too_many("2001:db8::1")
    for n in range(5000):
        guesses.wrong(f"10.0.{n // 256}.{n % 256}")
    assert len(guesses._by_address) == auth.ADDRESSES
    assert guesses.too_many("192.0.2.1"), "and all of them together are slowed down"


def test_an_address_others_can_reach_needs_a_token_and_says_how_to_make_one() -> None:
    for text in (
        "http://127.0.0.1:0?host=fer.test",
        "http://0.0.0.0:8080",
        "http://192.0.2.7:8080",
        "http://[::]:8080",
        "http://raspberrypi:8080",
    ):
        with pytest.raises(SinkError, match=r"needs a token.*openssl rand -hex 32 > web.token.*token_file=web.token"):
            open_sink(text)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("short", 0o600, "can be guessed"), (TOKEN, 0o644, "chmod 600"), ("ü" * 20, 0o600, "not ASCII"), (None, 0, "No such file")],
)
def test_a_token_that_protects_nothing_is_refused(tmp_path: Path, content: str | None, mode: int, said: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    for look_at in (Web, Web.check):
        with pytest.raises(SinkError, match=said):
            look_at(parse_spec(f"http://127.0.0.1:0?token_file={path}"))


def test_systemd_may_hand_over_the_token(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / web.CREDENTIAL).write_text(TOKEN)
    (tmp_path / web.CREDENTIAL).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert ask(serve(), "/api/state").status == 401


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://127.0.0.1", "not an address to listen on"),
        ("http://127.0.0.1:99999", "not an address to listen on"),
        ("http://127.0.0.1:80/path", "not an address to listen on"),
        ("http://user:secret@127.0.0.1:80", "takes no user and no password"),
        ("http://user:secret@[::1:80", "takes no user and no password"),
        ("http://[::1:8080", "not an address to listen on"),
        ("http://a..b:8080?token_file={token}", "cannot listen there"),
        ("http://:80", "not an address to listen on"),
        ("http://127.0.0.1:8080?pictures=on", "unknown key 'pictures'"),
        ("http://127.0.0.1:8080?show=all", "key 'show'"),
        ("web:8080", "takes no path"),
    ],
)
def test_a_wrong_address_says_why_in_one_line(text: str, said: str, token_file: str) -> None:
    with pytest.raises(EdgeferError, match=re.escape(said)) as raised:
        open_sink(text.format(token=token_file))
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_port_that_is_taken_says_so(serve: Serve) -> None:
    with pytest.raises(SinkError, match="is edgefer running already"):
        open_sink(f"http://127.0.0.1:{serve().address.port}")


def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; from edgefer.cli.main import main; "
        "sys.exit(main(['run', '--source', 'synthetic:', '--sink', 'http://127.0.0.1:0']))"
    )
    root = str(Path(edgefer.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "edgefer[web]" in one_line(done.stderr)


def test_readers_are_bounded_and_one_that_leaves_makes_room(serve: Serve) -> None:
    sink = serve()
    streams = [Stream(sink) for _ in range(app.WATCHERS)]
    with closing(Stream(sink)) as late:
        assert late.answer.status == 429
    assert ask(sink, "/api/state").status == 200
    streams.pop().close()
    deadline = time.monotonic() + 10
    while (late := Stream(sink)).answer.status == 429:
        late.close()
        assert time.monotonic() < deadline
    for stream in (late, *streams):
        stream.close()


def test_connections_are_bounded(serve: Serve) -> None:
    sink = serve()
    idle = [socket.create_connection(("127.0.0.1", sink.address.port)) for _ in range(web.CONNECTIONS + 20)]
    ended = 0
    for connection in reversed(idle):
        connection.settimeout(0.3)
        try:
            ended += connection.recv(1) == b""
        except ConnectionResetError:
            ended += 1
        except TimeoutError:
            break
    assert ended >= 20
    for connection in idle:
        connection.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert ask(sink, "/healthz").status == 200
            break
        except (AssertionError, OSError, http.client.HTTPException):
            assert time.monotonic() < deadline


def test_a_connection_that_asks_nothing_whole_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "IDLE_S", 0.3)
    sink = serve()
    with socket.create_connection(("127.0.0.1", sink.address.port), timeout=10) as slow, closing(Stream(sink)) as stream:
        slow.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert slow.recv(1) == b""
        assert stream.next("state"), "one that is being answered is left alone"


def test_a_connection_that_keeps_asking_is_kept(serve: Serve) -> None:
    sink = serve()
    with closing(http.client.HTTPConnection("127.0.0.1", sink.address.port, timeout=10)) as connection:
        for _ in range(2):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            (protocol,) = sink._server.server_state.connections
            protocol.loop.call_soon_threadsafe(protocol._end_if_idle)
        protocol.loop.call_soon_threadsafe(protocol._end_if_idle, 0, protocol.cycle)
        assert connection.sock.recv(1) == b"", "nothing was asked since the last look"


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_head(serve: Serve) -> None:
    sink = serve()
    with closing(Stream(sink)):
        (protocol,) = sink._server.server_state.connections
        assert protocol.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_connection_that_has_ended_is_forgotten(serve: Serve) -> None:
    sink = serve()
    for _ in range(20):
        assert ask(sink, "/healthz").status == 200
    deadline = time.monotonic() + web.IDLE_S / 2
    while any(isinstance(kept, web._Bounded) for kept in gc.get_objects()):
        assert time.monotonic() < deadline, "many visitors in a row would fill the memory"
        gc.collect()


def test_more_requests_than_are_good_for_the_frames_wait(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, begun_s = serve(), time.monotonic()
    monkeypatch.setattr(web, "ANSWERS_PER_S", 20)
    for _ in range(31):
        assert ask(sink, "/healthz").status == 200
    # Twenty in the quiet second before them, the others one by one.
    assert time.monotonic() - begun_s >= 10 / 20


def test_a_crowd_is_answered_by_a_few_threads(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    with ThreadPoolExecutor(30) as crowd:
        with sink._live._lock:
            answers = crowd.map(lambda _: ask(sink, "/api/picture").status, range(30))
            deadline = time.monotonic() + 10
            while len(sink._server.server_state.tasks) < 30:
                assert time.monotonic() < deadline, "they never came"
                time.sleep(0.01)
        assert set(answers) == {200}
    assert 0 < sum(thread.name.startswith("AnyIO worker") for thread in threading.enumerate()) <= web.THREADS


def test_a_reader_that_is_stuck_holds_up_nobody(serve: Serve) -> None:
    sink = serve()
    with socket.socket() as stuck, closing(Stream(sink)) as stream:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", sink.address.port))
        stuck.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for index in range(3000):
            sink._live._published_s = float("-inf")
            sink.write(seen(index, faces=20))
        while stream.next("faces")["frame"] != 2999:
            pass


def test_a_stuck_reader_does_not_keep_its_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "IDLE_S", 0.3)
    sink = serve(show="pictures")
    noise = np.random.default_rng(1).integers(0, 256, (720, 960, 3)).astype(np.uint8)
    sink.write(seen(bgr=noise))
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect(("127.0.0.1", sink.address.port))
        stuck.sendall(b"GET /api/picture HTTP/1.1\r\nHost: localhost\r\n\r\n" * 16)
        connections = sink._server.server_state.connections
        deadline = time.monotonic() + 10
        while not connections:
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.01)
        while connections:
            assert time.monotonic() < deadline, "it is still there"
            time.sleep(0.01)


def test_closing_ends_open_streams_and_frees_the_address(serve: Serve) -> None:
    sink = serve()
    stream = Stream(sink)
    begun = time.monotonic()
    sink.close()
    sink.close()
    assert time.monotonic() - begun < 2.5
    assert not sink._thread.is_alive()
    stream.close()
    again = open_sink(str(sink.address))
    again.close()


def test_without_a_history_sink_the_page_remembers_for_itself(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FLUSH_S", 0.0)
    sink = serve()
    for index in range(11):
        sink.write(seen(index))
    history = ask(sink, "/api/history?from=1795607000&to=1795609000&bucket=60").json
    (bucket,) = history["buckets"]  # type: ignore[misc]
    assert bucket["expressions_s"] == {"happy": pytest.approx(1.0, abs=0.01)}  # type: ignore[index]


def test_with_a_history_sink_the_page_shows_that_one(tmp_path: Path) -> None:
    stop = threading.Event()
    specs = ("http://127.0.0.1:0", f"history:{tmp_path}/history.db")
    sinks = [Background(open_sink(spec), spec, stop, lossless=True) for spec in specs]
    said = begin(sinks, About("1", "test", lambda: {"name": "toy", "sha256": "x", "labels": ["happy", "sad"]}, sinks))
    server = sinks[0].sink
    assert isinstance(server, Web)
    assert said == [f"web page: {server.address} (shows pictures)", f"history: {tmp_path}/history.db"]
    kept = sinks[1].sink.history  # type: ignore[attr-defined]
    assert server._live.history is kept
    assert list(ask(server, "/api/state").json["vitals"]["sinks"]) == ["http:127.0.0.1:0", "history:history.db"]  # type: ignore[index]
    close_all(sinks)


def test_a_history_that_cannot_be_read_takes_nothing_else_of_the_page_down(serve: Serve, tmp_path: Path) -> None:
    sink = serve()
    kept = sink._live.history = History(tmp_path / "history.db")
    kept._base.execute("DROP TABLE minutes")
    kept._base.execute("DROP TABLE expressions")
    assert ask(sink, "/api/state").json["today"] == {}
    answer = ask(sink, "/api/history")
    assert (answer.status, list(answer.json)) == (503, ["error"])
    kept.close()


def test_a_clock_that_is_set_makes_nothing_unready(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    sink._health.last_time_s -= 3600
    assert ask(sink, "/readyz").status == 200


@pytest.mark.parametrize("query", ["from=soon", "from=", "bucket=x", "bucket=-60", "bucket=0", "bucket=99999999999", "to=2026-99-99"])
def test_a_history_that_cannot_be_asked_for_says_why(serve: Serve, query: str) -> None:
    answer = ask(serve(), f"/api/history?{query}")
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_a_history_in_too_fine_buckets_is_made_coarser(serve: Serve) -> None:
    told = ask(serve(), "/api/history?from=0&to=4102444800&bucket=60").json
    assert 4102444800 / told["bucket_s"] <= app.MOST_BUCKETS  # type: ignore[operator]


def test_the_metrics_are_read_by_prometheus_own_parser_and_named_by_its_rules(serve: Serve) -> None:
    sink = serve()
    for index in range(11):
        sink.write(seen(index, faces=1 + (index == 10)))
    answer = ask(sink, "/metrics")
    families = {family.name: family for family in parser.text_string_to_metric_families(answer.body.decode())}
    values = {sample.name: sample.value for family in families.values() for sample in family.samples}
    assert (values["edgefer_frames_total"], values["edgefer_frames_with_face_total"], values["edgefer_faces"]) == (11, 11, 2)
    assert values["edgefer_frames_dropped_total"] == 2
    assert values["edgefer_expression_seconds_total"] == pytest.approx(1.1, abs=0.01)
    assert values["edgefer_stage_seconds_sum"] == pytest.approx(0.022)
    (build,) = families["edgefer_build_info"].samples
    assert (build.value, build.labels) == (1, {"version": "1.2.3", "model": "toy", "model_sha256": "abc"})
    for family in families.values():
        assert family.name.startswith(("edgefer_", "process_"))
        assert family.documentation
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith("_total")
            assert set(sample.labels) <= {"expression", "stage", "sink", "version", "model", "model_sha256"}
    assert not {word for name in families for word in name.split("_")} & {"ms", "mb", "percent", "minutes", "track"}
    put(sink, "totals")
    assert b"edgefer_faces" not in ask(sink, "/metrics").body, "who is there now is no total"


def test_the_dashboard_asks_only_for_metrics_that_there_are() -> None:
    sink = open_sink("http://127.0.0.1:0")
    assert isinstance(sink, Web)
    with closing(sink):
        sink.write(seen())
        there = {
            name
            for family in Metrics(sink._health, sink._tally).collect()
            for name in (family.name, *(sample.name for sample in family.samples), f"{family.name}_total", f"{family.name}_info")
        } | {"edgefer_temperature_celsius"}  # not everywhere
    board = json.loads((DEPLOY / "grafana.json").read_text())
    asked = {name for panel in board["panels"] for target in panel["targets"] for name in re.findall(r"edgefer_\w+", target["expr"])}
    assert len(asked) >= 10
    assert asked <= there
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_description_of_the_api_names_every_route(serve: Serve) -> None:
    routes = {route.path: route.methods - {"HEAD"} for route in serve()._page.guard._app.routes}  # type: ignore[attr-defined]
    own = {"/", "/login", *app.FILES}
    assert {path: {method.upper() for method in item} for path, item in OPENAPI["paths"].items()} == {
        path: methods for path, methods in routes.items() if path not in own
    }


@pytest.mark.skipif(shutil.which("schemathesis", path=str(Path(sys.executable).parent)) is None, reason="schemathesis is not installed")
def test_the_api_keeps_to_its_description_whatever_is_asked(serve: Serve, tmp_path: Path) -> None:
    sink, done = serve(), threading.Event()

    def feed() -> None:
        while not done.wait(0.2):
            sink.write(seen())

    feeder = threading.Thread(target=feed)
    feeder.start()
    address = str(sink.address)
    # The stream has no end; its content is looked at above.
    command = [
        Path(sys.executable).parent / "schemathesis",
        "run",
        f"{address}/openapi.json",
        "--url",
        address,
        "--exclude-path",
        "/api/events",
    ]
    options = ["--max-examples", "8", "--seed", "1", "--no-color", "--phases", "coverage,fuzzing", "--workers", "1"]
    try:
        said = subprocess.run([*map(str, command), *options], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    finally:
        done.set()
        feeder.join()
    assert said.returncode == 0, said.stdout[-4000:] + said.stderr[-1000:]


def test_the_run_says_where_the_page_is(edgefer: Run) -> None:
    done = edgefer("run", "--source", "synthetic:?seconds=0.5&paced=false&size=160x120", "--sink", "http://127.0.0.1:0?show=faces")
    assert done.returncode == 0, done.stderr
    assert re.search(r"web page: http://127\.0\.0\.1:\d+ \(shows faces\)", done.stderr)
    assert "No image leaves this machine" in done.stderr
