"""The bundle installed without a network in Debian roots, and the service under the real systemd there, in the order of a user."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

import pytest
from pi.container import Container, until

UNIT = "edgefer.service"


def good(done: object) -> str:
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"  # type: ignore[attr-defined]
    return done.stdout  # type: ignore[attr-defined,no-any-return]


def show(container: Container, key: str) -> str:
    return good(container("systemctl", "show", f"--property={key}", "--value", UNIT)).strip()


def runs(container: Container, other_than: str = "") -> Callable[[], bool]:
    """Whether the service is active, in another process than that."""
    return lambda: show(container, "ActiveState") == "active" and show(container, "MainPID") not in ("0", other_than)


def test_the_bundle_installs_with_the_systems_numpy_and_opencv_and_again_the_same(container: Container) -> None:
    first = good(container("/opt/bundle/pi.sh", "install"))
    assert "-m venv" in first
    system = good(container("/usr/bin/python3", "-c", "import numpy; print(numpy.__version__)"))
    inside = good(container("/opt/edgefer/bin/python", "-c", "import numpy, cv2; print(numpy.__version__); print(cv2.__file__)"))
    assert inside.split()[0] == system.strip()
    assert "/usr/lib/python3" in inside
    packages = good(container("/opt/edgefer/bin/python", "-m", "pip", "freeze", "--local"))
    second = good(container("/opt/bundle/pi.sh", "install"))
    assert "-m venv" not in second
    assert good(container("/opt/edgefer/bin/python", "-m", "pip", "freeze", "--local")) == packages
    refused = container(
        "/opt/edgefer/bin/python", "-m", "pip", "install", "--no-index", "--find-links=/opt/bundle/wheels", "numpy!=" + system.strip()
    )
    assert refused.returncode != 0, "numpy is held, whatever is installed later"


def test_doctor_finds_the_installation_fit_and_the_golden_answers_right(container: Container) -> None:
    checks = {check["name"]: check for check in json.loads(good(container("edgefer", "doctor", "--json")))["checks"]}
    for name in ("python", "system", "opencv", "numpy", "runtime", "model", "xnnpack", "config"):
        assert checks[name]["state"] == "pass", checks[name]
    assert "golden answers" in checks["model"]["found"]


def test_the_service_starts_with_the_first_frame_and_is_as_closed_as_promised(container: Container) -> None:
    container.boot()
    assert "sudo edgefer setup" in container("edgefer", "service", "install").stderr
    good(container("edgefer", "setup", "--yes", "--source", "synthetic:"))
    good(container("edgefer", "service", "install"))
    assert runs(container)()
    assert "happy" in show(container, "StatusText") or "no face" in show(container, "StatusText")
    process = show(container, "MainPID")
    status = good(container("cat", f"/proc/{process}/status"))
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert not re.search(r"^Uid:\s+0\b", status, re.MULTILINE)
    assert "XNNPACK is not in use" not in good(container("edgefer", "service", "logs"))
    assert "active (running)" in good(container("edgefer", "service", "status"))
    assert good(container("systemctl", "is-enabled", UNIT)).strip() == "enabled"
    assert container("systemd-analyze", "verify", "--recursive-errors=no", UNIT).stderr == ""
    good(container("systemd-analyze", "security", "--threshold=20", "--no-pager", UNIT))


def test_a_password_reaches_the_service_alone(container: Container) -> None:
    secret = "install -D -m 600 /dev/stdin /etc/credstore/mqtt-password"
    good(container("sh", "-c", f"echo secret | {secret} && systemctl restart {UNIT}"))
    process = show(container, "MainPID")
    folder = re.findall(r"CREDENTIALS_DIRECTORY=(\S+)", good(container("sh", "-c", f"tr '\\0' '\\n' < /proc/{process}/environ")))[0]
    assert good(container("cat", f"{folder}/mqtt-password")).strip() == "secret"
    # Of the group's bits newer systemds make the mask of the list that names the one user.
    assert good(container("stat", "--format=%A", f"{folder}/mqtt-password")).strip().endswith("---")


def test_it_stops_within_three_seconds_and_cleanly(container: Container) -> None:
    begun = time.monotonic()
    good(container("systemctl", "stop", UNIT))
    assert time.monotonic() - begun < 3
    assert show(container, "Result") == "success"
    assert "frames in" in good(container("edgefer", "service", "logs"))


@pytest.fixture
def quick(container: Container) -> Iterator[None]:
    """The unit's long waits made short, and the starts it allows fewer."""
    quick = "[Unit]\nStartLimitBurst=12\n[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\nRestartSec=100ms\n"
    folder = "/run/systemd/system/edgefer.service.d"
    good(container("sh", "-c", f"mkdir -p {folder} && printf '{quick}' > {folder}/quick.conf && systemctl daemon-reload"))
    good(container("systemctl", "reset-failed", UNIT))
    good(container("systemctl", "restart", UNIT))
    yield
    container("sh", "-c", f"rm -r {folder}; systemctl daemon-reload; systemctl stop {UNIT}; systemctl reset-failed {UNIT}")


def test_a_process_that_hangs_starves_the_watchdog_and_is_started_again(container: Container, quick: None) -> None:
    process = show(container, "MainPID")
    good(container("systemctl", "kill", "--signal=STOP", UNIT))
    until(runs(container, process), "the watchdog did not start it again")
    log = good(container("journalctl", "--no-pager", f"--unit={UNIT}"))
    assert "Failed with result 'watchdog'" in log
    assert show(container, "NRestarts") == "1"


def test_it_comes_back_from_five_kills(container: Container, quick: None) -> None:
    for _ in range(5):
        process = show(container, "MainPID")
        good(container("systemctl", "kill", "--signal=KILL", UNIT))
        until(runs(container, process), "it did not come back")
    assert show(container, "NRestarts") == "5"


def test_a_camera_that_is_not_there_is_asked_for_some_times_and_not_for_ever(container: Container, quick: None) -> None:
    good(container("systemctl", "stop", UNIT))
    good(container("sed", "-i", 's/^source = .*/source = "opencv:0"/', "/etc/edgefer/config.toml"))
    assert container("systemctl", "start", UNIT).returncode != 0
    until(lambda: show(container, "ActiveState") == "failed", "it goes on and on")
    assert 1 < int(show(container, "NRestarts")) < 40
    log = good(container("edgefer", "service", "logs"))
    assert "no camera answers at /dev/video0" in log
    assert "Start request repeated too quickly" in log
    failed = container("edgefer", "service", "install")
    assert failed.returncode == 1
    assert "edgefer service logs" in failed.stderr.splitlines()[-1]


def test_uninstalling_leaves_the_configuration_and_purging_nothing(container: Container) -> None:
    assert "removed" in container("edgefer", "service", "uninstall").stderr
    assert container("systemctl", "cat", UNIT).returncode != 0
    good(container("edgefer", "setup", "--yes", "--replace", "--source", "synthetic:"))
    good(container("edgefer", "service", "install"))
    good(container("/opt/bundle/pi.sh", "uninstall"))
    assert container("systemctl", "cat", UNIT).returncode != 0
    assert container("sh", "-c", "command -v edgefer || test -e /opt/edgefer").returncode != 0
    good(container("test", "-e", "/etc/edgefer/config.toml"))
    good(container("/opt/bundle/pi.sh", "uninstall", "--purge"))
    assert container("sh", "-c", "test -e /etc/edgefer || test -e /var/lib/edgefer").returncode != 0
