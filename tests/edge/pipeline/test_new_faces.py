from __future__ import annotations

import cv2
import numpy as np
import pytest
from face_search import FaceSearch, after_static, drawn

from edgefer.luma import luma_of
from edgefer.pipeline.known_faces import KnownFaces
from edgefer.pipeline.motion import Motion, no_cells
from edgefer.sources.synthetic import Scene, SyntheticOptions

BOTH = pytest.mark.parametrize("new", ["haar", "blazeface"])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SyntheticOptions())


def test_the_first_frame_is_searched_whole_and_a_sure_face_is_confirmed_at_once(scene: Scene) -> None:
    search = FaceSearch()
    (track,) = search.see(drawn(scene, 0), 0.0)
    assert search.known.calls[0] == (360, 480, 24, 0)
    assert track.box.iou(scene.truth(0)[0].box) > 0.7


def test_an_unsure_face_is_confirmed_when_it_is_found_again(scene: Scene) -> None:
    search = FaceSearch()
    search.known.unsure = True
    assert search.see(drawn(scene, 0), 0.0) == []
    (track,) = search.see(drawn(scene, 1), 1 / 30)
    assert track.box.iou(scene.truth(1)[0].box) > 0.7


@BOTH
def test_a_face_that_appears_is_confirmed_within_half_a_second(scene: Scene, new: str) -> None:
    empty = drawn(Scene(SyntheticOptions(faces=0)), 0)
    for first in range(100, 110):
        search = FaceSearch(new)
        for frame in range(100):
            search.see(empty, frame / 30)
        confirmed = [frame for frame in range(first, first + 20) if search.see(drawn(scene, frame), frame / 30)]
        assert (confirmed[0] - first) / 30 <= 0.5


def test_only_what_moved_apart_from_known_faces_is_searched(scene: Scene) -> None:
    static = drawn(scene, 0)
    search = after_static(static)
    changed = static.copy()
    changed[:60, :60] = 255 - changed[:60, :60]
    search.see(changed, 1.0)
    ((height, width, *_),) = search.known.calls
    assert height < 100
    assert width < 100


def test_motion_elsewhere_is_searched_three_times_a_second(scene: Scene) -> None:
    static, random = drawn(scene, 0), np.random.default_rng(0)
    search = after_static(static, every_s=0.3)
    for frame in range(30, 60):
        busy = static.copy()
        busy[:120, :120] = random.integers(0, 256, (120, 120))
        search.see(busy, frame / 30)
    elsewhere = [largest for *_, largest in search.known.calls if largest == 0]
    assert 3 <= len(elsewhere) <= 5


def test_a_photograph_is_searched_whole_at_full_size_or_shrunk(scene: Scene) -> None:
    picture = luma_of(Scene(SyntheticOptions(size="1280x720")).draw(0))
    truth = Scene(SyntheticOptions(size="1280x720")).truth(0)[0].box
    for side, searched in ((0, (720, 1280)), (640, (360, 640)), (320, (180, 320))):
        search = FaceSearch(photo_max_side_px=side)
        assert max(truth.iou(found.box) for found in search.new_faces.photograph(picture)) > 0.7
        assert search.known.calls[-1][:2] == searched


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (48, 4000), (2, 700)])
def test_every_frame_size_is_accepted(shape: tuple[int, int], new: str) -> None:
    search = FaceSearch(new)
    for frame in range(4):
        assert search.see(np.full(shape, 60 * frame, np.uint8), frame / 3) == []


def test_after_the_clock_is_set_back_the_whole_frame_is_searched_again(scene: Scene) -> None:
    search, static = FaceSearch(), drawn(scene, 0)
    search.see(static, 7200.0)
    search.see(static, 7200.1)
    search.known.calls.clear()
    search.see(static, 3600.0)
    assert (360, 480, 24, 0) in search.known.calls


