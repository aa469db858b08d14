"""The page in a real Chromium, with a real daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgefer.cli.main import main
from edgefer.history.aggregate import Batch, Minute
from edgefer.history.store import History

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
CHROMIUM = shutil.which("chromium")
if not CHROMIUM:
    pytest.skip("no chromium here (Debian's package chromium)", allow_module_level=True)

pytestmark = pytest.mark.slow
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip
DEADLINE_S = 60
"""How long anything is waited for: the machine may be busy."""


class Daemon:
    """``edgefer run`` with the page; a restart keeps the port."""

    def __init__(self, folder: Path, options: str = "", more: tuple[str, ...] = ()) -> None:
        self._folder, self._options, self._more, self.address = folder, options, more, "http://127.0.0.1:0"
        self.start()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        sinks = ["--sink", self.address + self._options, "--sink", "history:history.db?every_s=0.5"]
        command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=320x240&faces=2&fps=12", *sinks, *self._more]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(command, cwd=self._folder, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr
        for line in self._process.stderr:
            if line.startswith("web page:"):
                self.address = line.split()[2]
                return
        raise AssertionError("the daemon did not start")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stderr
        self._process.stderr.close()
        assert self._process.wait(timeout=DEADLINE_S) == 0


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A tab, with the errors of its console."""

    def __init__(self, browser: Any, address: str, **how: object) -> None:
        self.page = browser.new_context(**how).new_page()
        self.page.set_default_timeout(1000 * DEADLINE_S)
        self.errors: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)

    def until(self, expression: str) -> None:
        """Wait for it; Playwright's own wait would need eval, which the page forbids."""
        deadline = time.monotonic() + DEADLINE_S
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)


@pytest.fixture
def visit(browser: Any, daemon: Daemon) -> Iterator[Visit]:
    visit = Visit(browser, daemon.address, viewport={"width": 1280, "height": 900})
    visit.page.wait_for_selector("#faces li")
    yield visit
    visit.page.context.close()


def test_the_page_shows_each_face_with_seven_bars_and_logs_no_error(visit: Visit) -> None:
    visit.until("document.querySelectorAll('#faces li').length === 2")
    assert visit.page.locator("#faces li").first.locator(".track").count() == 7
    visit.until("document.querySelector('#camera').dataset.state === 'live'")
    visit.until("/drawn faces/.test(document.querySelector('#source').textContent)")
    assert visit.page.locator("#vitals dt").all_inner_texts()[:4] == ["Frame rate", "CPU", "Memory", "Temperature"]
    visit.page.wait_for_selector("#chart .column rect")
    assert visit.errors == []


