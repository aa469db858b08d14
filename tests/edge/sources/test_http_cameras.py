"""Network cameras over HTTP: single pictures, odd headers, playlists, and servers that lead elsewhere."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefer.errors import SourceError
from edgefer.sources import open_source
from edgefer.sources.synthetic import Scene

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


class Server:
    """Answers each path as ``answers`` says, and notes every request."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.asked: list[str] = []
        server = self

        class Answers(Handler):
            def do_GET(self) -> None:  # noqa: N802
                server.asked.append(self.path)
                try:
                    answers.get(self.path, lambda handler: handler.send_error(404))(self)
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, *_: object) -> None: ...

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, Answer]], Server]]:
    servers: list[Server] = []

    def start(answers: dict[str, Answer]) -> Server:
        servers.append(Server(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def body(content: bytes, kind: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def redirect(to: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer


def refused(address: str) -> str:
    with pytest.raises(SourceError) as raised:
        open_source(address)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def jpegs(scene: Scene) -> list[bytes]:
    return [cv2.imencode(".jpg", scene.draw(10 * index))[1].tobytes() for index in range(12)]


def test_a_camera_of_single_pictures_is_asked_at_a_rate_and_said_once(
    serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    pictures = cycle(jpegs)
    server = serve({"/snap.jpg": lambda handler: body(next(pictures), "image/jpeg")(handler)})  # noqa: PLW0108
    source = open_source(f"{server.address}/snap.jpg#fps=10")
    begun_s = time.monotonic()
    frames = list(islice(source, 9))
    assert time.monotonic() - begun_s > 0.6
    source.close()
    assert len({frame.luma.tobytes() for frame in frames}) > 6
    assert len(server.asked) <= 10
    assert len(caplog.messages) == 1
    assert "single pictures, 10 a second" in caplog.text


@pytest.mark.parametrize(
    "between",
    [
        b"--frame\r\nContent-Type: image/jpeg\r\n\r\n",
        b"--other\nContent-Length: 999999\n\n",
        b"Content-type: image/jpeg\r\n\r\n--\r\n--",
        b"",
        b"\xff\xd8\xff\x01\xff\xd9garbage",
    ],
    ids=["no length", "wrong length", "wrong order", "nothing", "damaged pictures"],
)
def test_mjpeg_is_read_whatever_stands_between_its_pictures(
    serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes], between: bytes
) -> None:
    content = b"".join(between + jpeg for jpeg in jpegs)
    server = serve({"/": body(content, "multipart/x-mixed-replace; boundary=frame")})
    source = open_source(f"{server.address}/")
    assert len(list(islice(source, 12))) == 12
    assert server.asked == ["/"]
    source.close()


def test_a_small_picture_inside_a_jpeg_does_not_end_it(serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes]) -> None:
    inner = b"\xff\xe1" + (len(jpegs[1][:5000]) + 4).to_bytes(2, "big") + jpegs[1][:5000] + b"\xff\xd9"
    server = serve({"/": body(b"".join(jpeg[:2] + inner + jpeg[2:] for jpeg in jpegs), "multipart/x-mixed-replace")})
    frames = list(islice(open_source(f"{server.address}/"), 12))
    assert {frame.luma.shape for frame in frames} == {(240, 320)}


def test_pictures_of_a_stream_may_change_their_size(serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes]) -> None:
    large = cv2.imencode(".jpg", cv2.resize(cv2.imdecode(np.frombuffer(jpegs[0], np.uint8), 1), (640, 480)))[1].tobytes()
    server = serve({"/": body(jpegs[0] + large + jpegs[1], "multipart/x-mixed-replace")})
    assert [frame.luma.shape for frame in islice(open_source(f"{server.address}/"), 3)] == [(240, 320), (480, 640), (240, 320)]


def test_a_picture_of_absurd_size_in_a_stream_is_passed_over(serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes]) -> None:
    huge = bytearray(jpegs[0])
    size = huge.find(b"\xff\xc0") + 5
    huge[size : size + 4] = b"\xff\xff\xff\xff"
    server = serve({"/": body(bytes(huge) + b"".join(jpegs), "multipart/x-mixed-replace")})
    assert len(list(islice(open_source(f"{server.address}/"), 12))) == 12


def test_a_login_is_sent_when_the_camera_asks_for_it_and_a_wrong_one_is_said(
    serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes]
) -> None:
    def guarded(handler: Handler) -> None:
        if handler.headers.get("Authorization") != "Basic bWU6cy9jcmV0":  # me:s/cret
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
        else:
            body(b"".join(jpegs), "multipart/x-mixed-replace")(handler)

    server = serve({"/": guarded})
    host = server.address.removeprefix("http://")
    assert len(list(islice(open_source(f"http://me:s%2Fcret@{host}/"), 5))) == 5
    message = refused(f"http://me:wrong@{host}/")
    assert "401" in message
    assert "wrong" not in message


