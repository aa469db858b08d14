from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefer.detectors import Detector, Evidence, open_detector
from edgefer.luma import luma_of
from edgefer.pipeline.search import Search
from edgefer.pipeline.tracker import Tracker
from edgefer.settings import DetectorSettings, GateSettings
from edgefer.sources.synthetic import Scene, SyntheticOptions
from edgefer.types import Box, Pixels, Track


class Watched:
    """A real detector, and what it was shown: (height, width, least and greatest side looked for).

    ``faint``: faces are never plain; ``blind``: there are none.
    """

    def __init__(self, name: str) -> None:
        self.faint = self.blind = False
        self.shown: list[tuple[int, int, int, int]] = []
        self._detector: Detector = open_detector(name, DetectorSettings())
        self.resizes = self._detector.resizes

    def __call__(self, luma: Pixels, smallest_px: int, largest_px: int = 0, evidence: Evidence = Evidence.ENOUGH) -> list[Box]:
        self.shown.append((*luma.shape, smallest_px, largest_px))
        if self.blind or (self.faint and evidence is Evidence.PLENTY):
            return []
        return self._detector(luma, smallest_px, largest_px, evidence)

    def pixels(self) -> int:
        """Pixels shown so far; forgets them."""
        shown, self.shown = self.shown, []
        return sum(height * width for height, width, *_ in shown)


class Watch:
    """Frames through a search and a tracker, as the pipeline does it; ``finder`` is another than Haar, which follows."""

    def __init__(self, finder: str = "haar", **settings: float) -> None:
        self.detector = Watched("haar")
        self.finder = self.detector if finder == "haar" else Watched(finder)
        self.search = Search(self.finder, self.detector, DetectorSettings(**settings), GateSettings())
        self.tracker = Tracker(0.3, 0.4, 2, 0.5)

    def see(self, luma: Pixels, time_s: float) -> list[Track]:
        seen = self.search.follow(luma, self.search.moved(luma), time_s, self.tracker.expected(time_s))
        return self.tracker.update(seen.boxes, time_s, seen.still, seen.passed, seen.certain)


BOTH = pytest.mark.parametrize("finder", ["haar", "blazeface"])


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SyntheticOptions())


def drawn(scene: Scene, index: int) -> Pixels:
    return luma_of(scene.draw(index))


def settled(still: Pixels, **settings: float) -> Watch:
    """A search that has seen a picture three times, and its detector's notes thrown away."""
    watch = Watch(**settings)
    for frame in range(3):
        watch.see(still, frame / 30)
    watch.detector.pixels()
    return watch


def test_the_first_frame_is_searched_whole_and_a_plain_face_is_believed_at_once(scene: Scene) -> None:
    watch = Watch()
    (track,) = watch.see(drawn(scene, 0), 0.0)
    assert watch.detector.shown[0] == (360, 480, 24, 0)
    assert track.box.iou(scene.truth(0)[0].box) > 0.7


def test_a_faint_face_is_believed_when_it_is_found_again(scene: Scene) -> None:
    watch = Watch()
    watch.detector.faint = True
    assert watch.see(drawn(scene, 0), 0.0) == []
    (track,) = watch.see(drawn(scene, 1), 1 / 30)
    assert track.box.iou(scene.truth(1)[0].box) > 0.7


def test_while_nothing_moves_nothing_is_searched_and_faces_stay(scene: Scene) -> None:
    still = drawn(scene, 0)
    watch = settled(still)
    assert all(len(watch.see(still, frame / 30)) == 1 for frame in range(3, 140))
    assert watch.detector.shown == []
    watch.see(still, 5.1)
    assert watch.detector.shown == [(360, 480, 24, 0)], "everything is searched once in a while"


def test_a_moving_face_is_followed_at_a_hundredth_of_the_pixels(scene: Scene) -> None:
    watch = Watch()
    for frame in range(10):
        watch.see(drawn(scene, frame), frame / 30)
    watch.detector.pixels()
    for frame in range(10, 100):
        (track,) = watch.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.5
    assert watch.detector.pixels() < 90 * 640 * 480 / 50


