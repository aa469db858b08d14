"""Observations for the MQTT sink, and the sink with a clock that a test sets."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edgefer.sinks.mqtt import Mqtt
from edgefer.spec import parse_spec
from edgefer.types import Box, Face, Frame, Model, Observation

MODEL = Model("toy", "ab" * 32, ("happy", "sad"))
LUMA = np.zeros((48, 64), np.uint8)


def seen(index: int, *expressions: str) -> Observation:
    faces = tuple(
        Face(n + 1, Box(0, 0, 10 + n, 10 + n), expression, 0.9, {"happy": 0.9, "sad": 0.1}) for n, expression in enumerate(expressions)
    )
    return Observation(Frame(index, 1000.0 + index, LUMA, dropped=7), faces, {}, MODEL)


def wait_until(true: Callable[[], object], within_s: float = 30) -> None:
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.02)


class ManualClock:
    """A clock that the test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def open_mqtt(port: int, options: str = "", tls: bool = False) -> tuple[Mqtt, ManualClock]:
    clock = ManualClock()
    return Mqtt(parse_spec(f"mqtt{'s' * tls}://127.0.0.1:{port}/home/desk{options}"), clock), clock
