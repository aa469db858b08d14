from __future__ import annotations

from edge.track import Tracker
from edge.types import Box


def tracker(min_iou: float = 0.3, lost_s: float = 0.5, min_hits: int = 1, steady: float = 0.0) -> Tracker:
    return Tracker(min_iou, lost_s, min_hits, steady)


def face(x: float, y: float = 100, side: int = 50) -> Box:
    return Box(round(x), round(y), side, side)


def test_a_moving_face_keeps_its_id_and_its_box_follows() -> None:
    t = tracker()
    for frame in range(60):
        tracks = t.update([face(10 + 8 * frame)], frame / 30)
        assert [track.id for track in tracks] == [1]
        assert tracks[0].box == face(10 + 8 * frame)


def test_two_faces_that_swap_order_in_the_list_keep_their_ids() -> None:
    t = tracker()
    left, right = face(10), face(300)
    assert {track.box.x: track.id for track in t.update([left, right], 0.0)} == {10: 1, 300: 2}
    assert {track.box.x: track.id for track in t.update([right, left], 0.1)} == {10: 1, 300: 2}


def test_two_faces_crossing_with_speed_keep_their_ids() -> None:
    t = tracker(lost_s=1.0)
    for frame in range(41):
        a, b = face(10 + 10 * frame, 100), face(410 - 10 * frame, 130)
        t.update([a, b], frame / 30)
    assert {track.id: track.box.x for track in t.current()} == {1: 410, 2: 10}


def test_a_face_missed_for_a_moment_stays_and_comes_back_with_its_id() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert [track.id for track in t.update([], 0.3)] == [1]
    assert [track.id for track in t.update([face(102)], 0.45)] == [1]


def test_a_face_lost_for_longer_is_dropped_and_its_id_never_given_again() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert t.update([], 0.51) == []
    assert [track.id for track in t.update([face(100)], 0.6)] == [2]


def test_a_false_alarm_of_one_frame_is_never_shown() -> None:
    t = tracker(min_hits=2)
    assert t.update([face(100)], 0.0) == []
    assert t.update([], 0.1) == []
    assert t.update([face(100)], 0.2) == []
    assert len(t.update([face(101)], 0.3)) == 1


def test_ages_are_counted_from_the_first_and_the_last_sight() -> None:
    t = tracker()
    t.update([face(100)], 1.0)
    t.update([face(100)], 2.0)
    (track,) = t.update([], 2.2)
    assert (track.first_s, track.seen_s) == (1.0, 2.0)


def test_steadiness_halves_a_jump_of_the_box() -> None:
    t = tracker(steady=0.5)
    t.update([face(100)], 0.0)
    (track,) = t.update([face(110)], 0.1)
    assert track.box == Box(105, 100, 50, 50)


def test_steadiness_does_not_lag_behind_a_face_at_constant_speed() -> None:
    t = tracker(steady=0.5)
    for frame in range(40):
        tracks = t.update([face(10 + 6 * frame)], frame / 30)
    assert abs(tracks[0].box.x - (10 + 6 * 39)) <= 2


def test_nothing_is_in_doubt_only_when_every_face_was_just_seen() -> None:
    t = tracker(min_hits=2)
    assert t.settled()
    t.update([face(100)], 0.0)
    assert not t.settled()
    t.update([face(100)], 0.1)
    assert t.settled()
    t.update([], 0.2)
    assert not t.settled()


def test_a_face_held_through_a_still_scene_is_not_lost_when_the_scene_moves_again() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert [track.id for track in t.hold(10.0)] == [1]
    assert t.settled()
    assert [track.id for track in t.update([], 10.3)] == [1]


def test_a_clock_set_back_keeps_no_ghost() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 7200.0)
    assert t.update([], 3600.0) == []


def test_many_boxes_at_once_each_get_one_track() -> None:
    t = tracker()
    boxes = [face(60 * (i % 20), 60 * (i // 20)) for i in range(200)]
    assert len({track.id for track in t.update(boxes, 0.0)}) == 200
    assert len(t.update(list(reversed(boxes)), 0.1)) == 200