def test_regions_to_ignore_are_drawn_with_a_pointer_and_removed(browser: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("# mine\n[detector]\n")
    with Daemon(tmp_path, more=("--config", str(config))) as daemon:
        visit = Visit(browser, daemon.address, viewport={"width": 1280, "height": 900})
        visit.page.wait_for_selector("#ignore:not([hidden])")
        visit.until("document.querySelectorAll('#faces li').length === 2")
        visit.page.click("#draw")
        box = visit.page.locator("#view").bounding_box()
        left, top, width, height = box["x"], box["y"], box["width"], box["height"]
        visit.page.mouse.move(left, top + 0.05 * height)
        visit.page.mouse.down()
        visit.page.mouse.move(left + 0.3 * width, top + 0.5 * height)
        visit.page.mouse.move(left + 0.5 * width, top + 0.95 * height)
        visit.page.mouse.up()
        visit.page.wait_for_selector("#regions li")
        visit.until("document.querySelectorAll('#faces li').length === 1")
        x, y, w, h = tomllib.loads(config.read_text())["detector"]["ignore"][0]
        assert (x, y, w, h) == pytest.approx((0, 0.05, 0.5, 0.9), abs=0.01)
        assert "configuration file" in visit.page.inner_text("#ignore-text")
        visit.page.click("#regions button")
        visit.until("document.querySelectorAll('#regions li').length === 0")
        visit.until("document.querySelectorAll('#faces li').length === 2")
        assert config.read_text() == "# mine\n[detector]\nignore = []\n"
        visit.page.click("#privacy label:has([value=faces])")
        visit.page.wait_for_selector("#ignore", state="hidden")
        assert visit.errors == []
        visit.page.context.close()


def test_bars_and_picture_change_with_the_frames(visit: Visit) -> None:
    bars = "[...document.querySelectorAll('#faces .track div')].map((bar) => bar.style.transform).join()"
    before = visit.page.evaluate(bars)
    visit.until(f"{bars} !== {before!r}")
    skipped = visit.page.evaluate("document.querySelector('#view').toDataURL()")
    visit.until(f"document.querySelector('#view').toDataURL() !== {skipped!r}")


def test_the_card_of_a_face_takes_the_labels_of_a_model_that_was_swapped_in(browser: Any, daemon: Daemon) -> None:
    with urllib.request.urlopen(f"{daemon.address}/api/state", timeout=30) as answer:
        state = json.load(answer)
    face = {"track": 1, "box": [10, 10, 50, 50], "score": 1.0}
    sent = [("state", {**state, "observation": None})]
    for frame, label in enumerate(("happy", "joy")):
        faces = [{**face, "expression": label, "scores": {label: 1.0}}]
        sent.append(("faces", {"frame": frame, "time": 0, "size": [320, 240], "faces": faces}))
    events = "".join(f"event: {event}\ndata: {json.dumps(data)}\n\n" for event, data in sent)
    page, errors = browser.new_context().new_page(), list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.route("**/api/events", lambda route: route.fulfill(body=events, content_type="text/event-stream"))
    page.goto(daemon.address)
    page.locator("#faces .scores span.top").get_by_text("joy").first.wait_for(timeout=1000 * DEADLINE_S)
    assert page.locator("#faces li").count() == 1
    assert errors == []
    page.context.close()


def test_the_view_shows_the_picture_or_only_the_boxes(visit: Visit) -> None:
    colours = "new Set(document.querySelector('#view').getContext('2d').getImageData(0, 0, 300, 200).data).size"
    visit.until(f"{colours} > 150")
    visit.page.get_by_role("radio", name="No pictures").check()
    visit.until(f"{colours} < 100")
    visit.until("document.querySelector('#view').getAttribute('aria-label').includes('without a picture')")
    visit.page.get_by_role("radio", name="Totals only").check()
    visit.until("document.querySelectorAll('#faces li').length === 0")
    assert visit.page.locator("#veil").inner_text() == "Only totals are shown."
    visit.page.get_by_role("radio", name="Pictures", exact=True).check()
    visit.until(f"{colours} > 150")
    assert visit.errors == []


def test_the_timeline_is_read_with_the_keyboard_and_as_a_table(visit: Visit) -> None:
    visit.page.wait_for_selector("#chart .column rect")
    visit.page.focus("svg.chart")
    visit.page.keyboard.press("End")
    visit.until(r"/\d\d:\d\d.\d\d:\d\d: .* \d+ (s|min)/.test(document.querySelector('.readout').textContent)")
    visit.page.get_by_text("As a table").click()
    visit.until("document.querySelectorAll('#chart table tbody tr').length >= 1")
    visit.page.get_by_role("radio", name="7 days").check()
    visit.until("/faces in view/.test(document.querySelector('svg.chart').textContent)")
    visit.until("document.querySelector('#shares .share')")


def test_every_control_can_be_reached_with_the_keyboard_and_has_a_name(visit: Visit) -> None:
    reached = set()
    for _ in range(12):
        visit.page.keyboard.press("Tab")
        reached.add(
            visit.page.evaluate("document.activeElement.name || document.activeElement.className.baseVal || document.activeElement.tagName")
        )
    assert {"show", "range", "chart", "SUMMARY", "A"} <= reached
    for role in ("radio", "link", "img"):
        for element in visit.page.get_by_role(role).all():
            assert element.get_attribute("aria-label") or element.inner_text() or element.locator("xpath=..").inner_text()
    assert visit.page.get_by_role("heading").all_inner_texts() == ["edgefer", "Live view", "Faces", "Timeline", "Today", "This device"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Any, daemon: Daemon, scheme: str) -> None:
    visit = Visit(browser, daemon.address, color_scheme=scheme)
    # WCAG 2: relative luminance, contrast of at least 4.5 for text.
    ratios = visit.page.evaluate(
        """() => ["--ink", "--soft", "--accent", "--bad"].map((name) => {
            const style = getComputedStyle(document.documentElement);
            const luminance = (hex) => {
                hex = hex.trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3");
                const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
                    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            return ["--card", "--ground"].map((under) => {
                const [a, b] = [name, under].map((property) => luminance(style.getPropertyValue(property))).sort((a, b) => b - a);
                return (a + 0.05) / (b + 0.05);
            });
        }).flat()"""
    )
    assert min(ratios) >= 4.5, ratios
    visit.page.context.close()


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Any, daemon: Daemon) -> None:
    visit = Visit(browser, daemon.address, viewport={"width": 360, "height": 740}, device_scale_factor=2, is_mobile=True, has_touch=True)
    visit.page.wait_for_selector("#faces li")
    visit.page.wait_for_selector("#chart .column rect")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert visit.errors == []
    visit.page.context.close()


def test_the_page_reconnects_after_a_restart_of_the_daemon(visit: Visit, daemon: Daemon) -> None:
    visit.until("document.querySelector('#camera').dataset.state === 'live'")
    daemon.stop()
    visit.until("document.querySelector('#camera').dataset.state === 'lost'")
    daemon.start()
    visit.until("document.querySelector('#camera').dataset.state === 'live'")
    visit.until("document.querySelectorAll('#faces li').length === 2")
    visit.page.wait_for_selector("#chart .column rect")
    # The browser itself logs that the address did not answer.
    assert [error for error in visit.errors if "ERR_" not in error] == []


def test_with_a_token_the_page_asks_for_it_once(browser: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("correct-horse-battery")
    token.chmod(0o600)
    with Daemon(tmp_path, f"?show=faces&token_file={token}") as daemon:
        visit = Visit(browser, daemon.address)
        visit.page.get_by_label("Token of this device").fill("wrong-horse-battery")
        visit.page.get_by_role("button").click()
        visit.page.get_by_text("That is not the token.").wait_for()
        visit.page.get_by_label("Token of this device").fill("correct-horse-battery")
        visit.page.get_by_role("button").click()
        visit.page.wait_for_selector("#faces li")
        assert visit.page.get_by_role("radio", name="Pixelated").is_disabled()
        visit.page.reload()
        visit.page.wait_for_selector("#faces li")
        visit.page.context.close()


def test_the_report_draws_itself_from_a_file(browser: Any, tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        batch, minute_s = Batch(), int(time.time()) // 60 * 60 - 60
        batch.minutes[minute_s] = Minute(frames=100, watched_s=60.0, expressions_s={"happy": 20.0, "sad": 10.0})
        history.add(batch)
    assert main(["report", str(tmp_path / "history.db"), "--from", "1h", "--out", str(tmp_path / "report.html")]) == 0
    visit = Visit(browser, (tmp_path / "report.html").as_uri())
    visit.page.wait_for_selector("#chart .column rect")
    visit.page.wait_for_selector("#shares .whole div")
    assert "happy" in visit.page.locator("#shares").inner_text()
    assert visit.errors == []
    visit.page.context.close()
