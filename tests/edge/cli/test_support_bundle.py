"""The support bundle: fixed input gives fixed contents, without secrets and faces."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import get_args

import pytest
from command import Run, one_line

from edgefer.cli.checks.target import Finding, Target
from edgefer.cli.doctor import CHECKS
from edgefer.cli.support_bundle import contents, write_bundle
from edgefer.errors import SettingsError
from edgefer.types import CameraHow, CameraState

CONFIG = r"""
# the camera's password is commented-hunter2
model = "small"
source = "rtsp://me:hun/ter2@camera.lan/live?token=hunter2-token#timeout_s=5"
sinks = [
  "status:",
  "mqtt://broker.lan/edgefer/kitchen?login=LOGIN&every_s=60",
  "http://0.0.0.0:8080?show=faces&token_file=web.token",
  "http://me:hunter2@127.0.0.1:8081",
]
threads = 2
mqtt_password = "unknown-hunter2"
[secrets]
deep = ["nested-hunter2"]
[track]
lost_s = 1.5
since = 2026-11-25
[[action]]
name = "lamp"
command = ["/usr/local/bin/lamp", "argument-hunter2", "on"]
[[action]]
webhook = "https://ha.lan:8123/api/webhook/hook-hunter2"
"""

UNIT = """[Service]
# a comment about hunter2
ExecStart=/opt/edgefer/bin/edgefer run --source rtsp://me:hunter2@camera.lan
"""

DROP_IN = """[Service]
Environment=A=hunter2 \\
  B=hunter2
SetCredential=mqtt-password:me:hunter2
Nice=5
"""

JOURNAL = r"""2026-11-25T10:00:00+0000 edgefer[7]: source: stream rtsp://…@camera.lan/live?…, 640x480
2026-11-25T10:00:01+0000 edgefer[7]:  12.5 frames/s  #1 happy     █████████░  91%
2026-11-25T10:00:02+0000 edgefer[7]: {"time": 1.5, "faces": [{"track": 1, "expression": "sad"}]}
2026-11-25T10:00:03+0000 lamp[8]: argument-hunter2 is no lamp; Authorization: Bearer hunter2; kept-hunter2
2026-11-25T10:00:04+0000 edgefer[7]: 60 frames in 4.0 s (15.0 a second), a face in 57 (95.0 %): happy 80 %
2026-11-25T10:00:05+0000 curl[9]: http://me:hunter2@x.lan/ hook-hunter2 failed
"""

STATUS = """● edgefer.service
     Status: "happy, sad"
     CGroup: /system.slice/edgefer.service
             └─7 edgefer run --source http://camera.lan/?hunter2
"""

GOLDEN = {
    "config.json": """{
 "file": "CONFIG",
 "settings": {
  "model": "small",
  "source": "rtsp://…@camera.lan/live?…",
  "sinks": [
   "status:",
   "mqtt://broker.lan/edgefer/kitchen?login=…&every_s=60",
   "http://0.0.0.0:8080?show=faces&token_file=…",
   "http://…@127.0.0.1:8081"
  ],
  "threads": 2,
  "mqtt_password": "…",
  "secrets": "…",
  "track": {
   "lost_s": 1.5,
   "since": "…"
  },
  "action": [
   {
    "name": "lamp",
    "command": [
     "/usr/local/bin/lamp",
     "…",
     "…"
    ]
   },
   {
    "webhook": "https://ha.lan:8123/…"
   }
  ]
 }
}""",
    "doctor.json": """{
 "version": "VERSION",
 "checks": [
  {
   "name": "runtime",
   "state": "pass",
   "found": "ai_edge_litert",
   "mend": ""
  },
  {
   "name": "camera",
   "state": "fail",
   "found": "rtsp://…@camera.lan: no",
   "mend": "look"
  }
 ]
}""",
    "doctor.txt": """pass  runtime     ai_edge_litert
fail  camera      rtsp://…@camera.lan: no
      fix:        look""",
    "journal.txt": """2026-11-25T10:00:00+0000 edgefer[7]: source: stream rtsp://…@camera.lan/live?…, 640x480
2026-11-25T10:00:01+0000 edgefer[7]:  12.5 frames/s…
…
2026-11-25T10:00:03+0000 lamp[8]: … is no lamp; Authorization: …; …
2026-11-25T10:00:04+0000 edgefer[7]: 60 frames in 4.0 s (15.0 a second)…
2026-11-25T10:00:05+0000 curl[9]: http://…@x.lan/ … failed
""",
    "status.txt": """● edgefer.service
     Status: "…
     CGroup: /system.slice/edgefer.service
             └─7 edgefer run --source http://camera.lan/?…
""",
    "unit.txt": """# ROOT/etc/systemd/system/edgefer.service
