from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from command import Run, one_line

from edgefer.cli.bench_report import difference, read_report
from edgefer.model.store import find_model

STAGES = {"capture", "gate", "detect", "classify"}


def test_a_video_is_run_to_its_end_and_every_frame_is_a_line(edgefer: Run, clip: Path) -> None:
    done = edgefer("run", "--source", f"file:{clip}", "--sink", "jsonl:-")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == list(range(60))
    for line in lines:
        assert set(line) == {"time", "frame", "size", "faces", "timings_ms", "dropped"}
        assert set(line["timings_ms"]) == STAGES
        assert line["size"] == [320, 240]
    with_face = [line for line in lines if line["faces"]]
    assert len(with_face) >= 57
    face = with_face[-1]["faces"][0]
    assert set(face) == {"track", "box", "expression", "score", "scores"}
    assert len(face["box"]) == 4
    assert "60 frames" in done.stderr
    assert "AI Act" in done.stderr


def test_pictures_carry_their_file_name_and_both_sinks_get_everything(edgefer: Run, pictures: Path, tmp_path: Path) -> None:
    done = edgefer("run", "--source", f"images:{pictures}", "--sink", "jsonl:out.jsonl", "--sink", "snapshots:shots")
    assert done.returncode == 0, done.stderr
    assert "broken.jpg" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(line["source"], len(line["faces"])) for line in lines] == [
        ("face0.png", 1), ("face1.png", 1), ("face2.png", 1), ("wall.png", 0)
    ]  # fmt: skip
    assert len(list((tmp_path / "shots").glob("*.jpg"))) == 4


