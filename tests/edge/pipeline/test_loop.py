from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from edgefer.detectors import Detector, open_detector
from edgefer.errors import SourceError
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.output import QuitRun, Sink
from edgefer.pipeline.loop import Pipeline, run
from edgefer.settings import ClassifySettings, DetectorSettings, GateSettings, Settings, SmoothSettings
from edgefer.sources import Source, open_source
from edgefer.sources.synthetic import Synthetic
from edgefer.types import Box, CameraState, Frame, Observation


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(find_model("small"))


def pipeline(classifier: Classifier, tracked: bool = True, **settings: object) -> Pipeline:
    changed = msgspec.structs.replace(Settings(), **settings)
    ticks = itertools.count()
    return Pipeline(changed, classifier, tracked, clock=lambda: next(ticks) / 1000)


class Memory(Sink):
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def write(self, observation: Observation) -> None:
        self.seen.append(observation)

    def close(self) -> None: ...


def observe(classifier: Classifier, spec: str, **settings: object) -> list[Observation]:
    source, memory = open_source(spec), Memory()
    run(source, pipeline(classifier, source.tracked, **settings), [memory], threading.Event(), timeout_s=5)
    return memory.seen


def test_a_drawn_face_is_seen_in_nearly_every_frame_under_one_id(classifier: Classifier) -> None:
    seen = observe(classifier, "synthetic:?paced=false&seconds=4&size=320x240")
    assert len(seen) == 120
    assert sum(len(observation.faces) == 1 for observation in seen) / len(seen) >= 0.95
    assert {face.track for observation in seen for face in observation.faces} == {1}


def test_boxes_lie_on_the_drawn_faces(classifier: Classifier) -> None:
    source = open_source("synthetic:?paced=false&seconds=3&faces=2")
    assert isinstance(source, Synthetic)
    memory = Memory()
    run(source, pipeline(classifier), [memory], threading.Event(), timeout_s=5)
    overlaps = [
        max((face.box.iou(truth.box) for face in observation.faces), default=0.0)
        for observation in memory.seen[3:]
        for truth in source.scene.truth(observation.frame.index)
    ]
    assert np.mean(np.array(overlaps) >= 0.5) >= 0.98


def test_every_face_has_a_label_and_scores_of_the_models_classes(classifier: Classifier) -> None:
    faces = [face for seen in observe(classifier, "synthetic:?paced=false&seconds=1&size=320x240") for face in seen.faces]
    for face in faces:
        assert face.expression in (*classifier.labels, "uncertain")
        assert tuple(face.scores) == classifier.labels
        assert face.score == pytest.approx(max(face.scores.values()))
        assert sum(face.scores.values()) == pytest.approx(1, abs=0.03)


def test_labels_change_with_the_expressions_drawn(classifier: Classifier) -> None:
    seen = observe(classifier, "synthetic:?paced=false&seconds=25.2&fps=6")
    assert len(Counter(face.expression for observation in seen for face in observation.faces)) >= 3


def test_a_replay_gives_the_same_observations_to_the_last_digit(classifier: Classifier) -> None:
    first, again = (observe(classifier, "synthetic:?paced=false&seconds=1&size=320x240") for _ in range(2))
    # All but the waiting for the frame, which is real time.
    assert [(o.faces, {**o.timings_ms, "capture": 0}) for o in first] == [(o.faces, {**o.timings_ms, "capture": 0}) for o in again]


def test_a_still_scene_is_rarely_searched_and_its_face_stays(classifier: Classifier) -> None:
    calls: list[int] = []
    changed = Settings()
    detector = open_detector("haar", changed.detector)

    class Counting(Detector):
        def __call__(self, luma: np.ndarray, *how: object) -> list[Box]:
            calls.append(1)
            return detector(luma, *how)

    line = Pipeline(changed, classifier, True, Counting())
    source = open_source("synthetic:?paced=false&seconds=3&size=320x240&still=true")
    seen = [line.process(frame) for frame in source]
    assert all(len(observation.faces) == 1 for observation in seen[2:])
    assert len(calls) <= 3


