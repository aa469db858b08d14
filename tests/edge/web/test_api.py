from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

pytest.importorskip("starlette", reason="the extra 'web' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'web' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'web' is not installed")

from web_client import Answer, Serve, Stream, ask, put, seen

from edgefer.model.describe import describe
from edgefer.output import About
from edgefer.regions import Regions
from edgefer.sinks.web import Web
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box
from edgefer.web import answers, app
from edgefer.web.openapi import OPERATIONS, Operation
from edgefer.web.picture import pixelate


def test_the_state_has_the_faces_and_the_health_of_the_run(serve: Serve, patient: None) -> None:
    sink = serve()
    assert ask(sink, "/api/state").json["observation"] is None
    assert ask(sink, "/readyz").status == 503
    sink.write(seen(7, faces=2))
    state = ask(sink, "/api/state").json
    assert (state["version"], state["source"], state["model"], state["labels"]) == ("1.2.3", "test camera", "toy", ["happy", "sad"])
    assert [face["track"] for face in state["observation"]["faces"]] == [1, 2]  # type: ignore[index]
    vitals = state["vitals"]
    assert isinstance(vitals, dict)
    assert (vitals["camera"], vitals["frames"], vitals["dropped"]) == ("live", 1, 2)
    assert vitals["memory_mb"] > 10
    assert ask(sink, "/readyz").status == ask(sink, "/healthz").status == 200


def test_the_model_has_every_fact_but_the_path_of_its_file(serve: Serve) -> None:
    sink = serve()
    assert ask(sink, "/api/model").json == {"name": "toy", "sha256": "abc", "labels": ["happy", "sad"]}
    facts = describe("nano")
    sink.begin(About("1", "test", lambda: facts, ()))
    assert ask(sink, "/api/model").json == {name: fact for name, fact in facts.items() if name != "path"}


def test_events_bring_states_and_faces(serve: Serve, every_observation: None) -> None:
    sink = serve()
    with closing(Stream(sink)) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        assert stream.next("state")["observation"] is None
        for index in (4, 5):
            sink.write(seen(index))
            assert stream.next("faces")["frame"] == index
        assert stream.next("state")["vitals"]["frames"] == 2  # type: ignore[index]