[Service]
ExecStart=/opt/edgefer/bin/edgefer run --source rtsp://…@camera.lan
# ROOT/etc/systemd/system/edgefer.service.d/override.conf
[Service]
Environment=…
SetCredential=…
Nice=5""",
}


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A machine with a service, whose every file and command holds secrets."""
    root = tmp_path / "root"
    files = {
        "root/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "root/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "root/etc/systemd/system/edgefer.service": UNIT,
        "root/etc/systemd/system/edgefer.service.d/override.conf": DROP_IN,
        "config.toml": CONFIG.replace("LOGIN", str(tmp_path / "login")),
        "login": "me:kept-hunter2\n",
        "journal": JOURNAL,
        "status": STATUS,
        "bin/journalctl": f"#!/bin/sh\ncat {tmp_path}/journal\n",
        "bin/systemctl": f"#!/bin/sh\ncat {tmp_path}/status\nexit 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755 if "/bin" in f"/{name}" else 0o600)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr("edgefer.cli.doctor.CHECKS", {
        "runtime": lambda _: Finding("pass", "ai_edge_litert"),
        "camera": lambda _: Finding("fail", "rtsp://me:hunter2@camera.lan: no", "look"),
    })  # fmt: skip
    return Target(config=tmp_path / "config.toml", root=root)


@pytest.mark.parametrize("how", get_args(CameraHow))
def test_the_state_of_the_camera_stays_in_the_status(target: Target, tmp_path: Path, how: CameraHow) -> None:
    status = f'     Status: "{CameraState(how, 4.2)}"\n'
    (tmp_path / "status").write_text(status)
    assert contents(target)["status.txt"] == status


def test_the_same_machine_gives_the_same_bundle_without_secrets_faces_or_comments(target: Target, tmp_path: Path) -> None:
    write_bundle(tmp_path / "support.zip", target)
    with zipfile.ZipFile(tmp_path / "support.zip") as archive:
        found = {name: archive.read(name).decode() for name in archive.namelist()}
    versions, model = json.loads(found.pop("versions.json")), json.loads(found.pop("model.json"))
    golden = {name: text.replace("CONFIG", str(target.config)).replace("ROOT", str(target.root)) for name, text in GOLDEN.items()}
    golden["doctor.json"] = golden["doctor.json"].replace("VERSION", versions["edgefer"])
    assert found == golden
    assert versions["system"] == "Debian GNU/Linux 12 (bookworm)"
    assert versions["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert {"edgefer", "python", "kernel", "numpy", "cv2", "msgspec"} <= set(versions)
    assert len(model["labels"]) == 7
    assert "hunter2" not in str(found) + str(versions) + str(model)


def test_a_secret_with_characters_that_json_escapes_is_removed(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = 'sä"c\\ret'
    assert target.config
    target.config.write_text(f"source = 'http://me:{secret}@camera.lan'\n")
    monkeypatch.setitem(CHECKS, "camera", lambda _: Finding("fail", f"it said {secret}"))
    monkeypatch.setattr("edgefer.cli.doctor.CHECKS", CHECKS)
    checks = {check["name"]: check["found"] for check in json.loads(contents(target)["doctor.json"])["checks"]}
    assert checks["camera"] == "it said …"


def test_broken_or_missing_parts_leave_the_others(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    assert target.config
    target.config.write_text("threads = = 3 # hunter2")
    monkeypatch.setenv("PATH", "/nowhere")
    found = contents(Target(config=target.config, model="/nowhere.tflite"))
    assert not {"journal.txt", "status.txt"} & set(found)
    assert "not valid TOML" in json.loads(found["config.json"])["error"]
    assert "no such model" in json.loads(found["model.json"])["error"]
    assert "hunter2" not in str(found)


def test_a_bundle_is_written_whole_or_not_at_all(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "support.zip"
    path.write_text("the one before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(SettingsError, match=f"--bundle {path}: cannot be written: No space left"):
        broken.setattr("edgefer.machine.os.fsync", full)
        write_bundle(path, target)
    assert path.read_text() == "the one before"
    assert not list(tmp_path.glob(".part*"))
    write_bundle(path, target)
    assert zipfile.is_zipfile(path)


def test_the_command_prints_the_path_of_the_bundle_and_the_next_step(cli: Run, tmp_path: Path) -> None:
    done = cli("doctor", "--bundle")
    assert done.returncode == 0, done.stderr
    line = one_line(done.stdout)
    for words in (str(tmp_path / "edgefer-support.zip"), "secrets were removed", "read it before you send it"):
        assert words in line
    assert zipfile.is_zipfile(tmp_path / "edgefer-support.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["edgefer-support.zip"]


@pytest.mark.parametrize(
    ("name", "fact"),
    [("none/x.zip", "No such file or directory"), ("config.toml", "must end in .zip"), ("/proc/x.zip", "cannot be")],
)
def test_a_path_that_cannot_hold_a_bundle_is_one_line(cli: Run, tmp_path: Path, name: str, fact: str) -> None:
    (tmp_path / "config.toml").write_text("")
    done = cli("doctor", "--bundle", name)
    assert done.returncode == 1
    assert fact in one_line(done.stderr)
    assert (tmp_path / "config.toml").read_text() == ""
