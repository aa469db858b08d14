from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, replace

import numpy as np

from edgefer.luma import colour_frame
from edgefer.model.classifier import Classifier
from edgefer.pipeline.motion import Gate
from edgefer.pipeline.stages import Pipeline
from edgefer.settings import Settings
from edgefer.sources.drawn import BODY_SIDE, BODY_TOP, LEFT, PRESETS, TOP, DrawnFace, Expression, Pose, backdrop, paste
from edgefer.types import Frame, Observation, Pixels

Person = tuple[DrawnFace, float, str, Callable[[float], float]]
"""A face, its unit in pixels, its expression, and its x at a time."""


def scene(people: list[Person], seconds: float, fps: int, wall: Callable[[float], Pixels | None] = lambda _: None) -> Iterator[Frame]:
    """Frames of 640x480; those named later stand in front. ``wall``: another one at a time."""
    noise = np.random.default_rng(0)
    for index in range(round(seconds * fps)):
        time_s = index / fps
        behind = wall(time_s)
        bgr = backdrop(640, 480) if behind is None else behind.copy()
        for face, unit, preset, x in people:
            at, pose = list(PRESETS).index(preset), Pose(x(time_s), 240, unit, 0.0)
            paste(bgr, face.body, (-BODY_SIDE, BODY_TOP), face.body_k, pose, endless=True)
            paste(bgr, face.draw(at, at, 0.0, Expression(*astuple(PRESETS[preset])), time_s), (LEFT, TOP), face.k, pose)
        noisy = np.clip(bgr + np.rint(noise.normal(0, 2, bgr.shape)), 0, 255).astype(np.uint8)
        yield colour_frame(index, time_s, noisy)


def walk(begin: float, end: float, from_s: float, to_s: float) -> Callable[[float], float]:
    return lambda time_s: begin + (end - begin) * min(1.0, max(0.0, (time_s - from_s) / (to_s - from_s)))


def observe(classifier: Classifier, frames: Iterator[Frame]) -> list[Observation]:
    pipeline = Pipeline(Settings(), classifier, tracked=True)
    return [pipeline.process(frame) for frame in frames]


def crossing(to_s: float, fps: int) -> Iterator[Frame]:
    sad: Person = (DrawnFace(3, 1, 56), 56, "sad", walk(500, 140, 1, to_s))
    happy: Person = (DrawnFace(0, 0, 62), 62, "happy", walk(140, 500, 1, to_s))
    return scene([sad, happy], to_s + 1, fps)


def test_ids_survive_a_crossing_slow_and_fast(classifier: Classifier) -> None:
    for to_s, fps in ((2.2, 30), (1.8, 30), (2.5, 15)):
        seen = observe(classifier, crossing(to_s, fps))
        left, right = sorted(seen[5].faces, key=lambda face: face.box.x)
        after = sorted(seen[-1].faces, key=lambda face: face.box.x)
        assert [face.track for face in after] == [right.track, left.track], (to_s, fps)
        assert {face.track for one in seen for face in one.faces} == {left.track, right.track}, (to_s, fps)


def test_a_hidden_face_keeps_its_last_label(classifier: Classifier) -> None:
    """While it is hidden its box stands still, and the one in front walks on."""
    before: dict[int, tuple[object, str]] = {}
    ghosts = 0
    for observation in observe(classifier, crossing(2.2, 30))[30:70]:
        for face in observation.faces:
            box, label = before.get(face.track, (None, ""))
            if box == face.box:
                ghosts += 1
                assert face.expression == label
            before[face.track] = face.box, face.expression
    assert ghosts > 5


def test_a_cut_begins_with_new_tracks_and_a_lamp_does_not(classifier: Classifier) -> None:
    here: list[Person] = [(DrawnFace(0, 0, 70), 70, "happy", lambda _: 320.0)]
    elsewhere = np.ascontiguousarray(255 - np.tile(np.linspace(0, 220, 640, dtype=np.uint8)[None, :, None], (480, 1, 3)))
    seen = observe(classifier, scene(here, 2, 30, lambda time_s: elsewhere if time_s >= 1 else None))
    before, after = ({face.track for one in part for face in one.faces} for part in (seen[:30], seen[30:]))
    assert before == {1}
    assert after == {2}
    lamp = (frame if frame.time_s < 1 else replace(frame, luma=frame.luma // 5 * 3) for frame in scene(here, 2, 30))
    seen = observe(classifier, lamp)
    assert {face.track for one in seen for face in one.faces} == {1}


def test_a_gate_tells_a_cut_from_a_lamp_from_a_pan_and_from_a_person() -> None:
    y, x = np.mgrid[0:480, 0:700]
    wide = np.clip(120 + 60 * np.sin(x / 40) + 40 * np.cos(y / 30), 0, 255).astype(np.uint8)
    room = wide[:, :640]
    nearer = room.copy()
    nearer[100:, 100:500] = 30
    for after, cut in ((255 - room, True), (room // 2, False), (wide[:, 8:648], False), (nearer, False), (room, False)):
        gate = Gate(6.0)
        assert not gate.compare(room).cut
        assert gate.compare(np.ascontiguousarray(after)).cut is cut
        assert not gate.compare(np.ascontiguousarray(after)).cut
