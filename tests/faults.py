"""A network camera that fails as real ones do: an MJPEG server on this machine, steered by the test."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable
from itertools import count

import cv2
import numpy as np

from edgefer.sources.synthetic import Scene, SyntheticOptions

Push = Callable[[bytes], None]
"""Sends one part of the stream, whatever the bytes."""


class Camera:
    """``connections`` has one behaviour a connection, in order; the last one serves all later connections. `follows` obeys ``fault``."""

    def __init__(self, scene: Scene, port: int = 0) -> None:
        self.over, self.connected, self.fault = threading.Event(), 0, ""
        self.connections: list[Callable[[Push], None]] = [self.steady]
        self.pictures = [jpeg(scene.draw(10 * index)) for index in range(12)]
        self.larger = [jpeg(Scene(SyntheticOptions(size="640x480")).draw(10 * index)) for index in range(4)]
        noise = np.random.default_rng(1)
        self.dark = [jpeg(noise.integers(0, 12, (240, 320), np.uint8)) for _ in range(4)]
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                behave = camera.connections[min(camera.connected, len(camera.connections) - 1)]
                camera.connected += 1
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()

                def push(part: bytes) -> None:
                    self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(part), part))
                    if camera.over.wait(0.02):
                        raise BrokenPipeError

                try:
                    behave(push)
                except (BrokenPipeError, ConnectionResetError):
                    return

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = self.server.server_address[1]
        self.address = f"http://127.0.0.1:{self.port}/camera.mjpg"

    def stop(self) -> None:
        """Close every connection and stop listening."""
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def steady(self, push: Push) -> None:
        """A camera without a fault."""
        for index in count():
            push(self.pictures[index % len(self.pictures)])

    def hangs_up(self, push: Push) -> None:
        """Six pictures, then the end of the connection."""
        for picture in self.pictures[:6]:
            push(picture)

    def stalls(self, push: Push) -> None:
        """Six pictures, then nothing on an open connection."""
        self.hangs_up(push)
        self.over.wait()

    def freezes(self, push: Push) -> None:
        """Six pictures, then the last one for ever."""
        self.hangs_up(push)
        while True:
            push(self.pictures[5])

    def thaws(self, push: Push) -> None:
        """The picture at which `freezes` stopped, five times, then a camera without a fault."""
        for _ in range(5):
            push(self.pictures[5])
        self.steady(push)

    def follows(self, push: Push) -> None:
        """The fault named by ``fault``, read before each picture."""
        for index in count():
            match self.fault:
                case "hang":
                    self.over.wait(0.05)
                case "repeat":
                    push(self.pictures[0])
                case "black":
                    push(self.dark[index % len(self.dark)])
                case "garbage":
                    push(bytes(range(256)) * 16)
                case "wrong size":
                    push(self.larger[index % len(self.larger)])
                case "slow":
                    self.over.wait(1)
                    push(self.pictures[index % len(self.pictures)])
                case "end":
                    return
                case _:
                    push(self.pictures[index % len(self.pictures)])


def jpeg(picture: np.ndarray) -> bytes:
    """A picture as JPEG bytes."""
    return cv2.imencode(".jpg", picture)[1].tobytes()
