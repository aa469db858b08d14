"""Many simulated devices at one state a second against a Mosquitto of its own on this machine: what is lost, how late, at what cost.

    PYTHONPATH=. .venv/bin/python tests/benchmarks/fleet_load.py --devices 500 --seconds 300

A device is the daemon's own connection and message, without a camera. Every state carries a number; the listener, edgefer's own connection
again, must hear each number of each device once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgefer.machine import peak_rss_mb
from edgefer.mqtt.address import parse_address
from edgefer.mqtt.connection import Connection, Message
from edgefer.mqtt.device import OFFLINE, ONLINE, State, Topics
from tests.mosquitto import Mosquitto

PER_PROCESS = 250
BASE = "load"


def devices(port: int, first: int, count: int, seconds: int, ready: Any, begin: Any, results: Any) -> None:
    """One process of devices: connect, wait for the others, then every device says its state once a second, evenly spread."""
    connected_s = time.monotonic()
    everyone = []
    for number in range(first, first + count):
        topics = Topics(BASE, f"device{number}")
        will, birth = (Message(topics.status, word, retain=True) for word in (OFFLINE, ONLINE))
        connection = Connection(parse_address(f"mqtt://127.0.0.1:{port}"), f"load-{number}", will=will, birth=birth)
        connection.open()
        everyone.append((topics, connection))
    assert all(connection.wait_up(120) for _, connection in everyone), "not every device was taken by the broker"
    ready.put(time.monotonic() - connected_s)
    begin.wait()
    start_s, late_s = time.monotonic(), 0.0
    state = State(expression="happy", score=0.93, scores=dict.fromkeys(("a", "b", "c", "d", "e", "f", "g"), 0.1429), faces=1, fps=15.0,
                  mix={"happy": 0.7, "neutral": 0.3}, temperature_c=48.0, version="load", model="small", model_sha256="a" * 64)  # fmt: skip
    for tick in range(seconds):
        for place, (topics, connection) in enumerate(everyone):
            due_s = start_s + tick + place / count
            pause_s = due_s - time.monotonic()
            late_s = max(late_s, -pause_s)
            if pause_s > 0:
                time.sleep(pause_s)
            numbered = msgspec.structs.replace(state, time=time.time(), frames_dropped=tick)
            connection.publish(Message(topics.state, msgspec.json.encode(numbered), retain=True))
    for topics, connection in everyone:
        connection.publish(Message(topics.status, OFFLINE, retain=True), wait_s=20)
        connection.close()
    results.put({
        "refused": sum(connection.refused for _, connection in everyone), "losses": sum(connection.losses for _, connection in everyone),
        "behind_s": round(late_s, 2), "cpu_s": time.process_time(), "rss_mb": peak_rss_mb(),
    })  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--devices", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    spawn = mp.get_context("spawn")
    ready, begin, results = spawn.Queue(), spawn.Event(), spawn.Queue()
    heard = np.zeros((options.devices, options.seconds), np.int32)
    delays_s: list[float] = []

    def listen(topic: str, payload: bytes, _retained: bool) -> None:
        now_s, state = time.time(), msgspec.json.decode(payload, type=State)
        heard[int(topic.split("/")[1].removeprefix("device")), state.frames_dropped] += 1
        delays_s.append(now_s - state.time)

    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        listener = Connection(parse_address(f"mqtt://127.0.0.1:{broker.port}"))
        listener.subscribe(f"{BASE}/+/state", listen)
        listener.open()
        assert listener.wait_up(10)
        parts = [(first, min(PER_PROCESS, options.devices - first)) for first in range(0, options.devices, PER_PROCESS)]
        workers = [spawn.Process(target=devices, args=(broker.port, *part, options.seconds, ready, begin, results)) for part in parts]
        for worker in workers:
            worker.start()
        connect_s = max(ready.get(timeout=180) for _ in workers)
        cpu_s = time.process_time()
        begin.set()
        begun_s = time.monotonic()
        said = [results.get(timeout=options.seconds + 300) for _ in workers]
        for worker in workers:
            worker.join()
        last = -1
        while last < len(delays_s) < heard.size:
            last = len(delays_s)
            time.sleep(2)
        took_s = time.monotonic() - begun_s
        fields = Path(f"/proc/{broker.pid}/stat").read_text().rpartition(")")[2].split()
        broker_cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{broker.pid}/status").read_text()
        broker_mb = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        listener.close()
        broker.stop()
    p50, p95, p99, worst = 1000 * np.percentile(delays_s, [50, 95, 99, 100])
    print(json.dumps({
        "devices": options.devices, "seconds": options.seconds, "sent": heard.size, "heard": int((heard > 0).sum()),
        "lost": int((heard == 0).sum()), "twice": int((heard > 1).sum()),
        "refused_by_a_full_queue": sum(part["refused"] for part in said), "connections_lost": sum(part["losses"] for part in said),
        "all_connected_after_s": round(connect_s, 1), "took_s": round(took_s, 1),
        "devices_behind_at_most_s": max(part["behind_s"] for part in said),
        "delay_ms": {"p50": round(p50, 1), "p95": round(p95, 1), "p99": round(p99, 1), "most": round(worst, 1)},
        "cpu_percent_of_a_core": {
            "broker": round(100 * broker_cpu_s / took_s, 1), "listener": round(100 * (time.process_time() - cpu_s) / took_s, 1),
            "all_devices": round(100 * sum(part["cpu_s"] for part in said) / took_s, 1),
        },
        "broker_peak_mb": round(broker_mb, 1), "load_average": [round(load, 1) for load in os.getloadavg()],
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
