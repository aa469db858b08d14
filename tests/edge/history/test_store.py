from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edgefer.errors import SinkError
from edgefer.history.aggregate import Batch, Change, Visit
from edgefer.history.database import open_database
from edgefer.history.store import DAY_S, History

MakeBatch = Callable[..., Batch]
NOON_S = 1_795_608_000
"""A whole minute."""


@contextmanager
def sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """The file as another program opens it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def size_bytes(path: Path) -> int:
    """Size of the database, what is in its write-ahead log included."""
    with sqlite(path) as connection:
        return int(connection.execute("SELECT page_size * page_count FROM pragma_page_size, pragma_page_count").fetchone()[0])


def test_batches_of_the_same_minute_add_up(path: Path, batch: MakeBatch) -> None:
    history = History(path)
    history.add(batch())
    history.add(batch(seconds=5.5, expression="sad"))
    history.add(batch(seconds=1.0))
    (bucket,) = history.buckets(NOON_S, NOON_S + 60, 60)
    assert (bucket.time_s, bucket.frames, bucket.watched_s) == (NOON_S, 300, 180.0)
    assert bucket.expressions_s == {"happy": 31.0, "sad": 5.5}
    assert history.totals(NOON_S, NOON_S + 60) == {"happy": 31.0, "sad": 5.5}


def test_longer_buckets_begin_at_local_midnight_and_a_minute_begun_counts_whole(path: Path, batch: MakeBatch) -> None:
    history = History(path)
    for minute in range(0, 180, 10):
        history.add(batch(NOON_S + 60 * minute))
    buckets = history.buckets(NOON_S + 30, NOON_S + 3 * 3600, 3600)
    assert sum(bucket.expressions_s["happy"] for bucket in buckets) == pytest.approx(18 * 30)
    assert {(bucket.time_s + (time.localtime(NOON_S).tm_gmtoff or 0)) % 3600 for bucket in buckets} == {0}
    (day,) = history.buckets(NOON_S, NOON_S + 3 * 3600, DAY_S)
    assert time.localtime(day.time_s)[3:6] == (0, 0, 0)


def test_a_visit_has_the_seconds_of_each_expression(path: Path, batch: MakeBatch) -> None:
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


def test_the_faces_of_two_runs_are_different_faces(path: Path, batch: MakeBatch) -> None:
    for _ in range(2):
        history = History(path)
        history.add(batch())
        history.close()
        time.sleep(0.002)  # a run's number is the millisecond it begins
    assert len(History(path, "read").visits(NOON_S, NOON_S + 60)) == 2


def test_a_reader_sees_new_rows_and_cannot_write(path: Path, batch: MakeBatch) -> None:
    writer = History(path)
    writer.add(batch())
    reader = History(path, "read")
    writer.add(batch(NOON_S + 60))
    assert len(reader.buckets(NOON_S, NOON_S + 120, 60)) == 2
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.add(batch())


def test_a_query_does_not_wait_for_a_write(path: Path, batch: MakeBatch) -> None:
    history, found = History(path), list[int]()
    history.add(batch())
    writer = threading.Thread(target=lambda: history.add(batch(NOON_S + 60)))
    reader = threading.Thread(target=lambda: found.append(len(history.buckets(0, 2e9, 60))))
    with sqlite(path) as other:
        other.execute("BEGIN IMMEDIATE")
        writer.start()
        reader.start()
        reader.join(timeout=30)
        assert (found, writer.is_alive()) == ([1], True)
        other.execute("ROLLBACK")
    writer.join(timeout=30)
    assert len(history.buckets(0, 2e9, 60)) == 2


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


def test_a_kill_at_any_time_leaves_an_intact_file_with_every_finished_batch(path: Path, environment: dict[str, str]) -> None:
    for attempt in range(6):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for _ in range(1 + 7 * attempt):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            printed = [int(line) for line in process.stdout.read().split() if line.strip()]
        finished = max(printed, default=1 + 7 * attempt)
        history = History(path)
        with sqlite(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        # Whole batches: every batch that was printed, and at most one that was finished and not printed.
        changes, minutes = len(history.changes(0, 1e12)), history.buckets(0, 1e9, 60)
        assert changes % 40 == 0
        assert changes // 40 in (finished, finished + 1)
        assert {bucket.frames for bucket in minutes} == {changes // 40}
        history.close()


@pytest.mark.parametrize("damage", ["garbage", "zeros", "torn"])
def test_a_corrupt_file_is_renamed_with_a_message(path: Path, damage: str, caplog: pytest.LogCaptureFixture, batch: MakeBatch) -> None:
    filled(path, batch, minutes=300).close()
    content = bytearray(path.read_bytes())
    if damage == "torn":
        content[4096:] = os.urandom(len(content) - 4096)
        (path.parent / "history.db-wal").write_bytes(b"")  # a killed run leaves one
    else:
        content[:4096] = os.urandom(4096) if damage == "garbage" else bytes(4096)
    path.write_bytes(content)
    with caplog.at_level(logging.ERROR):
        fresh = History(path)
    (aside,) = path.parent.glob("history.db.corrupt-*[0-9]")
    assert aside.read_bytes() == content
    fresh.add(batch())
    assert aside.name in caplog.text
    assert len(fresh.buckets(0, 2e9, 60)) == 1


def test_a_file_that_turns_out_corrupt_while_writing_is_renamed_and_the_batch_is_kept(path: Path, batch: MakeBatch) -> None:
    filled(path, batch, minutes=2000).close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    history = History(path)
    history.add(batch(NOON_S + 90_000 * 60))
    assert list(path.parent.glob("history.db.corrupt-*"))
    assert len(history.buckets(0, 4e9, 60)) == 1


def test_a_commit_is_on_the_disk_when_it_returns(path: Path) -> None:
    with closing(open_database(path, "write")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"


def test_another_programs_database_is_refused_and_not_changed(path: Path) -> None:
    with sqlite(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(SinkError, match="not a history of edgefer"):
        History(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("mark", ["user_version", "application_id"])
def test_one_flipped_bit_in_a_mark_sets_the_file_aside_like_other_damage(path: Path, batch: MakeBatch, mark: str) -> None:
    for bit in range(31):
        with closing(History(path)) as history:
            history.add(batch(NOON_S))
        with sqlite(path) as connection:
            found = connection.execute(f"PRAGMA {mark}").fetchone()[0]
            connection.execute(f"PRAGMA {mark} = {found ^ 1 << bit}")
        with closing(History(path)) as history:
            assert history.buckets(0, 2e9, 60) == []
        for damaged in path.parent.glob("history.db.corrupt-*"):
            damaged.unlink()
            break
        else:
            raise AssertionError(f"bit {bit}: the file was not kept")
        path.unlink()


def test_a_newer_format_is_refused(path: Path) -> None:
    History(path).close()
    with sqlite(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SinkError, match="newer edgefer"):
        History(path)


def test_the_oldest_rows_are_deleted_by_age(path: Path, batch: MakeBatch) -> None:
    history = History(path)
    for day in range(10):
        history.add(batch(NOON_S - day * DAY_S, track=day))
    for now_s in (0, NOON_S - 1000 * DAY_S, NOON_S + 1000 * DAY_S, NOON_S + 10 * DAY_S):
        for _ in range(60):
            history.make_room(keep_days=3.5, max_mb=100, free_mb=0, now_s=now_s)
    assert len(history.buckets(0, 2e9, 60)) == 10, "a clock that no rows confirm deletes nothing"
    for _ in range(6):
        history.make_room(keep_days=3.5, max_mb=100, free_mb=0, now_s=NOON_S)
    assert [bucket.time_s for bucket in history.buckets(0, 2e9, 60)] == [NOON_S - day * DAY_S for day in (3, 2, 1, 0)]
    assert len(history.changes(0, 2e9)) == len(history.visits(0, 2e9)) == 4


def filled(path: Path, batch: MakeBatch, minutes: int = 12_000) -> History:
    history, together = History(path), Batch()
    for minute in range(minutes):
        one = batch(NOON_S + 60 * minute, track=minute)
        together.minutes.update(one.minutes)
        together.visits.update(one.visits)
        together.changes += one.changes
    history.add(together)
    return history


def test_the_oldest_rows_are_deleted_by_size_and_the_file_shrinks(path: Path, batch: MakeBatch) -> None:
    history = filled(path, batch)
    assert size_bytes(path) > 1.1e6
    history.make_room(keep_days=1e6, max_mb=1, free_mb=0, now_s=NOON_S)
    assert size_bytes(path) <= 1e6
    kept = [bucket.time_s for bucket in history.buckets(0, 4e9, 60)]
    assert 1000 < len(kept) < 12_000
    assert kept[-1] == NOON_S + 60 * 11_999
    assert kept[0] > NOON_S
    history.close()
    assert path.stat().st_size <= 1e6


def test_on_a_full_disk_new_rows_replace_the_oldest(path: Path, batch: MakeBatch) -> None:
    history = filled(path, batch)
    size = size_bytes(path)
    for minute in range(12_000, 18_000, 500):
        history.make_room(keep_days=1e6, max_mb=1000, free_mb=1e12, now_s=NOON_S)
        more = Batch()
        for n in range(minute, minute + 500):
            more.minutes.update(batch(NOON_S + 60 * n).minutes)
        history.add(more)
    assert size_bytes(path) <= 1.02 * size
    kept = [bucket.time_s for bucket in history.buckets(0, 4e9, 60)]
    assert (kept[0], kept[-1]) > (NOON_S, NOON_S + 60 * 17_998)


def test_a_history_in_a_folder_that_may_not_be_read_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        with pytest.raises(SinkError, match="try it with sudo"):
            History(tmp_path / "closed" / "history.db", "read")
    finally:
        os.seteuid(before)


def test_a_missing_history_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(SinkError) as refused:
        History(tmp_path / "none.db", "read")
    assert str(refused.value).startswith(f"{tmp_path / 'none.db'}: no history there")


def test_what_was_recorded_before_the_clock_was_set_is_never_deleted_for_its_age(path: Path, batch: MakeBatch) -> None:
    history = History(path)
    for start_s in (120, *(NOON_S - day * DAY_S for day in range(10))):
        history.add(batch(start_s))
    for _ in range(20):
        history.make_room(keep_days=3.5, max_mb=100, free_mb=0, now_s=NOON_S)
    assert [bucket.time_s for bucket in history.buckets(0, 2e9, 60)][:2] == [120, NOON_S - 3 * DAY_S]


def test_what_a_run_recorded_before_the_clock_was_set_is_redated(path: Path, batch: MakeBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 100 * 10**9)
    history = History(path)
    history.add(batch(120))
    history.add(batch(NOON_S, track=2))
    history.redate(NOON_S - 1000.4)
    moved_s = NOON_S - 1020 + 120
    assert [bucket.time_s for bucket in history.buckets(0, 2e9, 60)] == [moved_s, NOON_S]
    assert history.totals(moved_s, moved_s + 60) == {"happy": 30.0}
    assert [visit.first_s for visit in history.visits(0, 2e9)] == [moved_s, NOON_S]
    assert [change.time_s for change in history.changes(0, 2e9)] == [moved_s, NOON_S]


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(("change", "hours"), [(datetime(2026, 10, 25), 25), (datetime(2026, 3, 29), 23)], ids=["autumn", "spring"])
def test_days_begin_at_local_midnight_across_the_change_of_clocks(path: Path, batch: MakeBatch, change: datetime, hours: int) -> None:
    history, begin_s = History(path), int((change - timedelta(days=2)).timestamp())
    together = Batch()
    for hour in range(24 * 5):
        together.minutes.update(batch(begin_s + 3600 * hour).minutes)
    history.add(together)
    days = history.buckets(begin_s, begin_s + 5 * DAY_S, DAY_S)
    assert {time.localtime(day.time_s)[3:6] for day in days} == {(0, 0, 0)}
    assert [day.frames // 100 for day in days][:4] == [24, 24, hours, 24]
    quarters = history.buckets(begin_s, begin_s + 5 * DAY_S, DAY_S // 4)
    assert {time.localtime(quarter.time_s).tm_hour for quarter in quarters} == {0, 6, 12, 18}
    assert len(history.buckets(begin_s, begin_s + 5 * DAY_S, 3600)) == 24 * 5


@pytest.mark.usefixtures("berlin")
def test_days_of_the_case_begin_at_midnight(cases: Path) -> None:
    days = History(cases / "dst-buckets" / "dst.db", "read").buckets(1_792_706_400, 1_793_142_000, DAY_S)
    assert len(days) > 3
    assert {time.localtime(day.time_s)[3:6] for day in days} == {(0, 0, 0)}


def test_a_history_is_its_owners_alone_and_an_older_one_becomes_so(path: Path, batch: MakeBatch) -> None:
    History(path).close()
    path.chmod(0o644)
    history = History(path)
    history.add(batch())
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} <= {0, 0o040}
    history.close()
    path.unlink()
    history = History(path)
    history.add(batch())
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
