from __future__ import annotations

import socket
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'web' is not installed")

from web_client import TOKEN, Serve, ask, log_in, put, seen

from edgefer.errors import SinkError
from edgefer.sinks.web import CREDENTIAL, Web
from edgefer.spec import parse_spec
from edgefer.web import rate_limit
from edgefer.web.openapi import OPERATIONS
from edgefer.web.rate_limit import MAX_WRONG, RateLimit


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a b"])
def test_a_host_name_of_another_machine_is_refused(serve: Serve, host: str) -> None:
    assert ask(serve(), "/api/state", Host=host).status == 421


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:80", "192.0.2.1:80", "{hostname}.local", "fer.test"])
def test_addresses_and_own_names_are_accepted(serve: Serve, token_file: str, host: str) -> None:
    sink, host = serve(host="fer.test", token_file=token_file), host.format(hostname=socket.gethostname())
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
def test_every_response_has_the_security_headers(serve: Serve, token_file: str, path: str) -> None:
    for sink in (serve(), serve(token_file=token_file)):
        headers = ask(sink, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert "server" not in headers


def test_with_a_token_every_request_needs_it(serve: Serve, token_file: str) -> None:
    sink = serve(token_file=token_file)
    sink.write(seen())
    requests = {operation.path: operation.method for operation in OPERATIONS}
    for path, method in {**requests, "/page.js": "GET", "/openapi.json": "GET", "/nowhere": "GET"}.items():
        wanted = 200 if path in ("/healthz", "/readyz") else 401
        assert ask(sink, path, method).status == wanted, path
    assert ask(sink, "/api/state", Authorization=f"Bearer {TOKEN}").status == 200
    assert ask(sink, "/api/state", Authorization=f"Basic {TOKEN}").status == 401
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "ÿ"):
        assert ask(sink, "/api/state", Authorization=f"Bearer {wrong}").status == 401


def test_a_browser_sends_the_token_once_and_keeps_a_cookie_that_is_not_the_token(serve: Serve, token_file: str) -> None:
    sink = serve(token_file=token_file)
    form = ask(sink, "/")
    assert (form.status, b"password" in form.body) == (401, True)
    assert log_in(sink, "wrong").status == 401
    answer = log_in(sink, TOKEN)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    kept = cookie.partition(";")[0]
    assert ask(sink, "/api/state", Cookie=kept).status == 200
    assert b"canvas" in ask(sink, "/", Cookie=kept).body
    assert ask(sink, "/api/state", Cookie=kept[:-1] + "0" * 2).status == 401
    assert ask(sink, "/api/state", Cookie='x="').status == 401


def test_wrong_tokens_are_limited_and_the_right_one_always_passes(serve: Serve, token_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "WINDOW_S", 3600.0)
    sink = serve(token_file=token_file)
    kept = log_in(sink, TOKEN).headers["set-cookie"].partition(";")[0]
    assert [ask(sink, "/api/state", Authorization=f"Bearer wrong{n}").status for n in range(MAX_WRONG)] == [401] * MAX_WRONG
    late = ask(sink, "/api/state", Authorization="Bearer wrong")
    assert (late.status, late.headers["retry-after"]) == (429, "60")
    assert log_in(sink, "wrong").status == 429
    assert ask(sink, "/api/state", Authorization=f"Bearer {TOKEN}").status == 200
    assert log_in(sink, TOKEN).status == 303
    assert ask(sink, "/api/state", Cookie=kept).status == 200


