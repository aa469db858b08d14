from __future__ import annotations

import http.client
import logging
import urllib.error

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgefer.errors import EdgeferError
from edgefer.redact import RedactingFormatter, reason, redact, redact_file_name, redact_known, redact_url, secret_parts
from edgefer.spec import parse_spec

LIKE_A_PASSWORD = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=6)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("rtsp://me:secret@camera:554/live?token=1", "rtsp://…@camera:554/live?…"),
        ("rtsp://me:pa/ss@camera/live", "rtsp://…@camera/live"),
        ("mqtt://me:p@ss@broker", "mqtt://…@broker"),
        ("rtsp://me:pa#ss@camera/live", "rtsp://…@camera/live"),
        ("rtsp://me@mail.example:pa/ss@camera", "rtsp://…@camera"),
        ("rtsp://me:pa?ss@camera", "rtsp://…"),
        ("http://camera/x?mail=me@home&password=secret", "http://…"),
        ("rtsp://me:secret", "rtsp://me:…"),
        ("rtsp://me:se/cret", "rtsp://me:…"),
        ("rtsp://10.0.0.1:554/user=me&password=secret&channel=1.sdp", "rtsp://10.0.0.1:554/…"),
        ("http://camera/x?password=a#b", "http://camera/x?…"),
        ("RTSP://me:secret@cam/1", "RTSP://…@cam/1"),
        ("rtsp:me:secret@cam", "…@cam"),
        ("me:secret@cam", "…@cam"),
        ("file:rtsp://me:secret@cam", "file:rtsp://…@cam"),
        ("rtsps://10.0.0.1:7441/Bf3kTzAy2Dxq81Qm?enableSrtp", "rtsps://10.0.0.1:7441/…?…"),
        ("http://cam/live/8f14e45fceea167a/main", "http://cam/live/…/main"),
        ("http://cam/stream/0b7c3d1e-9a55-4c0e-8f0d-2f6a4b1c9d77.m3u8", "http://cam/stream/…"),
        ("http://cam/api/token/hunter/mjpeg", "http://cam/api/token/…/mjpeg"),
        ("rtsp://me:secret@camera/kTzAyDxqQmBfLoPwRs", "rtsp://…@camera/…"),
        ("http://cam/4815162342", "http://cam/…"),
        # No secret, so nothing changes.
        ("rtsp://cam/h264Preview_01_main", "rtsp://cam/h264Preview_01_main"),
        ("rtsp://cam:554/Streaming/Channels/101", "rtsp://cam:554/Streaming/Channels/101"),
        ("http://cam/axis-cgi/mjpg/video.cgi", "http://cam/axis-cgi/mjpg/video.cgi"),
        ("rtsp://cam/live/ch00_0", "rtsp://cam/live/ch00_0"),
        ("rtsp://me:secret@camera/live#timeout_s=5&frozen_s=0", "rtsp://…@camera/live#timeout_s=5&frozen_s=0"),
        ("http://[::1]:8080/video", "http://[::1]:8080/video"),
        ("mqtt://broker.lan/edgefer/kitchen", "mqtt://broker.lan/edgefer/kitchen"),
        ("snapshots:out?every_s=2", "snapshots:out?every_s=2"),
        ("file:/home/me@work/clip.mp4", "file:/home/me@work/clip.mp4"),
        ("opencv:0?fps=15", "opencv:0?fps=15"),
        ("web:", "web:"),
        ("clip.mp4", "clip.mp4"),
        ("", ""),
    ],
)
def test_an_address_loses_user_password_and_query(address: str, expected: str) -> None:
    assert redact_url(address) == expected
    assert redact(f"{expected}: no") == f"{expected}: no", "redacting twice changes nothing"
    if "://" in address:
        assert redact(f"source {address}: no such camera") == f"source {expected}: no such camera"


