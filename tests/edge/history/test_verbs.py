from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Run, one_line

from edgefer.history import location
from edgefer.history.aggregate import Batch
from edgefer.history.location import default_path, find_history
from edgefer.history.store import History

MakeBatch = Callable[..., Batch]


@pytest.fixture
def kept(path: Path, batch: MakeBatch) -> Path:
    """A history of the last two hours: happy, then sad, and nobody for half an hour."""
    history, now = History(path), int(time.time()) // 60 * 60
    history.keep_labels(["sad", "happy"])
    for minute in range(30, 120):
        history.add(batch(now - 60 * minute, 20.0, "happy" if minute > 75 else "sad", track=minute))
    history.close()
    return path


def test_the_default_path_is_in_the_folder_of_the_systems_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "edgefer" / "history.db"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgefer")
    assert default_path() == Path("/var/lib/edgefer/history.db")


def test_the_history_verb_prints_visits_and_shares(edgefer: Run, kept: Path) -> None:
    done = edgefer("history", str(kept))
    assert done.returncode == 0, done.stderr
    assert "90 visits" in done.stdout
    assert "sad" in done.stdout
    assert " 51.1 %" in done.stdout


def test_csv_has_a_column_for_each_expression_in_the_models_order(command: Run, kept: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(command("history", str(kept), "--csv", "--bucket", "30m").stdout)))
    assert list(rows[0]) == ["time", "frames", "watched_s", "sad_s", "happy_s", "uncertain_s"]
    assert sum(float(row["happy_s"]) for row in rows) == 44 * 20
    visits = list(csv.DictReader(io.StringIO(command("history", str(kept), "--of", "visits", "--csv").stdout)))
    assert len(visits) == 90
    assert {row["changes"] for row in visits} == {"0"}
    header = command("history", str(kept), "--of", "changes", "--csv", "--from", "5m").stdout.splitlines()
    assert header == ["time,run,track,expression,score"], "without rows there is still a header"


def test_json_has_the_same_rows(command: Run, kept: Path) -> None:
    content = json.loads(command("history", str(kept), "--json", "--from", "3h", "--bucket", "1m").stdout)
    assert (content["bucket_s"], len(content["minutes"])) == (60, 90)
    assert list(content["minutes"][0]) == ["time_s", "frames", "watched_s", "expressions_s"]
    changes = json.loads(command("history", str(kept), "--of", "changes", "--json").stdout)
    assert (changes["bucket_s"], len(changes["changes"])) == (None, 90)
    visits = json.loads(command("history", str(kept), "--of", "visits", "--json").stdout)["visits"]
    assert list(visits[0]) == ["run", "track", "first_s", "last_s", "changes", "expressions_s"]


def test_the_plot_has_a_line_of_bars_for_each_expression(command: Run, kept: Path) -> None:
    lines = command("history", str(kept), "--plot", "--from", "2h").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["sad", "happy"]
    assert all("█" in line for line in lines[1:])
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("verb", ["history", "report"])
@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["none.db"], "edgefer run --sink history:none.db"),
        (["here.db", "--from", "soon"], "'soon' is not a time"),
        (["here.db", "--from", "1h", "--to", "2h"], "is not before"),
        (["here.db", "--bucket", "5s"], "1m is the shortest"),
    ],
)
def test_a_request_that_cannot_be_answered_is_refused_in_one_line(
    command: Run, tmp_path: Path, verb: str, arguments: list[str], facts: str
) -> None:
    History(tmp_path / "here.db").close()
    done = command(verb, *arguments)
    assert done.returncode == 1
    assert facts in one_line(done.stderr)


def test_the_verbs_find_the_history_of_a_configuration(command: Run, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('sinks = ["status:", "history:history.db?keep_days=3"]\n')
    assert "90 visits" in command("history", "--config", "config.toml").stdout


def test_without_a_configuration_that_of_the_service_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "CONFIG", tmp_path / "config.toml")
    assert find_history(None, None) == default_path()
    for sink, path in (("history:", "/var/lib/edgefer/history.db"), ("history:a.db", "/var/lib/edgefer/a.db"), ("history:/b.db", "/b.db")):
        (tmp_path / "config.toml").write_text(f'sinks = ["{sink}"]\n')
        assert find_history(None, None) == Path(path)


@pytest.mark.parametrize("out", [".", "none/out.html", "file/out.html", "/proc/report.html"])
def test_a_report_that_cannot_be_written_is_refused_in_one_line(command: Run, path: Path, tmp_path: Path, out: str) -> None:
    History(path).close()
    (tmp_path / "file").touch()
    done = command("report", str(path), "--out", out)
    assert done.returncode == 1
    assert f"--out {out}: cannot be written" in one_line(done.stderr)


@pytest.mark.parametrize("form", [[], ["--plot"]], ids=["table", "plot"])
def test_an_empty_history_is_called_empty(command: Run, path: Path, form: list[str]) -> None:
    History(path).close()
    assert "the history is empty" in command("history", str(path), *form).stdout


@pytest.mark.parametrize("form", [[], ["--plot"]], ids=["table", "plot"])
def test_a_time_range_without_faces_names_the_times_of_the_history(command: Run, kept: Path, form: list[str]) -> None:
    printed = command("history", str(kept), "--from", "2020-01-01", "--to", "2020-01-02", *form).stdout
    assert "2020-01-01 00:00 to 2020-01-02 00:00" in printed
    assert "the history holds 2" in printed


def test_a_reader_that_closes_the_pipe_is_no_error(kept: Path, environment: dict[str, str]) -> None:
    command = f"{sys.executable} -m edgefer history {kept} --of changes --json --from 3h | head -n 1"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_report_is_one_page_without_other_files(edgefer: Run, kept: Path, tmp_path: Path) -> None:
    done = edgefer("report", str(kept), "--from", "3h", "--out", "out.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "src=" not in page
    assert '<th scope="row">happy</th><td>15 min</td><td>49 %</td>' in page, "the figures need no JavaScript"
    assert "<dt>Visits</dt><dd>90</dd>" in page


def test_a_label_cannot_break_out_of_the_report(command: Run, path: Path, tmp_path: Path, batch: MakeBatch) -> None:
    history = History(path)
    history.add(batch(int(time.time()) // 60 * 60 - 120, expression="</script><script>alert(1)</script>"))
    history.close()
    assert command("report", str(path)).returncode == 0
    assert "<script>alert" not in (tmp_path / "edgefer-report.html").read_text()


def test_a_short_run_fills_the_plot_and_the_report(command: Run, path: Path, tmp_path: Path, batch: MakeBatch) -> None:
    history, now = History(path), int(time.time()) // 60 * 60
    for minute in range(4):
        history.add(batch(now - 3600 + 60 * minute, 20.0, "happy" if minute < 2 else "sad", track=minute))
    history.close()
    head, *lines = command("history", str(path), "--plot").stdout.splitlines()
    bars = {line[:12].strip(): line[13:].rpartition("%")[0].rstrip("0123456789 ") for line in lines}
    assert 15 <= len(bars["happy"]) <= 30
    assert "█" in bars["happy"]
    assert not set(bars["happy"]) - {"█"}
    assert re.search(r"\d\d:\d\d  +20\d\d-", head), "the dates do not run together"
    command("report", str(path))
    page = (tmp_path / "edgefer-report.html").read_text()
    data = json.loads(re.search(r"seconds } = (.*);", page)[1])["data"]  # type: ignore[index]
    assert (data["from"], data["to"], data["bucket_s"]) == (now - 3600, now - 3600 + 240, 60)