def test_without_a_camera_it_says_so_and_shows_the_demonstration(edgefer: Run, tmp_path: Path) -> None:
    if list(Path("/dev").glob("video*")):
        pytest.skip("there is a camera here")
    command = [sys.executable, "-m", "edgefer", "run"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(6)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        said = process.communicate(timeout=10)[1]
        assert time.monotonic() - begun < 3
    assert process.returncode == 0, said
    assert "no camera found" in said
    assert str(tmp_path / "snapshots") in said
    assert "frames/s" in said
    assert list((tmp_path / "snapshots").glob("*.jpg"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--source", "file:/nowhere.mp4", "--sink", "jsonl:-"], "no such file"),
        (["run", "--source", f"file:{__file__}", "--sink", "jsonl:-"], "not a video"),
        (["run", "--source", "opencv:63", "--sink", "jsonl:-"], "no camera answers at /dev/video63"),
        (["run", "--source", "http://127.0.0.1:9/x.mjpg", "--sink", "jsonl:-"], "nobody answers there"),
        (["run", "--model", "my.keras"], "make convert MODEL=my.keras"),
        (["run", "--source", "nonsense", "--sink", "jsonl:-"], "is not a spec"),
        (["run", "--source", "synthetic:", "--sink", "kafka://x"], "no sink 'kafka'"),
        (["run", "--model", "/nowhere.tflite"], "no such model"),
        (["run", "--config", "/nowhere.toml"], "no such file"),
        (["run", "--source", "synthetic:", "--sink", "display:"], "display:"),
        (["show", "/nowhere.tflite"], "no such model"),
        (["show", "huge"], "no model 'huge'"),
        (["check-config", "/nowhere.toml"], "no such file"),
        (["bench", "--frames", "1"], "at least 2"),
    ],
)
def test_bad_input_is_one_clear_line_and_a_failure(edgefer: Run, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    done = edgefer(*arguments)
    assert done.returncode == 1
    assert said in one_line(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_model_is_refused_in_one_line(edgefer: Run, tmp_path: Path, damage: str) -> None:
    content = bytearray(find_model("small").read_bytes())
    content[1000] ^= 1
    broken = {"truncated": content[:5000], "flipped": content, "empty": b""}[damage]
    (tmp_path / "bad.tflite").write_bytes(bytes(broken))
    done = edgefer("run", "--source", "synthetic:?seconds=1", "--sink", "jsonl:-", "--model", "bad.tflite")
    assert done.returncode == 1
    assert "bad.tflite" in one_line(done.stderr)


def test_a_wrong_flag_or_no_verb_shows_the_usage(edgefer: Run) -> None:
    for arguments in ([], ["fly"], ["run", "--nonsense"]):
        done = edgefer(*arguments)
        assert done.returncode == 2
        assert "usage: edgefer" in done.stderr


def test_help_teaches_with_examples(edgefer: Run) -> None:
    done = edgefer("run", "--help")
    assert done.returncode == 0
    for word in ("picamera:", "opencv:0", "images:", "synthetic:", "jsonl:-", "snapshots:", "display:"):
        assert word in done.stdout


def test_show_prints_the_facts_of_the_default_model_as_json(edgefer: Run) -> None:
    done = edgefer("show", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    path = Path(facts["path"])
    assert path.stat().st_size == facts["size"]
    assert len(facts["sha256"]) == 64
    assert len(facts["labels"]) == 7
    assert facts["input"] == {"shape": [1, 48, 48, 1], "dtype": "uint8", "quantization": {"scale": 1.0, "zero_point": 0}}
    assert facts["metrics"]["int8_accuracy"] >= 0.6
    assert facts["provenance"]["recipe"] == "small"


def test_show_is_readable_without_json(edgefer: Run) -> None:
    done = edgefer("show")
    assert "labels     angry, disgust, fear, happy, sad, surprise, neutral" in done.stdout


def test_doctor_finds_this_machine_fit_and_names_a_bad_model(edgefer: Run, tmp_path: Path) -> None:
    done = edgefer("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert {"python", "opencv", "runtime", "model", "xnnpack", "camera"} <= set(checks)
    assert checks["model"]["state"] == "pass"
    assert checks["xnnpack"]["state"] == "pass"
    assert done.returncode == (1 if any(check["state"] == "fail" for check in checks.values()) else 0)
    (tmp_path / "bad.tflite").write_bytes(b"x" * 1000)
    done = edgefer("doctor", "--model", "bad.tflite")
    assert done.returncode == 1
    assert "fail  model" in done.stdout
    assert "fix:" in done.stdout


def test_check_config_accepts_a_good_file_and_names_the_key_of_a_bad_one(edgefer: Run, tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text('source = "opencv:0"\nsinks = ["jsonl:-"]\n')
    assert edgefer("check-config", "good.toml").returncode == 0
    for text, said in (
        ("[detector]\nscale = 1.2\n", "did you mean 'scale_factor'?"),
        ('source = "webcam:0"\n', "no source 'webcam'"),
        ('sinks = ["jsonl"]\n', "is not a spec"),
        ('[detector]\nname = "magic"\n', "no detector 'magic'"),
        ('[detector]\nphoto_name = "blazefase"\n', "no detector 'blazefase'"),
        ('sinks = ["snapshots:d?keap=3"]\n', "did you mean 'keep'?"),
        ('sinks = ["snapshots:"]\n', "no folder given"),
        ('sinks = ["jsonl:"]\n', "write jsonl:PATH or jsonl:-"),
        ('sinks = ["status:foo"]\n', "takes no path"),
        ('sinks = ["display:foo"]\n', "takes no path"),
        ('model = "huge"\n', "no model 'huge'"),
        ('threads = 1\nsource = "opencv:zero"\n', "bad.toml, line 2: opencv:zero: a camera is a number"),
        ('source = "opencv:0?fourcc=MJPEG"\n', "fourcc is four letters"),
        ('source = "picamera:?rotation=45"\n', "key 'rotation'"),
        ('source = "picamera:1"\n', "takes no path"),
        ('source = "synthetic:?size=9x9"\n', "not between 160x120"),
        ('source = "synthetic:?face=1"\n', "did you mean 'faces'?"),
        ('source = "images:"\n', "no folder given"),
        ('source = "file:"\n', "no file given"),
        ('source = "file:a.mp4?fps=2"\n', "unknown key 'fps'"),
        (
            'source = "rtsp://me:pa/ss@camera/live"\n',
            "rtsp://…@camera/live: not a camera's address; write rtsp://host/path; in a user or a",
        ),
        ('source = "rtsp://camera/live#timeout=5"\n', "did you mean 'timeout_s'?"),
        ('threads = 1\n\nsinks = ["status:", "jsonl"]\n', "bad.toml, line 3: 'jsonl' is not a spec"),
        ('[detector]\nphoto_name = "blazefase"\n', "bad.toml, line 2: no detector"),
        (
            '[[action]]\ncommand = ["true"]\n[[action]]\ncommand = ["no-such x"]\n',
            "bad.toml, line 3: action number 2: no program 'no-such'",
        ),
    ):
        (tmp_path / "bad.toml").write_text(text)
        done = edgefer("check-config", "--config", "bad.toml")
        assert done.returncode == 1
        assert said in one_line(done.stderr)
        assert "bad.toml" in done.stderr


def test_flags_win_over_the_configuration_file(edgefer: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('source = "file:/nowhere.mp4"\nsinks = ["jsonl:config.jsonl"]\n')
    source = "synthetic:?seconds=0.3&paced=false&size=160x120"
    done = edgefer("run", "--config", "config.toml", "--source", source)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "config.jsonl").read_text().splitlines()) == 9


def test_a_reader_that_goes_away_ends_the_run_without_an_error(edgefer: Run, tmp_path: Path) -> None:
    command = f"{sys.executable} -m edgefer run --source 'synthetic:?paced=false&size=160x120' --sink jsonl:- | head -n 2"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr


def test_the_benchmark_compares_with_the_naive_loop(edgefer: Run) -> None:
    done = edgefer("bench", "--frames", "40", "--source", "synthetic:?paced=false&size=320x240", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["frames"] == 40
    assert report["with_face"] >= 38
    assert set(report["stages"]) == STAGES - {"capture"}
    assert report["edgefer"]["frames_per_s"] > 0
    assert report["naive"]["cpu_ms_per_frame"] > 0
    assert report["cpu_ratio"] == pytest.approx(report["naive"]["cpu_ms_per_frame"] / report["edgefer"]["cpu_ms_per_frame"])
    assert report["cpu_ratio"] > 3, "a drawn face: 14 is usual"
    assert report["peak_rss_mb"] > 10
    assert report["start_up_s"] > 0
    assert report["machine"]["board"]
    assert {(invoke["file"], invoke["threads"]) for invoke in report["invokes"]} >= {("small-int8.tflite", 1)}
    second_opinion = importlib.util.find_spec("ai_edge_litert") and importlib.util.find_spec("ml_dtypes")
    assert bool(report["litert_tool_ms"]) == bool(second_opinion)


REFERENCES = sorted((Path(__file__).parents[3] / "models" / "bench").glob("*.json"))


@pytest.mark.skipif(not REFERENCES, reason="no models/bench here: this is not a checkout")
def test_the_reference_figures_can_be_compared_with() -> None:
    for path in REFERENCES:
        report = read_report(path)
        assert "edgefer's CPU over the naive loop's" in difference(report, report, path.name)


def test_the_benchmark_shows_a_table_a_row_a_chart_and_the_difference_from_before(edgefer: Run, tmp_path: Path) -> None:
    short = ("bench", "--frames", "10", "--source", "synthetic:?paced=false&size=320x240")
    (tmp_path / "before.json").write_text(edgefer(*short, "--json").stdout)
    chart = ["--chart", "chart.png"] if importlib.util.find_spec("matplotlib") else []
    done = edgefer(*short, "--against", "before.json", *chart)
    assert done.returncode == 0, done.stderr
    for said in ("naive int8 loop", "peak memory", "against before.json", "now/then"):
        assert said in done.stdout
    if chart:
        picture = cv2.imread(str(tmp_path / "chart.png"))
        assert picture is not None
        assert picture.std() > 3
    row = edgefer(*short, "--markdown").stdout.splitlines()
    assert len(row) == 3
    assert len({line.count("|") for line in row}) == 1


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_figures_that_cannot_be_compared_with_are_one_line(edgefer: Run, tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "before.json").write_text(content)
    done = edgefer("bench", "--against", "before.json")
    assert done.returncode == 1
    assert "--against before.json" in one_line(done.stderr)


def test_a_full_disk_is_said_and_the_run_counts_as_failed(edgefer: Run) -> None:
    done = edgefer("run", "--source", "synthetic:?paced=false&seconds=0.5&size=160x120", "--sink", "jsonl:/dev/full")
    assert done.returncode == 1
    assert "15 observations could not be written" in done.stderr
    assert done.stderr.count("No space left") == 1


def test_a_stop_is_heard_while_nobody_reads_the_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgefer", "run", "--source", "synthetic:?paced=false&size=160x120", "--sink", "jsonl:-"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        time.sleep(5)
        process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        process.wait(timeout=10)
        assert time.monotonic() - begun < 3
    assert process.returncode == 0


def test_without_opencv_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['cv2'] = None; from edgefer.cli.main import main; sys.exit(main(['run', '--source', 'synthetic:']))"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "apt install python3-opencv" in one_line(done.stderr)