def test_a_new_face_detector_with_an_input_size_of_its_own_gets_large_areas_and_none_of_the_known_face(scene: Scene) -> None:
    search = FaceSearch("blazeface")
    for frame in range(60):
        (track,) = search.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.5
    assert search.new.calls[0] == (480, 640, 32, 0)
    assert all(height == 480 and width >= 480 for height, width, *_ in search.new.calls), "a head needs its surroundings"
    assert len(search.new.calls) <= 2, "nothing but the face moves"
    assert search.known.take_pixels() < 60 * 640 * 480 / 50


def test_a_confirmed_new_face_has_the_box_of_the_known_face_detector(scene: Scene) -> None:
    search = FaceSearch("blazeface")
    (track,) = search.see(drawn(scene, 0), 0.0)
    (found,) = search.new(drawn(scene, 0), 30)
    truth = scene.truth(0)[0].box
    assert track.box.iou(truth) > found.iou(truth)


def test_a_body_that_moves_under_its_face_is_searched_only_if_the_known_face_detector_finds_a_candidate() -> None:
    search, static = FaceSearch("blazeface"), np.full((480, 640), 110, np.uint8)
    person = drawn(Scene(SyntheticOptions(size="320x240")), 0)
    static[:240, :320] = person
    for frame in range(3):
        (track,) = search.see(static, frame / 30)
    face, calls = track.box, len(search.new.calls)
    body, child, beside = static.copy(), static.copy(), static.copy()
    body[300:400, face.x : face.x + face.w] = np.linspace(0, 255, face.w)
    search.see(body, 1.0)
    assert len(search.new.calls) == calls
    small = cv2.resize(person[face.y - 20 : face.y + face.h + 20, face.x - 20 : face.x + face.w + 20], (120, 120))
    child[300:420, face.x : face.x + 120] = small
    search.see(child, 1.5)
    assert len(search.new.calls) == calls + 1
    assert len(search.see(child, 1.6)) == 2, "someone in front of the body"
    beside[300:400, 500:600] = body[300:400, face.x : face.x + 100]
    calls = len(search.new.calls)
    search.see(beside, 2.0)
    assert len(search.new.calls) == calls + 1


def test_a_face_that_only_the_new_face_detector_finds_is_confirmed_when_found_again_and_stays(scene: Scene) -> None:
    search = FaceSearch("blazeface")
    search.known.blind = True
    assert search.see(drawn(scene, 0), 0.0) == []
    for frame in range(1, 90):
        (track,) = search.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.3
    assert track.id == 1
    assert 9 <= len(search.new.calls) <= 13, "about three times a second"


def test_a_face_found_in_one_frame_only_is_never_confirmed(scene: Scene) -> None:
    search = FaceSearch("blazeface")
    search.known.unsure = True
    assert search.see(drawn(scene, 0), 0.0) == []
    search.new.blind = True
    assert all(search.see(drawn(scene, frame), frame / 30) == [] for frame in range(1, 60))


def test_motion_too_small_for_a_face_starts_no_search(scene: Scene) -> None:
    static = drawn(scene, 0)
    search = after_static(static)
    changed = static.copy()
    changed[:, :8] = 255 - changed[:, :8]  # half as wide as a cell of the gate
    search.see(changed, 1.0)
    assert search.known.calls == []
    changed[:, :32] = 255 - static[:, :32]  # two cells: a face as narrow would not be found
    search.see(changed, 1.5)
    assert search.known.calls == []
    changed[:, :64] = 255 - static[:, :64]
    search.see(changed, 2.0)
    assert len(search.known.calls) == 1


def test_motion_around_a_skipped_face_stays_for_its_next_search() -> None:
    wall, skipped = np.full((480, 640), 128, np.uint8), no_cells()
    skipped[10:15, 20:25] = True
    known = KnownFaces((), (), searched=no_cells(), skipped=skipped, unexplained=no_cells())
    new = FaceSearch().new_faces.search(wall, Motion(skipped, (16, 16)), 0.0, known)
    assert np.array_equal(new.searched, ~skipped), "the first search is that of the whole frame"
