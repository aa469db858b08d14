from __future__ import annotations

import csv
import io
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import Run, one_line

from edgefer.errors import SinkError
from edgefer.history import export
from edgefer.history.aggregate import Batch, Change, Visit
from edgefer.history.store import DAY_S, History, default_path
from edgefer.sinks import open_sink
from edgefer.sinks.history import HistorySink
from edgefer.types import Box, Face, Frame, Model, Observation

NOON_S = 1_795_608_000
"""A whole minute."""


def batch(start_s: int = NOON_S, seconds: float = 30.0, expression: str = "happy", track: int = 1) -> Batch:
    made = Batch()
    minute = made.minutes[start_s]
    minute.frames, minute.watched_s = 100, 60.0
    minute.expressions_s[expression] = seconds
    made.visits[track] = Visit(start_s, start_s + seconds)
    made.changes.append(Change(track, start_s, expression, 0.9))
    return made


def seen(time_s: float, expression: str = "happy") -> Observation:
    face = Face(1, Box(0, 0, 9, 9), expression, 0.9, {expression: 0.9})
    return Observation(Frame(0, time_s, np.zeros((8, 8), np.uint8)), (face,))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


def test_batches_of_the_same_minute_add_up(path: Path) -> None:
    history = History(path)
    history.add(batch())
    history.add(batch(seconds=5.5, expression="sad"))
    history.add(batch(seconds=1.0))
    (bucket,) = history.buckets(NOON_S, NOON_S + 60, 60)
    assert (bucket.time_s, bucket.frames, bucket.watched_s) == (NOON_S, 300, 180.0)
    assert bucket.expressions_s == {"happy": 31.0, "sad": 5.5}
    assert history.totals(NOON_S, NOON_S + 60) == {"happy": 31.0, "sad": 5.5}


def test_longer_buckets_begin_at_local_midnight_and_a_minute_begun_counts_whole(path: Path) -> None:
    history = History(path)
    for minute in range(0, 180, 10):
        history.add(batch(NOON_S + 60 * minute))
    buckets = history.buckets(NOON_S + 30, NOON_S + 3 * 3600, 3600)
    assert sum(bucket.expressions_s["happy"] for bucket in buckets) == pytest.approx(18 * 30)
    assert {(bucket.time_s + (time.localtime(NOON_S).tm_gmtoff or 0)) % 3600 for bucket in buckets} == {0}
    (day,) = history.buckets(NOON_S, NOON_S + 3 * 3600, DAY_S)
    assert time.localtime(day.time_s)[3:6] == (0, 0, 0)


def test_a_visit_says_how_long_each_expression_was_shown(path: Path) -> None:
    history = History(path)
    first = batch(seconds=10)
    first.changes.append(Change(1, NOON_S + 4, "sad", 0.5))
    history.add(first)
    later = Batch()
    later.visits[1] = Visit(NOON_S, NOON_S + 20)
    later.changes.append(Change(1, NOON_S + 15, "happy", 0.7))
    history.add(later)
    (visit,) = history.visits(NOON_S, NOON_S + 60)
    assert (visit.first_s, visit.last_s, visit.changes) == (NOON_S, NOON_S + 20, 2)
    assert visit.expressions_s == {"happy": 9.0, "sad": 11.0}
    assert [change.expression for change in history.changes(NOON_S, NOON_S + 60)] == ["happy", "sad", "happy"]


def test_two_runs_do_not_mix_up_their_faces(path: Path) -> None:
    for _ in range(2):
        history = History(path)
        history.add(batch())
        history.close()
        time.sleep(0.002)  # runs are told apart by the millisecond they begin
    assert len(History(path, "read").visits(NOON_S, NOON_S + 60)) == 2


def test_a_reader_sees_what_is_written_meanwhile_and_writes_nothing(path: Path) -> None:
    writer = History(path)
    writer.add(batch())
    reader = History(path, "read")
    writer.add(batch(NOON_S + 60))
    assert len(reader.buckets(NOON_S, NOON_S + 120, 60)) == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.add(batch())


def test_a_long_look_and_a_write_do_not_wait_for_each_other(path: Path) -> None:
    history, found = History(path), list[int]()
    history.add(batch())
    with history._transaction():
        look = threading.Thread(target=lambda: found.append(len(history.buckets(0, 2e9, 60))))
        look.start()
        look.join(timeout=10)
        assert found == [1]


