from __future__ import annotations

import pytest

from edgefer.html_template import Html, fill, fill_all


def test_a_value_is_escaped_and_html_is_not() -> None:
    attack = '"><script>alert(1)</script>'
    assert fill('<p title="$title">$text</p>', title=attack, text=Html("<b>bold</b>")) == (
        '<p title="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"><b>bold</b></p>'
    )


def test_what_is_filled_is_html() -> None:
    assert (
        fill("<tr>$cells</tr>", cells=fill_all("<td>$cell</td>", [{"cell": "a<b"}, {"cell": "c"}])) == "<tr><td>a&lt;b</td><td>c</td></tr>"
    )


def test_a_value_may_look_like_a_template() -> None:
    assert fill("<p>$text</p>", text="$other costs $5") == "<p>$other costs $5</p>"


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="text"):
        fill("<p>$text</p>")