# No blank in front: "rtsp://me: x@" is two words, and the second one is no address.
@given(LIKE_A_PASSWORD, LIKE_A_PASSWORD, st.sampled_from(["rtsp://me:{}@camera/live", "http://{}@camera", "mqtt://me:{}@broker/base/node"]))
@example("/", "?", "rtsp://me:{}@camera/live")
@example("@", "#", "http://{}@camera")
def test_no_password_is_shown_whatever_characters_it_has(before: str, after: str, form: str) -> None:
    address = form.format(f"{before}hunter2{after}")
    assert "hunter2" not in redact_url(address)
    assert "hunter2" not in redact(f"cannot open {address}: no")
    with pytest.raises(EdgeferError) as error:
        parse_spec(address.upper().replace("HUNTER2", "hunter2"))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--password=hunter2 on", "--password=… on"),
        ('{"api_key": "hunter2"}', '{"api_key": "…"}'),
        ("Authorization: Bearer hunter2", "Authorization: …"),
        ("MQTT_PASSWORD=hunter2", "MQTT_PASSWORD=…"),
        ("proxy me:hunter2@host refused", "proxy …@host refused"),
        ("from rtsp://a:hunter2@one/x to rtsp://b:hunter2@two/y", "from rtsp://…@two/y"),
        ("it said 'http://h/x?hunter2', then ended", "it said 'http://h/x?…', then ended"),
        # Messages of edgefer.
        ("add '?token_file=web.token' to the address", "add '?token_file=web.token' to the address"),
        ("login /etc/l: cannot be read; it holds the line user:password", "login /etc/l: cannot be read; it holds the line user:password"),
        ("an @ in a file's name is %40; write mqtt://host/base/node", "an @ in a file's name is %40; write mqtt://host/base/node"),
        ("12:30:05 WARNING mqtt://broker:1883: no broker answers", "12:30:05 WARNING mqtt://broker:1883: no broker answers"),
        ("web page: http://127.0.0.1:8080 (shows pictures)", "web page: http://127.0.0.1:8080 (shows pictures)"),
        ("systemd[1]: Started user@1000.service", "systemd[1]: Started user@1000.service"),
        ("snapshots:/home/me@work: cannot write", "snapshots:/home/me@work: cannot write"),
    ],
)
def test_a_text_loses_everything_that_looks_like_a_secret_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_known_secrets_are_removed_from_any_text() -> None:
    known = secret_parts("http://me:pa%2Fss@cam/x?key=hunter2&a=1")
    assert {"me:pa%2Fss", "pa%2Fss", "pa/ss", "hunter2"} <= set(known)
    assert redact_known("curl expected hunter2 and pa/ss", known) == "curl expected … and …"
    assert secret_parts("rtsp://camera:554/live") == []
    assert secret_parts("rtsps://camera/Bf3kTzAy2Dxq81Qm") == ["Bf3kTzAy2Dxq81Qm"]
    assert "hunter2" in secret_parts("http://cam/x?mail=me@home&password=hunter2")


def test_a_log_entry_is_redacted_with_its_traceback() -> None:
    try:
        raise ValueError("cannot open rtsp://me:hunter2@cam")
    except ValueError as error:
        trace = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "at %s", ("rtsp://me:hunter2@cam",), trace)
    expected = RedactingFormatter("%(message)s").format(record)
    assert expected.startswith("at rtsp://…@cam\n")
    assert expected.endswith("ValueError: cannot open rtsp://…@cam")
    assert "hunter2" not in expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (http.client.InvalidURL("nonnumeric port: 'hunter2'"), "malformed"),
        (ValueError("proxy URL with no authority: 'hunter2'"), "malformed"),
        (urllib.error.URLError(ValueError("hunter2")), "malformed"),
        (urllib.error.URLError(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (TimeoutError("timed out"), "timed out"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_reason_why_an_address_cannot_be_reached_does_not_repeat_it(error: Exception, expected: str) -> None:
    assert expected in reason(error)
    assert "hunter2" not in reason(error)


def test_a_secret_given_as_the_name_of_a_file_is_not_repeated() -> None:
    for secret in ("hunter2hunter2hunter2", "me:hunter2", "hunter2==", "me:hun/ter2"):
        assert secret not in redact_file_name(secret)
    for name in ("/etc/edgefer/login", "web.token", "./login"):
        assert redact_file_name(name) == name
