from __future__ import annotations

import threading

import pytest

from edgefer.queues import Mailbox


def test_one_slot_keeps_the_newest_and_counts_the_rest() -> None:
    mailbox: Mailbox[int] = Mailbox(1)
    for item in range(5):
        mailbox.put(item)
    assert (mailbox.get(), mailbox.dropped) == (4, 4)


def test_a_full_mailbox_drops_its_oldest_and_keeps_the_order() -> None:
    mailbox: Mailbox[int] = Mailbox(3)
    for item in range(5):
        mailbox.put(item)
    assert [mailbox.get() for _ in range(3)] == [2, 3, 4]
    assert mailbox.dropped == 2


def test_what_is_inside_can_be_taken_after_closing_and_then_comes_none() -> None:
    mailbox: Mailbox[int] = Mailbox(3)
    mailbox.put(1)
    mailbox.close()
    mailbox.close()
    mailbox.put(2)
    assert [mailbox.get(), mailbox.get(), mailbox.get()] == [1, None, None]


def test_an_empty_mailbox_times_out() -> None:
    with pytest.raises(TimeoutError):
        Mailbox[int](1).get(timeout_s=0.01)


def test_waiting_for_room_loses_nothing() -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    taken: list[int] = []

    def take() -> None:
        while (item := mailbox.get()) is not None:
            taken.append(item)

    reader = threading.Thread(target=take)
    reader.start()
    for item in range(500):
        mailbox.put(item, wait_until=threading.Event())
    mailbox.close()
    reader.join(timeout=10)
    assert taken == list(range(500))
    assert mailbox.dropped == 0


def test_closing_frees_a_writer_that_waits() -> None:
    mailbox: Mailbox[int] = Mailbox(1)
    mailbox.put(1)
    writer = threading.Thread(target=mailbox.put, args=(2, threading.Event()))
    writer.start()
    mailbox.close()
    writer.join(timeout=5)
    assert not writer.is_alive()