WRITER = """
import sys
from pathlib import Path
from edgefer.history.store import History
from edgefer.history.aggregate import Batch, Change, Visit
history = History(Path(sys.argv[1]))
number = 0
while True:
    batch = Batch()
    for n in range(40):
        batch.minutes[60 * n].frames = 1
        batch.changes.append(Change(n, 1000.0 * number + n, "happy", 0.5))
    number += 1
    history.add(batch)
    print(number, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file_with_every_finished_batch(path: Path) -> None:
    for attempt in range(6):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for _ in range(1 + 7 * attempt):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            said = [int(line) for line in process.stdout.read().split() if line.strip()]
        finished = max(said, default=1 + 7 * attempt)
        history = History(path)
        assert history._base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # Whole batches, each said to be finished; at most one more was finished and not said.
        changes, minutes = len(history.changes(0, 1e12)), history.buckets(0, 1e9, 60)
        assert changes % 40 == 0
        assert changes // 40 in (finished, finished + 1)
        assert {bucket.frames for bucket in minutes} == {changes // 40}
        history.close()


def test_a_killed_daemon_loses_at_most_its_last_batch(path: Path, tmp_path: Path) -> None:
    spec = f"history:{path}?every_s=0.3"
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?size=160x120", "--sink", spec, "--sink", "jsonl:-"]
    frames = 0
    for _ in range(2):
        with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            for _ in range(45):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            frames += 45 + len(process.stdout.read().splitlines())
    history = History(path)
    kept = sum(bucket.frames for bucket in history.buckets(time.time() - 3600, time.time() + 3600, 60))
    # A batch of 0.3 s is some 10 frames, and as many may still have been on their way.
    assert frames - 2 * 30 <= kept <= frames + 2 * 64


@pytest.mark.parametrize("damage", ["garbage", "zeros", "torn"])
def test_a_corrupt_file_is_set_aside_whole_with_a_message(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    history = History(path)
    for minute in range(300):
        history.add(batch(NOON_S + 60 * minute))
    history.close()
    content = bytearray(path.read_bytes())
    if damage == "torn":
        content[4096:] = os.urandom(len(content) - 4096)
        (path.parent / "history.db-wal").write_bytes(b"")  # as a killed run leaves one
    else:
        content[:4096] = os.urandom(4096) if damage == "garbage" else bytes(4096)
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        fresh = History(path)
    fresh.add(batch())
    (aside,) = path.parent.glob("history.db.corrupt-*[0-9]")
    assert aside.read_bytes() == content
    assert aside.name in caplog.text
    assert len(fresh.buckets(0, 2e9, 60)) == 1


def test_damage_found_while_writing_begins_a_new_file_with_that_batch(path: Path) -> None:
    history = History(path)
    for minute in range(2000):
        history._add(batch(NOON_S + 60 * minute, track=minute))
    history._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    history._base.execute("PRAGMA cache_size = 0")
    history.close()
    history = History(path)
    history.add(batch(NOON_S + 90_000 * 60))
    assert list(path.parent.glob("history.db.corrupt-*"))
    assert len(history.buckets(0, 4e9, 60)) == 1


def test_what_is_not_a_history_is_refused_and_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(SinkError, match="not a history of edgefer"):
        History(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused(path: Path) -> None:
    history = History(path)
    history._base.execute("PRAGMA user_version = 99")
    history.close()
    with pytest.raises(SinkError, match="newer edgefer"):
        History(path)


@pytest.mark.parametrize("place", ["/proc/none/history.db", "/proc/history.db"])
def test_where_no_file_can_be_the_sink_says_so(place: str) -> None:
    with pytest.raises(SinkError, match="cannot be opened"):
        open_sink(f"history:{place}")


def test_the_oldest_goes_by_age(path: Path) -> None:
    history = History(path)
    for day in range(10):
        history.add(batch(NOON_S - day * DAY_S, track=day))
    history.make_room(keep_days=3.5, max_mb=100, free_mb=0, now_s=NOON_S + 1000 * DAY_S)
    assert len(history.buckets(0, 2e9, 60)) == 9, "a clock that is wrong once takes no more than a tenth"
    for _ in range(6):
        history.make_room(keep_days=3.5, max_mb=100, free_mb=0, now_s=NOON_S)
    assert [bucket.time_s for bucket in history.buckets(0, 2e9, 60)] == [NOON_S - day * DAY_S for day in (3, 2, 1, 0)]
    assert len(history.changes(0, 2e9)) == len(history.visits(0, 2e9)) == 4


def filled(path: Path, minutes: int = 12_000) -> History:
    history, together = History(path), Batch()
    for minute in range(minutes):
        one = batch(NOON_S + 60 * minute, track=minute)
        together.minutes.update(one.minutes)
        together.visits.update(one.visits)
        together.changes += one.changes
    history.add(together)
    return history


def test_the_oldest_goes_by_size_and_the_file_shrinks(path: Path) -> None:
    history = filled(path)
    assert history._bytes() > 1.1e6
    history.make_room(keep_days=1e6, max_mb=1, free_mb=0, now_s=NOON_S)
    assert history._bytes() <= 1e6
    kept = [bucket.time_s for bucket in history.buckets(0, 4e9, 60)]
    assert 1000 < len(kept) < 12_000
    assert kept[-1] == NOON_S + 60 * 11_999
    assert kept[0] > NOON_S


def test_on_a_full_disk_the_newest_takes_the_place_of_the_oldest(path: Path) -> None:
    history = filled(path)
    size = history._bytes()
    for minute in range(12_000, 18_000, 500):
        history.make_room(keep_days=1e6, max_mb=1000, free_mb=1e12, now_s=NOON_S)
        more = Batch()
        for n in range(minute, minute + 500):
            more.minutes.update(batch(NOON_S + 60 * n).minutes)
        history.add(more)
    assert history._bytes() <= 1.02 * size
    kept = [bucket.time_s for bucket in history.buckets(0, 4e9, 60)]
    assert (kept[0], kept[-1]) > (NOON_S, NOON_S + 60 * 17_998)


def test_the_labels_are_those_of_the_model_in_use_also_after_a_swap_and_in_a_new_file(path: Path) -> None:
    sink = open_sink(f"history:{path}")
    assert isinstance(sink, HistorySink)
    for labels in (("happy", "sad"), ("joy", "grief")):
        sink.write(replace(seen(NOON_S), model=Model(name="toy", sha256="abc", labels=labels)))
        sink.flush()
        assert sink.history.labels() == list(labels)
    sink.history._base.execute("DELETE FROM labels")
    sink.close()
    assert History(path, "read").labels() == ["joy", "grief"]


def test_a_sink_that_cannot_write_keeps_its_batches_and_tries_again(path: Path) -> None:
    sink = open_sink(f"history:{path}?every_s=0.1")
    assert isinstance(sink, HistorySink)
    sink.write(seen(NOON_S))
    blocker = sqlite3.connect(path, isolation_level=None)
    sink.history._base.execute("PRAGMA busy_timeout = 20")
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(SinkError, match="tried again"):
        sink.flush()
    blocker.execute("ROLLBACK")
    sink.write(seen(NOON_S + 1))
    sink.close()
    sink.close()
    (bucket,) = History(path, "read").buckets(0, 2e9, 60)
    assert (bucket.frames, bucket.expressions_s) == (2, {"happy": 1.0})


def test_nothing_is_written_for_a_frame_alone(path: Path) -> None:
    sink = open_sink(f"history:{path}?every_s=60")
    assert isinstance(sink, HistorySink)
    before = sink.history._base.total_changes
    for n in range(100):
        sink.write(seen(NOON_S + n / 30, ("happy", "sad")[n % 2]))
    assert sink.history._base.total_changes == before
    sink.close()


def test_without_a_path_the_history_lies_where_the_system_keeps_states(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "edgefer" / "history.db"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgefer")
    assert default_path() == Path("/var/lib/edgefer/history.db")


@pytest.fixture
def kept(path: Path) -> Path:
    """A history of the last two hours: happy, then sad, and nobody for half an hour."""
    history, now = History(path), int(time.time()) // 60 * 60
    history.keep_labels(["sad", "happy"])
    for minute in range(30, 120):
        history.add(batch(now - 60 * minute, 20.0, "happy" if minute > 75 else "sad", track=minute))
    history.close()
    return path


def test_the_history_is_told_in_a_few_lines(edgefer: Run, kept: Path) -> None:
    done = edgefer("history", str(kept))
    assert done.returncode == 0, done.stderr
    assert "90 visits" in done.stdout
    assert "sad" in done.stdout
    assert " 51.1 %" in done.stdout


def test_csv_has_a_column_for_each_expression_in_the_models_order(edgefer: Run, kept: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(edgefer("history", str(kept), "--csv", "--bucket", "30m").stdout)))
    assert list(rows[0]) == ["time", "frames", "watched_s", "sad_s", "happy_s", "uncertain_s"]
    assert sum(float(row["happy_s"]) for row in rows) == 44 * 20
    visits = list(csv.DictReader(io.StringIO(edgefer("history", str(kept), "--of", "visits", "--csv").stdout)))
    assert len(visits) == 90
    assert {row["changes"] for row in visits} == {"0"}
    header = edgefer("history", str(kept), "--of", "changes", "--csv", "--from", "5m").stdout.splitlines()
    assert header == ["time,run,track,expression,score"], "nothing then, and still a header"


def test_json_holds_the_same(edgefer: Run, kept: Path) -> None:
    told = json.loads(edgefer("history", str(kept), "--json", "--from", "3h", "--bucket", "1m").stdout)
    assert (told["bucket_s"], len(told["minutes"])) == (60, 90)
    assert len(json.loads(edgefer("history", str(kept), "--of", "changes", "--json").stdout)["changes"]) == 90


def test_the_plot_has_a_line_of_bars_for_each_expression(edgefer: Run, kept: Path) -> None:
    lines = edgefer("history", str(kept), "--plot", "--from", "2h").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["sad", "happy"]
    assert all("█" in line for line in lines[1:])
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("verb", ["history", "report"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.db"], "edgefer run --sink history:none.db"),
        (["here.db", "--from", "soon"], "'soon' is not a time"),
        (["here.db", "--from", "1h", "--to", "2h"], "is not before"),
        (["here.db", "--bucket", "5s"], "1m is the shortest"),
    ],
)
def test_what_cannot_be_told_is_one_line(edgefer: Run, tmp_path: Path, verb: str, arguments: list[str], said: str) -> None:
    History(tmp_path / "here.db").close()
    done = edgefer(verb, *arguments)
    assert done.returncode == 1
    assert said in one_line(done.stderr)


def test_the_verbs_find_the_file_of_the_configuration(edgefer: Run, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('sinks = ["status:", "history:history.db?keep_days=3"]\n')
    assert "90 visits" in edgefer("history", "--config", "config.toml").stdout


def test_without_a_configuration_given_it_is_the_service_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CONFIG", tmp_path / "config.toml")
    assert export.history_path(None, None) == default_path()
    for sink, path in (("history:", "/var/lib/edgefer/history.db"), ("history:a.db", "/var/lib/edgefer/a.db"), ("history:/b.db", "/b.db")):
        (tmp_path / "config.toml").write_text(f'sinks = ["{sink}"]\n')
        assert export.history_path(None, None) == Path(path)


def test_a_history_one_may_not_look_at_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    someone = os.geteuid() or 65534
    before = os.geteuid()
    os.seteuid(someone)
    try:
        with pytest.raises(SinkError, match="try it with sudo"):
            History(tmp_path / "closed" / "history.db", "read")
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("place", [".", "none/out.html", "file/out.html"])
def test_a_report_that_cannot_be_written_is_one_line(edgefer: Run, path: Path, tmp_path: Path, place: str) -> None:
    History(path).close()
    (tmp_path / "file").touch()
    done = edgefer("report", str(path), "--out", place)
    assert done.returncode == 1
    assert f"--out {place}: cannot be written" in one_line(done.stderr)


def test_an_empty_history_says_that_it_is_empty(edgefer: Run, path: Path) -> None:
    History(path).close()
    for how in ([], ["--plot"]):
        assert "the history is empty" in edgefer("history", str(path), *how).stdout


def test_a_reader_that_goes_away_is_no_error(kept: Path) -> None:
    command = f"{sys.executable} -m edgefer history {kept} --of changes --json --from 3h | head -n 1"
    done = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_the_report_is_one_page_that_needs_nothing_else(edgefer: Run, kept: Path, tmp_path: Path) -> None:
    done = edgefer("report", str(kept), "--from", "3h", "--out", "out.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out.html").read_text()
    assert "{{" not in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "src=" not in page
    assert '<th scope="row">happy</th><td>15 min</td><td>49 %</td>' in page, "the figures stand there without JavaScript, too"
    failed = edgefer("report", str(kept), "--out", "/proc/report.html")
    assert failed.returncode == 1
    assert "cannot be written" in one_line(failed.stderr)


def test_a_label_cannot_break_out_of_the_report(edgefer: Run, path: Path, tmp_path: Path) -> None:
    history = History(path)
    history.add(batch(int(time.time()) // 60 * 60 - 120, expression="</script><script>alert(1)</script>"))
    history.close()
    assert edgefer("report", str(path)).returncode == 0
    assert "<script>alert" not in (tmp_path / "edgefer-report.html").read_text()


def test_a_history_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(SinkError) as told:
        History(tmp_path / "none.db", "read")
    assert str(told.value).startswith(f"{tmp_path / 'none.db'}: no history there")