def classified(classifier: Classifier, scores: list[list[float]] | None = None, **how: float) -> int:
    """How many faces are classified in four seconds of a drawn face; ``scores``, in turn, take the place of the model's."""
    asked: list[int] = []

    class Counted:
        card, labels, identity = classifier.card, classifier.labels, classifier.identity

        def __call__(self, crops: np.ndarray) -> np.ndarray:
            asked.append(len(crops))
            return np.float32([scores[len(asked) % len(scores)]] * len(crops)) if scores else classifier(crops)

    settings = msgspec.structs.replace(Settings(), classify=ClassifySettings(**how))
    line = Pipeline(settings, Counted(), tracked=True)  # type: ignore[arg-type]
    for frame in open_source("synthetic:?paced=false&seconds=4&size=320x240"):
        line.process(frame)
    return sum(asked)


def test_a_face_that_hardly_changes_is_classified_now_and_then(classifier: Classifier) -> None:
    assert classified(classifier, change=0.0) >= 30
    assert 7 <= classified(classifier, change=255.0) <= 11, "twice a second"


def test_a_face_is_classified_the_less_often_the_clearer_its_answers_agree(classifier: Classifier) -> None:
    clear, other, balanced = [0.9, 0.1, 0, 0, 0, 0, 0], [0.1, 0.9, 0, 0, 0, 0, 0], [0.45, 0.4, 0.15, 0, 0, 0, 0]
    always = classified(classifier, calm_s=0.0)
    assert classified(classifier, [clear]) < 0.6 * always
    assert classified(classifier, [clear], calm_s=0.0) == always
    assert classified(classifier, [clear, other]) == always, "answers that differ"
    assert classified(classifier, [balanced]) > always, "answers that hang in the balance"


def test_pictures_of_a_folder_are_not_tracked_from_one_to_the_next(classifier: Classifier, pictures: object) -> None:
    seen = observe(classifier, f"images:{pictures}")
    assert [(observation.frame.name, len(observation.faces)) for observation in seen] == [
        ("face0.png", 1), ("face1.png", 1), ("face2.png", 1), ("wall.png", 0)
    ]  # fmt: skip
    assert {face.track for observation in seen for face in observation.faces} == {1}


def test_a_picture_is_labelled_by_itself_whatever_came_before(classifier: Classifier, pictures: object) -> None:
    smooth = SmoothSettings(window_s=100.0)
    together = observe(classifier, f"images:{pictures}", smooth=smooth)
    alone = observe(classifier, f"images:{pictures}/face2.png", smooth=smooth)
    assert together[2].faces == alone[0].faces


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (48, 4000), (240, 320)])
def test_no_frame_size_breaks_the_loop(classifier: Classifier, shape: tuple[int, int]) -> None:
    assert pipeline(classifier).process(Frame(0, 0.0, np.zeros(shape, np.uint8))).faces == ()


def test_a_frame_that_fails_is_said_once_counted_and_skipped(classifier: Classifier, caplog: pytest.LogCaptureFixture) -> None:
    line = pipeline(classifier, gate=GateSettings(threshold=0), detector=DetectorSettings(every_s=0))
    good = open_detector("haar", DetectorSettings())

    class Sometimes(Detector):
        def __call__(self, luma: np.ndarray, *how: object) -> list[Box]:
            if luma[0, 0] == 7:
                raise ValueError("bad luma")
            return good(luma, *how)

    line._detector = Sometimes()
    line.restart(tracked=True)

    class Numbered(Source):
        description = "test"

        def __iter__(self) -> Iterator[Frame]:
            for index in range(20):
                yield Frame(index, index / 10, np.full((60, 80), 7 if index % 2 else 100, np.uint8))

        def close(self) -> None: ...

    memory = Memory()
    with caplog.at_level(logging.ERROR):
        summary = run(Numbered(), line, [memory], threading.Event(), timeout_s=1)
    assert (summary.frames, summary.faults, len(memory.seen)) == (10, 10, 10)
    assert caplog.text.count("bad luma") == 1
    assert "10 frames failed" in str(summary)


@pytest.mark.parametrize("set_s", [-86_400.0, 315_000_000.0])
def test_a_clock_that_is_set_stops_nothing_and_is_over_in_half_a_second(classifier: Classifier, set_s: float) -> None:
    """A Pi without a battery begins in the past, and jumps when the network tells it the time."""

    class Jumping(Source):
        description = "a camera whose clock is set"

        def __iter__(self) -> Iterator[Frame]:
            for frame in open_source("synthetic:?paced=false&seconds=4&size=320x240&seed=3"):
                away = frame.index >= 100  # the face goes at 3.3 s
                luma = np.full_like(frame.luma, 128) if away else frame.luma
                yield Frame(frame.index, 1.7e9 + frame.index / 30 + (set_s if frame.index >= 60 else 0), luma)

        def close(self) -> None: ...

    memory = Memory()
    summary = run(Jumping(), pipeline(classifier), [memory], threading.Event(), timeout_s=1)
    assert (summary.frames, summary.faults) == (120, 0)
    before, after, gone = memory.seen[59].faces, memory.seen[75].faces, memory.seen[115].faces
    assert len(before) == len(after) == 1
    assert after[0].box.iou(before[0].box) > 0.3
    assert gone == ()


