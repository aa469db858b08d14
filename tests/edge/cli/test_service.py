from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from command import Run, one_line

import edgefer.cli.service
from edgefer.cli.service import install, uninstall, unit
from edgefer.errors import EdgeferError, ServiceError
from edgefer.files import shipped

COMMAND, CONFIG = Path("/opt/edgefer/bin/edgefer"), Path("/etc/edgefer/config.toml")
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here (Debian package systemd)")


def test_the_shipped_unit_is_the_one_for_the_default_paths() -> None:
    assert unit(COMMAND, CONFIG) == (shipped("deploy") / "edgefer.service").read_text()


def test_odd_paths_stay_one_word_of_the_unit() -> None:
    (line,) = re.findall("^ExecStart=.*$", unit(Path("/srv/my pi/50%/edgefer"), Path("/etc/$x.toml")), re.MULTILINE)
    assert line == 'ExecStart="/srv/my pi/50%%/edgefer" run --config /etc/$$x.toml'


def test_the_unit_has_no_line_that_hides_the_camera_or_disables_xnnpack() -> None:
    settings = dict(line.partition("=")[::2] for line in unit(COMMAND, CONFIG).splitlines() if not line.startswith("#"))
    assert not {"ProcSubset", "PrivateDevices", "ProtectClock", "PrivateUsers", "RootDirectory"} & set(settings)
    for device in ("char-video4linux rw", "char-media rw", "char-dma_heap rw"):
        assert f"DeviceAllow={device}" in unit(COMMAND, CONFIG)
    assert settings["SupplementaryGroups"] == "video"
    assert settings["Type"] == "notify"
    for credential in ("mqtt-password", "web-token"):
        assert f"LoadCredential={credential}\n" in unit(COMMAND, CONFIG)


def test_the_start_limit_ends_a_missing_camera_but_not_five_kills() -> None:
    text = unit(COMMAND, CONFIG)
    burst, every_s, pause_s = (int(re.findall(f"^{key}=(\\d+)$", text, re.MULTILINE)[0]) for key in
                               ("StartLimitBurst", "StartLimitIntervalSec", "RestartSec"))  # fmt: skip
    assert burst > 6, "the first start, and one for each of five kills"
    assert burst * (pause_s + 20) < every_s, "starts that each wait 20 s for a camera still fall into one interval"


@pytest.mark.parametrize(("source_timeout_s", "watchdog"), [(5.0, 30), (20.0, 30), (120.0, 130)])
def test_the_watchdog_waits_longer_than_the_daemon_does_for_its_camera(source_timeout_s: float, watchdog: int) -> None:
    assert f"\nWatchdogSec={watchdog}\n" in unit(COMMAND, CONFIG, source_timeout_s)


@needs_analyze
def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    (tmp_path / "edgefer.service").write_text(unit(Path("/bin/true"), CONFIG))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", tmp_path / "edgefer.service"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (tmp_path / "edgefer.service").write_text(unit(Path("/bin/true"), CONFIG).replace("WatchdogSec", "WatchdgSec"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", tmp_path / "edgefer.service"], capture_output=True, text=True, check=False
    )
    assert "WatchdgSec" in done.stderr, "the check can fail"


@needs_analyze
def test_the_exposure_level_of_the_service_is_at_most_two(tmp_path: Path) -> None:
    (tmp_path / "edgefer.service").write_text(unit(COMMAND, CONFIG))
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", tmp_path / "edgefer.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert float(re.findall(r"exposure level for \S+: ([\d.]+)", done.stdout)[0]) <= 2.0


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that records its arguments; tests/pi uses the real one."""
    asked = tmp_path / "asked"
    systemctl = tmp_path / "bin/systemctl"
    systemctl.parent.mkdir()
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {asked}\ncase "$*" in *"$REFUSES"*) echo "Job for it failed." >&2; exit 1;; esac\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("REFUSES", "nothing at all")
    monkeypatch.setattr(edgefer.cli.service, "RUNNING", tmp_path)
    monkeypatch.setattr(edgefer.cli.service, "UNIT_PATH", tmp_path / "edgefer.service")
    monkeypatch.setattr(edgefer.cli.service, "HIDDEN", ("/home",))
    monkeypatch.setattr("edgefer.cli.service.os.geteuid", lambda: 0)
    monkeypatch.setattr("edgefer.cli.service.sys.prefix", str(tmp_path))
    (tmp_path / "bin/edgefer").touch()
    (tmp_path / "config.toml").write_text('source = "synthetic:"\n')
    return asked


def test_install_writes_and_starts_the_unit_and_uninstall_removes_it(systemd: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    install(tmp_path / "config.toml", messages.append)
    assert (tmp_path / "edgefer.service").read_text() == unit(tmp_path / "bin/edgefer", tmp_path / "config.toml")
    assert [line.split()[0] for line in systemd.read_text().splitlines()] == ["daemon-reload", "enable", "reset-failed", "restart"]
    assert "edgefer service status" in messages[-1]
    uninstall(messages.append)
    assert not (tmp_path / "edgefer.service").exists()
    assert "disable --quiet --now edgefer.service" in systemd.read_text()
    uninstall(messages.append)
    assert "nothing to do" in messages[-1]


def test_a_service_that_does_not_start_names_the_command_for_its_log(
    systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSES", "restart")
    with pytest.raises(ServiceError, match=r"Job for it failed\..*edgefer service logs"):
        install(tmp_path / "config.toml", lambda _: None)


@pytest.mark.parametrize(
    ("trouble", "fact"),
    [
        ("no config", "sudo edgefer setup"),
        ("bad config", "did you mean 'source'"),
        ("no source", "source is empty"),
        ("not installed", "make pi-install"),
        ("hidden", "a service cannot see"),
        ("hidden model", "a service cannot see"),
        ("secret", "chmod o\\+r"),
        ("not root", "needs root"),
        ("no systemd", "systemd does not run here"),
    ],
)
def test_a_service_that_could_not_work_is_refused_and_nothing_is_written(
    systemd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, fact: str
) -> None:
    config = tmp_path / "config.toml"
    match trouble:
        case "no config":
            config.unlink()
        case "bad config":
            config.write_text('sourc = "synthetic:"\n')
        case "no source":
            config.write_text("")
        case "not installed":
            (tmp_path / "bin/edgefer").unlink()
        case "hidden":
            monkeypatch.setattr(edgefer.cli.service, "HIDDEN", (str(tmp_path),))
        case "hidden model":
            from edgefer.model.store import find_model

            (tmp_path / "home").mkdir()
            shutil.copy(find_model("small"), tmp_path / "home/own.tflite")
            config.write_text(f'source = "synthetic:"\nmodel = "{tmp_path}/home/own.tflite"\n')
            monkeypatch.setattr(edgefer.cli.service, "HIDDEN", (str(tmp_path / "home"),))
        case "secret":
            config.chmod(0o600)
        case "not root":
            monkeypatch.setattr("edgefer.cli.service.os.geteuid", lambda: 1000)
        case "no systemd":
            monkeypatch.setattr(edgefer.cli.service, "RUNNING", tmp_path / "absent")
    with pytest.raises(EdgeferError, match=fact):
        install(config, lambda _: None)
    assert not (tmp_path / "edgefer.service").exists()
    assert not systemd.exists()


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
@pytest.mark.parametrize("what", ["install", "status", "logs", "uninstall"])
def test_without_systemd_every_verb_is_one_line(cli: Run, what: str) -> None:
    done = cli("service", what)
    assert done.returncode == 1
    assert "systemd does not run here" in one_line(done.stderr)
