from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from edgefer.stop import StopFlag

SIGNALS = 10_000
STORM = """
import signal
from edgefer.stop import StopFlag
stop = StopFlag()
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda *_: stop.set())
over = []
signal.signal(signal.SIGINT, lambda *_: over.append(1))
print("ready", flush=True)
while not over:
    stop.wait(0.01)
    stop.clear()
print("over", flush=True)
"""


def test_a_flag_is_set_once_for_all_waiting_threads_and_can_be_cleared() -> None:
    flag = StopFlag()
    assert not flag.wait(0.01)
    threads = [threading.Thread(target=flag.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    flag.set()
    flag.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert flag.is_set()
    assert flag.wait()
    flag.clear()
    assert not flag.is_set()
    assert not flag.wait(0.01)


def test_the_descriptors_of_a_flag_are_closed_with_it() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        StopFlag().set()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_ten_thousand_signals_during_a_wait_never_block_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", STORM], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for index in range(SIGNALS):
            process.send_signal((signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)[index % 3])
        process.send_signal(signal.SIGINT)
        try:
            assert process.communicate(timeout=60)[0] == "over\n"
        finally:
            process.kill()
