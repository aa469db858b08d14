from __future__ import annotations

import logging

import pytest

from edgefer.log_once import LogOnce

LOGGER = logging.getLogger("edgefer.test_log_once")


def test_a_repeated_message_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(LOGGER)
    for message in ("disk full", "disk full", "no such folder"):
        once(logging.ERROR, message)
    assert [message.partition(" (")[0] for message in caplog.messages] == ["disk full", "no such folder"]
    assert {record.levelname for record in caplog.records} == {"ERROR"}


def test_messages_of_one_kind_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(LOGGER)
    for index in range(3):
        once(logging.WARNING, f"frame {index} failed", kind="ValueError")
    assert len(caplog.messages) == 1
    assert "frame 0" in caplog.text


def test_the_memory_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    once = LogOnce(LOGGER)
    for index in range(2 * LogOnce.KINDS):
        once(logging.ERROR, f"kind {index}")
    assert len(caplog.messages) == LogOnce.KINDS