def test_at_most_ten_observations_a_second_are_shown(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgefer.web import live

    sink = serve()
    assert live.MIN_INTERVAL_S == 0.1
    monkeypatch.setattr(live, "MIN_INTERVAL_S", 60.0)
    for index in range(50):
        sink.write(seen(index))
    state = ask(sink, "/api/state").json
    assert state["observation"]["frame"] == 0  # type: ignore[index]
    assert state["vitals"]["frames"] == 50  # type: ignore[index]


def test_pictures_are_encoded_on_request_and_once_for_all_readers(
    serve: Serve, every_observation: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, encoded = serve(), []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *arguments: encoded.append(1) or encode(*arguments))
    for index in range(5):
        sink.write(seen(index))
    assert encoded == []
    pictures = {ask(sink, "/api/picture").body for _ in range(4)}
    assert len(encoded) == len(pictures) == 1


def test_a_picture_is_the_frame_and_has_its_index(serve: Serve) -> None:
    scene = Scene(SyntheticOptions(size="320x240"))
    sink = serve()
    assert ask(sink, "/api/picture").status == 204
    sink.write(seen(30, bgr=scene.draw(30)))
    answer = ask(sink, "/api/picture")
    picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert answer.headers["edgefer-frame"] == "30"
    assert np.abs(picture.astype(int) - scene.draw(30)).mean() < 5
    boxed = cv2.imdecode(np.frombuffer(ask(sink, "/api/picture?boxes=true").body, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(boxed.astype(int) - picture).max() > 60
    assert ask(sink, "/api/picture?boxes=maybe").status == 400


def test_large_frames_are_shrunk_before_they_are_shown(serve: Serve) -> None:
    sink = serve()
    sink.write(seen(bgr=np.zeros((1080, 1920, 3), np.uint8)))
    assert cv2.imdecode(np.frombuffer(ask(sink, "/api/picture").body, np.uint8), cv2.IMREAD_COLOR).shape == (540, 960, 3)


def test_a_pixelated_picture_has_blocks_everywhere_and_larger_ones_on_faces() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    blocks = pixelate(noise, [Box(100, 60, 96, 96)])
    assert len(np.unique(blocks[0, :, 0])) <= 40, "a face that was not found is hidden too"
    assert len(np.unique(blocks[100, 100:196, 0])) <= 6
    outside = pixelate(noise, [Box(-50, -50, 80, 80), Box(300, 200, 90, 90), Box(1000, 1000, 50, 50)])
    assert outside.shape == noise.shape


def test_the_privacy_level_hides_what_it_promises(serve: Serve, every_observation: None) -> None:
    sink = serve()
    sink.write(seen(bgr=Scene(SyntheticOptions(size="320x240")).draw(0)))
    clear = ask(sink, "/api/picture").body
    assert put(sink, "pixelated").json["show"] == "pixelated"
    assert ask(sink, "/api/picture").body != clear
    put(sink, "faces")
    assert ask(sink, "/api/picture").status == 204
    assert ask(sink, "/api/state").json["observation"]
    put(sink, "totals")
    assert ask(sink, "/api/state").json["observation"] is None
    assert ask(sink, "/api/picture").status == 204
    with closing(Stream(sink)) as stream:
        sink.write(seen(9))
        # The first state comes at once, the second a second later: a faces event would come between them.
        lines = b"".join(stream.answer.readline() for _ in range(6))
        assert lines.count(b"event: state") == 2
        assert lines.count(b'"observation":null') == 2
    assert put(sink, "pictures").status == 200
    assert ask(sink, "/api/picture").status == 200


def test_nobody_can_show_more_than_the_configuration_allows(serve: Serve) -> None:
    sink = serve(show="faces")
    sink.write(seen())
    assert put(sink, "pictures").status == put(sink, "pixelated").status == 403
    assert ask(sink, "/api/state").json["allowed"] == ["totals", "faces"]
    assert ask(sink, "/api/picture").status == 204
    for wrong in ("", "{}", '{"show": "all"}', '{"show": "faces", "more": 1}', "\xff", "[" * 600, " " * 5000 + '{"show": "faces"}'):
        assert ask(sink, "/api/privacy", "PUT", wrong).status == 400


def post(sink: Web, regions: object, **headers: str) -> Answer:
    """Ignore other regions."""
    return ask(sink, "/api/ignore", "POST", json.dumps({"regions": regions}), content_type="application/json", **headers)


def test_ignored_regions_are_changed_only_while_pictures_are_shown_and_by_this_site(serve: Serve) -> None:
    sink, applied = serve(), list[object]()
    regions = Regions([], applied.append, None)
    sink.begin(About("1.2.3", "test camera", lambda: {"name": "toy", "labels": []}, (), regions))
    poster = [0.25, 0.1, 0.5, 0.3]
    assert ask(sink, "/api/ignore").json["regions"] == []
    answer = post(sink, [poster])
    assert (answer.status, answer.json["regions"], answer.json["editable"]) == (200, [poster], True)
    assert "--config" in str(answer.json["why_not_kept"])
    assert post(sink, [], Origin="http://elsewhere.example").status == 403
    for wrong in ([[0, 0, 1]], [[2, 0, 1, 1]], "all", 40 * [poster]):
        assert post(sink, wrong).status == 400
    put(sink, "faces")
    assert post(sink, []).status == 403
    assert ask(sink, "/api/ignore").json == {"regions": [poster], "editable": False, "why_not_kept": answer.json["why_not_kept"]}
    assert applied == [(tuple(poster),)]


def test_a_clock_that_is_set_makes_nothing_unready(serve: Serve, patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sink, now = serve(), time.time
    sink.write(seen())
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    assert ask(sink, "/readyz").status == 200


@pytest.mark.parametrize("query", ["from=soon", "from=", "bucket=x", "bucket=-60", "bucket=0", "bucket=99999999999", "to=2026-99-99"])
def test_a_wrong_query_of_the_history_is_refused_with_a_reason(serve: Serve, query: str) -> None:
    answer = ask(serve(), f"/api/history?{query}")
    assert (answer.status, list(answer.json)) == (400, ["error"])


def test_a_history_with_too_many_buckets_gets_longer_ones(serve: Serve) -> None:
    answer = ask(serve(), "/api/history?from=0&to=4102444800&bucket=60").json
    assert 4102444800 / answer["bucket_s"] <= app.MAX_BUCKETS  # type: ignore[operator]


def test_a_run_without_new_frames_is_not_ready(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READY_S", 0.0)
    sink = serve()
    sink.write(seen())
    assert (ask(sink, "/readyz").status, ask(sink, "/healthz").status) == (503, 200)


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.path != "/api/events"], ids=lambda one: one.path)
def test_every_answer_has_the_type_in_the_description(serve: Serve, operation: Operation) -> None:
    sink = serve()
    bodies = {answers.PrivacyChange: '{"show": "pictures"}', answers.IgnoreRegions: '{"regions": [[0, 0, 1, 0.5]]}'}
    body = bodies[operation.body] if operation.body else None
    for _ in ("no frame yet", "a frame"):
        answer = ask(sink, operation.path, operation.method, body)
        reply = operation.replies[answer.status]
        if reply.content:
            assert answer.headers["content-type"].partition(";")[0] == reply.media_type
        if isinstance(reply.content, type):
            msgspec.json.decode(answer.body, type=reply.content)
        sink.write(seen())
    refused = ask(sink, operation.path, "DELETE")
    assert (refused.status, list(refused.json)) == (405, ["error"])


def test_every_event_has_the_type_in_the_description(serve: Serve) -> None:
    sink = serve()
    sink.write(seen())
    with closing(Stream(sink)) as stream:
        assert msgspec.convert(stream.next("state"), answers.State).vitals.frames == 1
        assert msgspec.convert(stream.next("faces"), answers.Observation).faces[0].expression == "happy"


def test_the_description_has_every_operation_with_its_answers_and_its_security(serve: Serve) -> None:
    description = ask(serve(), "/openapi.json").json
    paths = description["paths"]
    assert isinstance(paths, dict)
    assert {(path, method.upper()) for path, item in paths.items() for method in item} == {
        (operation.path, operation.method) for operation in OPERATIONS
    }
    assert [path for path, item in paths.items() if item.get("get", {}).get("security") == []] == ["/healthz", "/readyz"]
    schemas = description["components"]["schemas"]  # type: ignore[index]
    for item in paths.values():
        for operation in item.values():
            assert {"200", "400", "401", "403", "421", "429"} <= set(operation["responses"])
    assert schemas["Vitals"]["properties"]["silent_s"]["description"]
    assert all(schema["additionalProperties"] is False for schema in schemas.values())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("schemathesis", path=str(Path(sys.executable).parent)) is None, reason="schemathesis is not installed")
def test_the_api_fits_its_description_for_generated_requests(serve: Serve, tmp_path: Path) -> None:
    sink, done = serve(), threading.Event()

    def feed(sink: Web) -> None:
        while not done.wait(0.2):
            sink.write(seen())

    feeder = threading.Thread(target=feed, args=(sink,))
    feeder.start()
    address = str(sink.address)
    # The stream has no end; another test checks its content.
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{address}/openapi.json", "--url", address]
    options = ["--exclude-path", "/api/events", "--max-examples", "8", "--seed", "1", "--no-color", "--phases", "coverage,fuzzing"]
    try:
        run = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=400)
    finally:
        done.set()
        feeder.join()
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