@BOTH
def test_a_face_that_appears_is_shown_within_half_a_second(scene: Scene, finder: str) -> None:
    empty = drawn(Scene(SyntheticOptions(faces=0)), 0)
    for first in range(100, 110):
        watch = Watch(finder)
        for frame in range(100):
            watch.see(empty, frame / 30)
        shown = [frame for frame in range(first, first + 20) if watch.see(drawn(scene, frame), frame / 30)]
        assert (shown[0] - first) / 30 <= 0.5


@BOTH
def test_a_face_that_leaves_is_dropped_within_half_a_second(scene: Scene, finder: str) -> None:
    watch, empty = Watch(finder), drawn(Scene(SyntheticOptions(faces=0)), 0)
    for frame in range(60):
        watch.see(drawn(scene, frame), frame / 30)
    still_there = [frame for frame in range(60, 90) if watch.see(empty, frame / 30)]
    assert (still_there[-1] - 60) / 30 <= 0.5


@BOTH
def test_a_face_that_leaves_while_everything_changes_is_dropped_too(scene: Scene, finder: str) -> None:
    grey = np.full((480, 640), 128, np.uint8)
    for last in range(50, 60):
        watch = Watch(finder)
        for frame in range(last):
            watch.see(drawn(scene, frame), frame / 30)
        still_there = [frame for frame in range(30) if watch.see(grey, (last + frame) / 30)]
        assert still_there[-1] / 30 <= 0.5


def test_only_what_moved_apart_from_the_faces_is_searched(scene: Scene) -> None:
    still = drawn(scene, 0)
    watch = settled(still)
    changed = still.copy()
    changed[:60, :60] = 255 - changed[:60, :60]
    watch.see(changed, 1.0)
    ((height, width, *_),) = watch.detector.shown
    assert height < 100
    assert width < 100


def test_motion_elsewhere_is_searched_some_times_a_second(scene: Scene) -> None:
    still, random = drawn(scene, 0), np.random.default_rng(0)
    watch = settled(still, every_s=0.3)
    for frame in range(30, 60):
        busy = still.copy()
        busy[:120, :120] = random.integers(0, 256, (120, 120))
        watch.see(busy, frame / 30)
    elsewhere = [largest for *_, largest in watch.detector.shown if largest == 0]
    assert 3 <= len(elsewhere) <= 5


def test_a_photograph_is_searched_whole_at_full_size_or_shrunk(scene: Scene) -> None:
    watch, picture, truth = Watch(), luma_of(Scene(SyntheticOptions(size="1280x720")).draw(0)), None
    truth = Scene(SyntheticOptions(size="1280x720")).truth(0)[0].box
    for side, shown in ((0, (720, 1280)), (640, (360, 640)), (320, (180, 320))):
        seen = watch.search.whole(picture, side)
        assert max(truth.iou(box) for box in seen.boxes) > 0.7
        assert watch.detector.shown[-1][:2] == shown


@BOTH
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (48, 4000), (2, 700)])
def test_no_frame_size_is_trouble(shape: tuple[int, int], finder: str) -> None:
    watch = Watch(finder)
    for frame in range(4):
        assert watch.see(np.full(shape, 60 * frame, np.uint8), frame / 3) == []


def test_a_clock_set_back_only_means_that_everything_is_searched_again(scene: Scene) -> None:
    watch, still = Watch(), drawn(scene, 0)
    watch.see(still, 7200.0)
    watch.see(still, 7200.1)
    watch.detector.pixels()
    watch.see(still, 3600.0)
    assert (360, 480, 24, 0) in watch.detector.shown


def test_a_finder_with_a_size_of_its_own_sees_large_parts_and_the_follower_the_known_face(scene: Scene) -> None:
    watch = Watch("blazeface")
    for frame in range(60):
        (track,) = watch.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.5
    assert watch.finder.shown[0] == (480, 640, 32, 0)
    assert all(height == 480 and width >= 480 for height, width, *_ in watch.finder.shown), "a head needs its surroundings"
    assert len(watch.finder.shown) <= 2, "nothing but the face moves"
    assert watch.detector.pixels() < 60 * 640 * 480 / 50


