"""All devices of a broker in one table, from the states that they publish."""

from __future__ import annotations

from itertools import islice

import msgspec

from edgefer.history.aggregate import EPOCH_S
from edgefer.mqtt.device import OFFLINE, ONLINE, State

LIMIT = 2_000
"""Devices in the table; further devices are ignored, so that memory is bounded."""
LIMIT_BYTES = 8192
"""A longer message is ignored; a device's own has about 800 bytes."""
MAX_NAME, MAX_ENTRIES = 64, 32
"""Characters of a device's name, and of a class; entries of a device's `State.mix` and `State.scores`."""
CLOCK_AHEAD_S = 60.0
"""A device whose frame is this far in the future has a wrong clock."""
COLUMNS = ("device", "status", "now", "the last minute", "fps", "°C", "model", "version", "update", "seen")


class Update(msgspec.Struct, frozen=True):
    """The fields of a device's update status that the table shows."""

    state: str = ""
    why: str = ""


class Device(msgspec.Struct, frozen=True):
    """One row."""

    node: str
    status: str = "unknown"
    """online or offline; unknown until the device publishes it."""
    state: State = State()
    update: Update = Update()
    age_s: float | None = None
    """Age of the frame of its state, negative where the device's clock is ahead; None where its frames have no time of day."""


class Fleet:
    """The newest messages of every device below ``base``."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.topics = tuple(f"{base}/+/{leaf}" for leaf in ("status", "state", "update/status"))
        self._devices: dict[str, Device] = {}
        self.messages = 0
        """Messages received."""

    def update(self, topic: str, payload: bytes, _retained: bool = False) -> None:
        """Take in one message; a malformed one is ignored. An empty status, which clears the retained one, removes the device."""
        node, _, leaf = topic.removeprefix(f"{self.base}/").partition("/")
        self.messages += 1
        device = self._devices.get(node) or Device(node)
        if len(payload) > LIMIT_BYTES or len(node) > MAX_NAME or (node not in self._devices and len(self._devices) >= LIMIT):
            return
        try:
            if leaf == "status" and not payload:
                self._devices.pop(node, None)
                return
            if leaf == "status" and payload in (ONLINE, OFFLINE):
                device = msgspec.structs.replace(device, status=payload.decode())
            elif leaf == "state":
                device = msgspec.structs.replace(device, state=_bounded(msgspec.json.decode(payload, type=State)))
            elif leaf == "update/status":
                device = msgspec.structs.replace(device, update=msgspec.json.decode(payload, type=Update))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            pass
        self._devices[node] = device

    def devices(self, now_s: float) -> list[Device]:
        """Every device by name, as of ``now_s`` seconds since 1970."""
        # Of a copy, since the connection's thread may add a device at any time.
        devices = sorted(self._devices.copy().values(), key=lambda device: device.node)
        return [msgspec.structs.replace(device, age_s=_age_s(device, now_s)) for device in devices]


def _bounded(state: State) -> State:
    """A state whose tables have few entries with short names: a hostile one may list thousands."""
    mix, scores = ({name[:MAX_NAME]: table[name] for name in islice(table, MAX_ENTRIES)} for table in (state.mix, state.scores))
    return msgspec.structs.replace(state, mix=mix, scores=scores)


def _age_s(device: Device, now_s: float) -> float | None:
    if device.state.time <= EPOCH_S:
        return None
    age_s = round(now_s - device.state.time, 1)
    return age_s if age_s < -CLOCK_AHEAD_S else max(0.0, age_s)


def cells(device: Device) -> tuple[str, ...]:
    """A row of text, one cell for each of `COLUMNS`; control characters are replaced."""
    state = device.state
    row = (
        device.node,
        device.status,
        state.expression + ("" if state.score is None else f" {state.score:.0%}") if state.version else "",
        ", ".join(f"{name} {share:.0%}" for name, share in mix(state)),
        "" if state.fps is None else f"{state.fps:.1f}",
        "" if state.temperature_c is None else f"{state.temperature_c:.0f}",
        f"{state.model} {state.model_sha256[:12]}".strip(),
        state.version,
        device.update.state.replace("_", " "),
        "" if device.age_s is None else ago(device.age_s) if device.age_s >= 0 else f"clock {ago(-device.age_s)} ahead",
    )
    return tuple(_clean(cell) for cell in row)


def mix(state: State) -> list[tuple[str, float]]:
    """The three most frequent expressions of the last minute with their shares, 0..1, from half a per cent."""
    shares = [(_clean(name), min(1.0, share)) for name, share in state.mix.items() if share >= 0.005]
    return sorted(shares, key=lambda entry: -entry[1])[:3]


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:60]


def ago(seconds: float) -> str:
    """``12 s``, ``5 min``, ``3 h`` or ``2 d``."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def summary(devices: list[Device], broker: str) -> str:
    """``12 devices, 11 online, 2 models, 1 version``."""
    online = sum(device.status == ONLINE.decode() for device in devices)
    models = len({device.state.model_sha256 for device in devices if device.state.model_sha256})
    versions = len({device.state.version for device in devices if device.state.version})
    return (
        ", ".join((_count(len(devices), "device"), f"{online} online", _count(models, "model"), _count(versions, "version")))
        + f" at {broker}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def table(devices: list[Device]) -> list[str]:
    """Lines of text with aligned columns; empty columns are left out."""
    rows = [COLUMNS, *map(cells, devices)]
    widths = [max(map(len, column)) if any(column[1:]) or not devices else 0 for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width).rstrip() for row in rows]


def as_json(devices: list[Device], broker: str, now_s: float) -> bytes:
    """The fleet as JSON."""
    fleet = {"broker": broker, "time": round(now_s, 3), "devices": [_fields(device) for device in devices]}
    return msgspec.json.format(msgspec.json.encode(fleet), indent=1)


def _fields(device: Device) -> dict[str, object]:
    """A device as one flat object."""
    state = msgspec.to_builtins(device.state)
    return {"node": device.node, "status": device.status, "age_s": device.age_s, **state, "update": device.update}