def test_guesses_by_header_cookie_and_login_page_are_counted_together(
    serve: Serve, token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "WINDOW_S", 3600.0)
    sink = serve(token_file=token_file)
    cookie = f"edgefer_{sink.address.port}"
    found = [ask(sink, "/api/model", Cookie=f"{cookie}={n:064x}").status for n in range(3)]
    found += [ask(sink, "/", Cookie=f"{cookie}={9:064x}").status, log_in(sink, "wrong").status]
    assert found == [401] * MAX_WRONG
    assert ask(sink, "/api/model", Cookie=f"{cookie}={7:064x}").status == 429
    assert ask(sink, "/api/model", Authorization="Bearer wrong").status == 429
    assert ask(sink, "/api/model").status == 401, "a request without a token is no guess"


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Forwarded-Host", "Via", "Forwarded"])
def test_a_request_that_a_proxy_forwards_is_refused_unless_the_proxy_is_named(serve: Serve, token_file: str, header: str) -> None:
    named = {"Authorization": f"Bearer {TOKEN}", header.replace("-", "_"): "198.51.100.7"}
    refused = ask(serve(), "/api/state", Host="127.0.0.1", **named)
    assert refused.status == 403
    assert b"host=" in refused.body
    assert ask(serve(host="fer.test", token_file=token_file), "/api/state", **named).status == 200


def test_the_limit_counts_networks_and_ends_after_a_while() -> None:
    now = [0.0]
    limit = RateLimit(lambda: now[0])
    for _ in range(MAX_WRONG):
        limit.count("2001:db8::1")
    assert limit.exceeded("2001:db8::2"), "one machine has all addresses of its network"
    assert not limit.exceeded("192.0.2.1")
    now[0] = rate_limit.WINDOW_S + 1
    assert not limit.exceeded("2001:db8::1")


def test_ipv4_clients_of_a_dual_stack_socket_are_counted_singly() -> None:
    limit = RateLimit(lambda: 0.0)
    for _ in range(MAX_WRONG):
        limit.count("::ffff:192.0.2.1")
    assert limit.exceeded("::ffff:192.0.2.1")
    assert limit.exceeded("192.0.2.1")
    assert not limit.exceeded("::ffff:192.0.2.2")


def test_clients_share_the_server_equally_and_one_that_floods_it_delays_only_itself() -> None:
    now = [0.0]
    share = rate_limit.FairShare(lambda: now[0])
    waits = [share.wait_s("flood", per_s=100) for _ in range(400)]
    assert waits[0] == 0
    assert waits[-1] == pytest.approx(3.0)
    assert share.wait_s("owner", per_s=100) == 0
    now[0] = 10
    assert share.wait_s("flood", per_s=100) == 0


def test_the_limit_remembers_a_bounded_number_of_addresses_and_counts_all_together() -> None:
    limit = RateLimit(lambda: 0.0)
    for n in range(5000):
        limit.count(f"10.0.{n // 256}.{n % 256}")
    assert limit.addresses == rate_limit.MAX_ADDRESSES
    assert limit.exceeded("192.0.2.1")


@pytest.mark.parametrize(
    ("content", "mode", "facts"),
    [
        ("short", 0o600, "can be guessed"),
        ("passwordpassword", 0o600, r"can be guessed.*openssl rand"),
        ("Password12345678", 0o600, "can be guessed"),
        ("xyxyxyxyxyxyxyxyxyxy", 0o600, "can be guessed"),
        ("sunshinesunshine", 0o600, "can be guessed"),
        ("raspberry-camera-2024-edgefer", 0o600, "can be guessed"),
        (TOKEN, 0o644, "chmod 600"),
        ("ü" * 20, 0o600, "not ASCII"),
        (None, 0, "No such file"),
    ],
    ids=["short", "word", "word and row", "repetition", "word twice", "words", "readable", "not ASCII", "missing"],
)
def test_a_token_that_protects_nothing_is_refused(tmp_path: Path, content: str | None, mode: int, facts: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    for use in (Web, Web.check):
        with pytest.raises(SinkError, match=facts):
            use(parse_spec(f"http://127.0.0.1:0?token_file={path}"))


def test_the_token_may_be_a_credential_of_systemd(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CREDENTIAL).write_text(TOKEN)
    (tmp_path / CREDENTIAL).chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert ask(serve(), "/api/state").status == 401