def test_a_plain_new_face_has_the_followers_box_from_its_first_frame_on(scene: Scene) -> None:
    watch = Watch("blazeface")
    (track,) = watch.see(drawn(scene, 0), 0.0)
    (found,) = watch.finder(drawn(scene, 0), 30)
    truth = scene.truth(0)[0].box
    assert track.box.iou(truth) > found.iou(truth)


def test_between_looks_of_the_follower_a_face_is_followed_by_its_looks(scene: Scene) -> None:
    watch = Watch("blazeface")
    for frame in range(90):
        (track,) = watch.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.7
    looks = [largest for *_, largest in watch.detector.shown if largest]
    assert 6 <= len(looks) <= 11, "in three seconds; ten looks a second otherwise"


def test_a_face_not_shown_yet_is_confirmed_by_a_detector_not_by_its_looks(scene: Scene) -> None:
    watch = Watch()
    watch.tracker = Tracker(0.3, 0.4, 3, 0.5)
    watch.detector.faint = True
    assert watch.see(drawn(scene, 0), 0.0) == watch.see(drawn(scene, 1), 1 / 30) == []
    watch.detector.blind = True
    assert all(watch.see(drawn(scene, frame), frame / 30) == [] for frame in range(2, 60))


def test_a_body_that_moves_under_its_face_calls_the_finder_only_where_the_follower_suspects_a_face() -> None:
    watch, still = Watch("blazeface"), np.full((480, 640), 110, np.uint8)
    person = drawn(Scene(SyntheticOptions(size="320x240")), 0)
    still[:240, :320] = person
    for frame in range(3):
        (track,) = watch.see(still, frame / 30)
    face, calls = track.box, len(watch.finder.shown)
    body, child, beside = still.copy(), still.copy(), still.copy()
    body[300:400, face.x : face.x + face.w] = np.linspace(0, 255, face.w)
    watch.see(body, 1.0)
    assert len(watch.finder.shown) == calls
    small = cv2.resize(person[face.y - 20 : face.y + face.h + 20, face.x - 20 : face.x + face.w + 20], (120, 120))
    child[300:420, face.x : face.x + 120] = small
    watch.see(child, 1.5)
    assert len(watch.finder.shown) == calls + 1
    assert len(watch.see(child, 1.6)) == 2, "someone in front of the body"
    beside[300:400, 500:600] = body[300:400, face.x : face.x + 100]
    calls = len(watch.finder.shown)
    watch.see(beside, 2.0)
    assert len(watch.finder.shown) == calls + 1


def test_a_face_that_only_the_finder_sees_is_shown_when_found_again_and_stays(scene: Scene) -> None:
    watch = Watch("blazeface")
    watch.detector.blind = True
    assert watch.see(drawn(scene, 0), 0.0) == []
    for frame in range(1, 90):
        (track,) = watch.see(drawn(scene, frame), frame / 30)
        assert track.box.iou(scene.truth(frame)[0].box) > 0.3
    assert track.id == 1
    assert 9 <= len(watch.finder.shown) <= 13, "some times a second"


def test_what_the_finder_takes_for_a_face_once_is_never_shown(scene: Scene) -> None:
    watch = Watch("blazeface")
    watch.detector.faint = True
    assert watch.see(drawn(scene, 0), 0.0) == []
    watch.finder.blind = True
    assert all(watch.see(drawn(scene, frame), frame / 30) == [] for frame in range(1, 60))


def test_what_is_too_small_for_a_face_starts_no_search(scene: Scene) -> None:
    still = drawn(scene, 0)
    watch = settled(still)
    changed = still.copy()
    changed[:, :8] = 255 - changed[:, :8]  # half as wide as a cell of the gate
    watch.see(changed, 1.0)
    assert watch.detector.shown == []
    changed[:, :32] = 255 - still[:, :32]  # two cells: a face as narrow would not be found
    watch.see(changed, 1.5)
    assert watch.detector.shown == []
    changed[:, :64] = 255 - still[:, :64]
    watch.see(changed, 2.0)
    assert len(watch.detector.shown) == 1
