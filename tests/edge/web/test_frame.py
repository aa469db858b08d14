"""The page inside another one, and below a path of a proxy."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'web' is not installed")

from web_client import Serve, ask

from edgefer.errors import SettingsError
from edgefer.sinks.web import Web
from edgefer.spec import parse_spec


def test_only_the_named_page_may_show_this_one_inside_it(serve: Serve) -> None:
    assert "frame-ancestors 'none'" in ask(serve(), "/").headers["content-security-policy"]
    headers = ask(serve(frame="https://ha.local:8123"), "/").headers
    assert "frame-ancestors https://ha.local:8123;" in headers["content-security-policy"] + ";"
    assert headers["x-frame-options"] is None, "it knows no origins"
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    "frame", ["ha.local", "*", "https://*", "https://ha.local/path", "https://a https://b", "https://a;script-src", "javascript:x"]
)
def test_anything_but_one_origin_is_refused(frame: str) -> None:
    with pytest.raises(SettingsError, match="one origin"):
        Web.check(parse_spec(f"http://127.0.0.1:0?frame={frame}"))


def test_every_address_of_the_page_is_relative(serve: Serve) -> None:
    sink = serve()
    for path in ("/", "/page.js", "/chart.js", "/page.css"):
        text = ask(sink, path).body.decode()
        assert not re.findall(r"""(?:href|src|action)=["']/|(?:fetch|EventSource)\(["'`]/|from ["']/|url\(["']?/""", text), path
