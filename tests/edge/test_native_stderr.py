from __future__ import annotations

import os
import subprocess
import sys
import threading

from edgefer.native_stderr import silence_native_stderr

OVERLAP = """
import os, sys, threading
from edgefer.native_stderr import separate_stderr, silence_native_stderr
separate_stderr()
inside, may_end = threading.Event(), threading.Event()
def hang():
    with silence_native_stderr():
        inside.set()
        may_end.wait()
thread = threading.Thread(target=hang)
thread.start()
inside.wait()
os.write(2, b"noise of a library\\n")
print("the reason", file=sys.stderr)
with silence_native_stderr(), silence_native_stderr():
    os.write(2, b"more noise\\n")
may_end.set()
thread.join()
os.write(2, b"restored\\n")
"""


def test_messages_appear_while_a_library_is_silenced_and_the_last_thread_restores_the_descriptor() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", OVERLAP], capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == "the reason\nrestored\n"


def test_threads_that_overlap_in_any_order_leave_no_descriptor_behind() -> None:
    before, target = set(os.listdir("/proc/self/fd")), os.readlink("/proc/self/fd/2")  # noqa: PTH208, PTH115
    barrier = threading.Barrier(4)

    def use() -> None:
        barrier.wait(30)
        for _ in range(50):
            with silence_native_stderr():
                pass

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert os.readlink("/proc/self/fd/2") == target  # noqa: PTH115
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # noqa: PTH208
