from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgefer.update.ledger import MAX_REFUSED, Ledger, LedgerFile, read_ledger, write_ledger

A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_a_model_that_passed_its_trial_is_the_target_of_the_next_rollback() -> None:
    first = Ledger("small").start_trial(A).pass_trial()
    assert (first.current, first.previous, first.trial) == (A, "", "")
    second = first.start_trial(B)
    assert (second.current, second.previous, second.trial) == (B, A, "running")
    back = second.roll_back("x")
    assert (back.current, back.previous, back.trial, back.refused) == (A, "", "", {B: "x"})


def test_a_model_that_is_still_on_trial_is_no_target_of_a_rollback() -> None:
    overtaken = Ledger("small").start_trial(A).pass_trial().start_trial(B).start_trial(C)
    assert overtaken.roll_back("y").current == A


def test_a_new_trial_forgets_why_the_model_failed_before() -> None:
    assert Ledger("small").refuse(B, "x").start_trial(B).refused == {}


def test_a_crash_during_the_trial_rolls_back_and_an_orderly_stop_does_not() -> None:
    trial = Ledger("small").start_trial(A).pass_trial().start_trial(B)
    crashed = trial.restart("small")
    assert (crashed.current, crashed.trial) == (A, "")
    assert "unexpectedly" in crashed.refused[B]
    assert Ledger("small", B, A, "paused").restart("small") == trial
    passed = trial.pass_trial()
    assert passed.restart("small") == passed


def test_errors_that_end_a_trial_count_against_it_and_a_persons_stop_does_not() -> None:
    trial = Ledger("small").start_trial(A).pass_trial().start_trial(B)
    for _ in range(5):
        trial = trial.end(failed=False).restart("small")
    assert (trial.current, trial.trial) == (B, "running")
    once = trial.end(failed=True).restart("small")
    assert (once.current, once.trial) == (B, "running")
    back = once.end(failed=True).restart("small")
    assert (back.current, back.trial) == (A, "")
    assert "2 times" in back.refused[B]
    assert once.start_trial(C).ends == 0


def test_the_version_of_signed_orders_outlives_another_configured_model() -> None:
    assert Ledger("small").accept(9, A).restart("nano") == Ledger("nano", version=9, version_sha256=A)


def test_another_configured_model_starts_a_new_ledger() -> None:
    assert Ledger("small").start_trial(A).restart("nano") == Ledger("nano")


def test_the_newest_refused_models_are_remembered() -> None:
    ledger = Ledger("small")
    for number in range(50):
        ledger = ledger.refuse(f"{number:064d}", "broken")
    assert len(ledger.refused) == MAX_REFUSED
    assert f"{49:064d}" in ledger.refused


def test_a_ledger_outlives_a_restart(tmp_path: Path) -> None:
    ledger = Ledger("small").start_trial(A)
    write_ledger(tmp_path / "state" / "update.json", ledger)
    assert read_ledger(tmp_path / "state" / "update.json") == ledger


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"current": "../../etc"}', b'{"current": 3}', b'{"refused": {"\x80": ""}}', None],
    ids=["empty", "cut", "path", "number", "not UTF-8", "missing"],
)
def test_a_damaged_or_missing_ledger_is_empty(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "ledger").write_bytes(content)
    assert read_ledger(tmp_path / "ledger") == Ledger()


def test_a_change_that_must_be_on_disk_raises_where_it_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A folder cannot be replaced by a file, even by root.
    (tmp_path / "update.json").mkdir()
    file = LedgerFile(tmp_path / "update.json")
    with pytest.raises(OSError, match="directory"):
        file.write(lambda ledger: ledger.start_trial(A))
    assert file.ledger == Ledger()
    with caplog.at_level(logging.ERROR):
        file.note(lambda ledger: ledger.refuse(A, "x"))
    assert file.ledger.refused == {A: "x"}
    assert str(tmp_path / "update.json") in caplog.text