@pytest.mark.parametrize("to", ["file:///etc/passwd", "http://localhost:9/x", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_host_or_to_a_file_is_refused(serve: Callable[[dict[str, Answer]], Server], to: str) -> None:
    assert "not its own host" in refused(serve({"/": redirect(to)}).address + "/")


def test_a_redirect_on_the_cameras_own_host_is_followed(serve: Callable[[dict[str, Answer]], Server], jpegs: list[bytes]) -> None:
    server = serve({"/": redirect("/live"), "/live": body(b"".join(jpegs), "multipart/x-mixed-replace")})
    assert len(list(islice(open_source(f"{server.address}/"), 12))) == 12


@pytest.fixture(scope="module")
def segments(cases: Path) -> list[bytes]:
    """MPEG-TS in three parts: OpenCV cannot write any."""
    content = (cases / "fifo" / "clip.ts").read_bytes()
    third = len(content) // 3 // 188 * 188
    return [content[:third], content[third : 2 * third], content[2 * third :]]


def playlist(*addresses: str, end: bool = True) -> Answer:
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", *(line for address in addresses for line in ("#EXTINF:2,", address))]
    return body("\n".join([*lines, *(["#EXT-X-ENDLIST"] if end else [])]).encode(), "application/vnd.apple.mpegurl")


def test_hls_is_read_from_its_own_host(serve: Callable[[dict[str, Answer]], Server], segments: list[bytes]) -> None:
    server = serve(
        {
            "/live": body(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nlow\n#EXT-X-STREAM-INF:BANDWIDTH=9000\nv/high.m3u8\n", "text/plain"),
            "/v/high.m3u8": playlist("0.ts", "1.ts", "/v/2.ts"),
            **{f"/v/{number}.ts": body(segment, "video/mp2t") for number, segment in enumerate(segments)},
        }
    )
    source = open_source(f"{server.address}/live")
    frames = list(islice(source, 80))
    source.close()
    assert len(frames) == 80
    assert server.asked[:5] == ["/live", "/live", "/v/high.m3u8", "/v/0.ts", "/v/1.ts"]


@pytest.mark.parametrize("segment", ["file:///etc/hostname.ts", "http://localhost:{port}/hit.ts", "concat:/etc/a.ts"])
def test_a_playlist_that_leads_elsewhere_is_refused_and_nothing_is_asked_there(
    serve: Callable[[dict[str, Answer]], Server], segment: str
) -> None:
    other = serve({"/hit.ts": body(b"secret", "video/mp2t")})
    server = serve({"/": playlist(segment.format(port=other.address.rpartition(":")[2]))})
    assert "not its own host" in refused(f"{server.address}/")
    assert other.asked == []


@pytest.mark.parametrize(
    "content",
    [
        " " * 3000 + "\n#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{other}/hit.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{other}/hit.ts'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
    ],
    ids=["HLS", "concat", "SDP"],
)
def test_a_list_of_addresses_that_claims_to_be_video_leads_nowhere(serve: Callable[[dict[str, Answer]], Server], content: str) -> None:
    other = serve({"/hit.ts": body(b"secret", "video/mp2t")})
    elsewhere = other.address.replace("127.0.0.1", "localhost")
    refused(serve({"/": body(content.format(other=elsewhere).encode(), "video/mp2t")}).address + "/")
    assert other.asked == []


def drip(handler: Handler) -> None:
    for _ in range(100):
        handler.wfile.write(b"H")
        handler.wfile.flush()
        time.sleep(0.1)


def test_headers_that_drip_end_at_the_time_limit(serve: Callable[[dict[str, Answer]], Server]) -> None:
    begun_s = time.monotonic()
    refused(serve({"/": drip}).address + "/#timeout_s=1")
    assert time.monotonic() - begun_s < 8


def test_a_page_is_no_video(serve: Callable[[dict[str, Answer]], Server]) -> None:
    assert "no video" in refused(serve({"/": body(b"<html>camera</html>", "text/html")}).address + "/")
    assert "404" in refused(serve({}).address + "/none")