class Camera(Source):
    """A live source whose every step the test decides."""

    live, description = True, "test camera"

    def __init__(self, frames: int, then: str) -> None:
        self.frames, self.then, self.released = frames, then, threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.frames):
            yield Frame(index, index / 30, np.zeros((60, 80), np.uint8))
        if self.then == "hang":
            self.released.wait(20)
        elif self.then == "fail":
            raise SourceError("test camera: unplugged")

    def close(self) -> None:
        self.released.set()


def test_a_camera_that_hangs_ends_the_run_with_an_error(classifier: Classifier) -> None:
    camera, begun = Camera(3, "hang"), time.monotonic()
    with pytest.raises(SourceError, match=r"no frame for 0\.6 s"):
        run(camera, pipeline(classifier), [], threading.Event(), timeout_s=0.6)
    assert time.monotonic() - begun < 5
    camera.close()


def test_a_silent_camera_is_reported_once_before_it_is_given_up(
    classifier: Classifier, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgefer.sources.camera_health.NOTICED_S", 0.3)
    camera, told = Camera(3, "hang"), list[str]()

    class Told(Memory):
        def camera(self, state: CameraState) -> None:
            told.append(state.how)

    with pytest.raises(SourceError, match="no frame for"):
        run(camera, pipeline(classifier), [Told()], threading.Event(), timeout_s=1.2)
    assert told == ["silent"]
    assert caplog.text.count("test camera: no frame for") == 1
    camera.close()


def test_a_camera_that_fails_ends_the_run_with_its_own_words(classifier: Classifier) -> None:
    with pytest.raises(SourceError, match="unplugged"):
        run(Camera(3, "fail"), pipeline(classifier), [], threading.Event(), timeout_s=5)


def test_a_live_source_drops_frames_when_the_loop_is_slow_and_counts_them(classifier: Classifier) -> None:
    memory = Memory()
    write = memory.write

    def slow(observation: Observation) -> None:
        time.sleep(0.05)
        write(observation)

    memory.write = slow  # type: ignore[method-assign]
    summary = run(open_source("synthetic:?seconds=1&size=160x120"), pipeline(classifier), [memory], threading.Event(), timeout_s=5)
    assert summary.frames < 30
    assert summary.dropped > 0
    assert summary.frames + summary.dropped <= 30
    indices = [observation.frame.index for observation in memory.seen]
    assert indices == sorted(indices)


def test_a_stop_ends_the_run_even_while_the_camera_hangs(classifier: Classifier) -> None:
    camera, stop = Camera(1, "hang"), threading.Event()

    class Stopper(Memory):
        def write(self, observation: Observation) -> None:
            threading.Timer(0.3, stop.set).start()

    begun = time.monotonic()
    assert run(camera, pipeline(classifier), [Stopper()], stop, timeout_s=30).frames == 1
    assert time.monotonic() - begun < 15, "it would hang for 20"
    camera.close()


def test_someone_in_front_of_a_window_can_quit(classifier: Classifier) -> None:
    class Window(Memory):
        def write(self, observation: Observation) -> None:
            super().write(observation)
            if len(self.seen) == 4:
                raise QuitRun

    assert run(open_source("synthetic:?paced=false&size=160x120"), pipeline(classifier), [Window()], threading.Event(), 5).frames == 4


def test_a_face_no_longer_found_keeps_its_last_answer(classifier: Classifier) -> None:
    source = open_source("synthetic:?paced=false&seconds=1&size=320x240")
    line = pipeline(classifier)
    for frame in source:
        seen = line.process(frame)
    assert seen.faces
    wall = np.random.default_rng(0).integers(0, 256, frame.luma.shape, np.uint8)
    after = line.process(Frame(frame.index + 1, frame.time_s + 0.1, wall))
    assert [(face.track, face.expression, face.scores) for face in after.faces] == [
        (face.track, face.expression, face.scores) for face in seen.faces
    ]
    assert line.process(Frame(frame.index + 2, frame.time_s + 1.0, wall)).faces == ()
