from __future__ import annotations

import numpy as np
import pytest
from face_search import FaceSearch, after_static, drawn

from edgefer.pipeline.known_faces import KnownFaceSearch
from edgefer.pipeline.motion import COLUMNS, ROWS, Motion
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Pixels, Track, TrackState

BOTH = pytest.mark.parametrize("new", ["haar", "blazeface"])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SyntheticOptions())


def test_while_nothing_moves_nothing_is_searched_and_faces_stay(scene: Scene) -> None:
    static = drawn(scene, 0)
    search = after_static(static)
    tracks = [search.see(static, frame / 30) for frame in range(3, 140)]
    assert [[track.state for track in seen] for seen in tracks] == [[TrackState.STATIC]] * len(tracks)
    assert search.known.calls == []
    search.see(static, 5.1)
    assert search.known.calls == [(360, 480, 24, 0)], "the whole frame is searched once in a while"


def test_a_moving_face_is_tracked_with_a_fiftieth_of_the_pixels(scene: Scene) -> None:
    search = FaceSearch()
    for frame in range(10):
        search.see(drawn(scene, frame), frame / 30)
    search.known.calls.clear()
    for frame in range(10, 100):
        (track,) = search.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.5
    assert search.known.take_pixels() < 90 * 640 * 480 / 50


def test_a_moving_face_is_searched_ten_times_a_second_and_skipped_in_between(scene: Scene) -> None:
    search = FaceSearch()
    states = [track.state for frame in range(60) for track in search.see(drawn(scene, frame), frame / 30)]
    assert states[6:] == [TrackState.FOUND, TrackState.SKIPPED, TrackState.SKIPPED] * 18


@BOTH
def test_a_face_that_leaves_is_dropped_within_half_a_second(scene: Scene, new: str) -> None:
    search, empty = FaceSearch(new), drawn(Scene(SyntheticOptions(faces=0)), 0)
    for frame in range(60):
        search.see(drawn(scene, frame), frame / 30)
    still_there = [frame for frame in range(60, 90) if search.see(empty, frame / 30)]
    assert (still_there[-1] - 60) / 30 <= 0.5


@BOTH
def test_a_face_that_leaves_while_everything_changes_is_dropped_too(scene: Scene, new: str) -> None:
    grey = np.full((480, 640), 128, np.uint8)
    for last in range(50, 60):
        search = FaceSearch(new)
        for frame in range(last):
            search.see(drawn(scene, frame), frame / 30)
        still_there = [frame for frame in range(30) if search.see(grey, (last + frame) / 30)]
        assert still_there[-1] / 30 <= 0.5


def test_between_detections_a_face_is_found_by_its_template(scene: Scene) -> None:
    search = FaceSearch("blazeface")
    for frame in range(90):
        (track,) = search.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.7
    detections = [largest for *_, largest in search.known.calls if largest]
    assert 6 <= len(detections) <= 11, "in three seconds; ten a second without the template"


def test_a_candidate_is_confirmed_by_a_detector_not_by_its_template(scene: Scene) -> None:
    search = FaceSearch(min_hits=3)
    search.known.unsure = True
    assert search.see(drawn(scene, 0), 0.0) == search.see(drawn(scene, 1), 1 / 30) == []
    search.known.blind = True
    assert all(search.see(drawn(scene, frame), frame / 30) == [] for frame in range(2, 60))


def test_the_search_changes_none_of_its_arguments(scene: Scene) -> None:
    luma, box = drawn(scene, 0), scene.truth(0)[0].box
    moved = np.ones((ROWS, COLUMNS), bool)
    track = Track(1, box, 0.0, seen_s=0.0, searched_s=0.0, confirmed=True)
    before = luma.copy()
    known = KnownFaceSearch(FaceSearch().known, confirms=True).search(luma, Motion(moved, (16, 16)), 1.0, [track])
    assert [track.state for track in known.tracks] == [TrackState.FOUND]
    assert moved.all()
    assert np.array_equal(luma, before)
    assert track.state is TrackState.FOUND


@pytest.mark.parametrize(
    ("confirmed", "missed", "moved", "age_s", "state"),
    [
        (True, False, False, 1.0, TrackState.STATIC),
        (True, False, True, 0.05, TrackState.SKIPPED),
        (True, True, False, 0.05, TrackState.SKIPPED),
        (True, True, False, 1.0, TrackState.LOST),
        (True, False, True, 1.0, TrackState.LOST),
        (True, False, True, -1.0, TrackState.LOST),
        (False, False, False, 0.05, TrackState.LOST),
    ],
)
def test_the_state_of_a_track_on_a_wall(confirmed: bool, missed: bool, moved: bool, age_s: float, state: TrackState) -> None:
    wall: Pixels = np.full((480, 640), 128, np.uint8)
    seen_s = 9.0 - missed
    track = Track(1, Box(300, 200, 80, 80), 0.0, seen_s=seen_s, searched_s=9.0, confirmed=confirmed)
    motion = Motion(np.full((ROWS, COLUMNS), moved), (16, 16))
    known = KnownFaceSearch(FaceSearch("blazeface").known, confirms=False).search(wall, motion, 9.0 + age_s, [track])
    assert [track.state for track in known.tracks] == [state]
    assert known.searched.any() == (state is TrackState.LOST)
    assert known.skipped.any() == (state is TrackState.SKIPPED)
    assert not known.unexplained[motion.cells(track.box)].any()
