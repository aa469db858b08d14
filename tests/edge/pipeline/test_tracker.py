from __future__ import annotations

import pytest

from edgefer.pipeline.tracker import Tracker
from edgefer.types import Box


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
        tracks = t.update([a, b], frame / 30)
    assert {track.id: track.box.x for track in tracks} == {1: 410, 2: 10}


def test_a_face_missed_for_a_moment_stays_and_comes_back_with_its_id() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert [track.id for track in t.update([], 0.3)] == [1]
    assert [track.id for track in t.update([face(102)], 0.45)] == [1]


def test_a_face_lost_for_longer_is_no_longer_shown() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert t.update([], 0.51) == []


def test_a_face_that_turned_away_has_its_id_again_when_it_turns_back() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    t.update([], 0.6)
    (track,) = t.update([face(120)], 1.5)
    assert (track.id, track.first_s, track.seen_s) == (1, 0.0, 1.5)


@pytest.mark.parametrize(("box", "time_s"), [(face(100), 4.0), (face(200), 1.5), (face(100, side=100), 1.5)])
def test_another_place_another_size_or_much_later_is_another_face(box: Box, time_s: float) -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    t.update([], 0.6)
    assert [track.id for track in t.update([box], time_s)] == [2]


def test_one_face_that_went_comes_back_only_once() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    t.update([], 0.6)
    assert {track.id for track in t.update([face(100), face(120, y=130)], 1.0)} == {1, 2}


def test_a_false_alarm_of_one_frame_is_never_shown() -> None:
    t = tracker(min_hits=2)
    assert t.update([face(100)], 0.0) == []
    assert t.update([], 0.1) == []
    assert t.update([face(100)], 0.2) == []
    assert len(t.update([face(101)], 0.3)) == 1


@pytest.mark.parametrize(("min_hits", "shown"), [(1, 1), (2, 1), (3, 0)])
def test_a_plain_face_counts_as_found_twice(min_hits: int, shown: int) -> None:
    assert len(tracker(min_hits=min_hits).update([face(100)], 0.0, certain={face(100)})) == shown


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


def test_a_face_around_which_nothing_moves_is_not_lost() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    (track,) = t.update([], 10.0, still={1})
    assert (track.id, track.seen_s) == (1, 10.0)
    assert [track.id for track in t.update([], 10.3)] == [1]
    assert t.update([], 10.6) == []


def test_a_face_passed_over_goes_on_at_its_speed_and_is_neither_seen_nor_lost() -> None:
    t = tracker()
    for frame in range(10):
        t.update([face(10 + 6 * frame)], frame / 30)
    (track,) = t.update([], 11 / 30, passed={1})
    assert track.box.x == pytest.approx(10 + 6 * 11, abs=2)
    assert track.seen_s == track.looked_s == 9 / 30


def test_what_is_expected_includes_faces_not_shown_yet() -> None:
    t = tracker(min_hits=2)
    t.update([face(100)], 0.0)
    (track,) = t.expected(0.1)
    assert (track.shown, track.box) == (False, face(100))


def test_a_clock_set_back_keeps_no_ghost() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 7200.0)
    assert t.update([], 3600.0) == []


def test_many_boxes_at_once_each_get_one_track() -> None:
    t = tracker()
    boxes = [face(60 * (i % 20), 60 * (i // 20)) for i in range(200)]
    assert len({track.id for track in t.update(boxes, 0.0)}) == 200
    assert len(t.update(list(reversed(boxes)), 0.1)) == 200


def test_a_face_is_expected_where_its_speed_takes_it() -> None:
    t = tracker()
    t.update([face(100)], 0.0)
    t.update([face(105)], 0.1)
    (expected,) = t.expected(0.2)
    assert expected.box.x > 105


def test_a_face_looked_for_and_not_found_was_looked_for_all_the_same() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    (track,) = t.update([], 0.2)
    assert (track.seen_s, track.looked_s) == (0.0, 0.2)
    (track,) = t.update([], 0.4, still={1})
    assert (track.seen_s, track.looked_s) == (0.4, 0.4)


def test_a_face_around_which_nothing_moves_has_no_speed_left() -> None:
    t = tracker()
    for frame in range(3):
        t.update([face(100 + 10 * frame, 100 + 10 * frame)], frame / 10)
    t.update([], 0.3, still={1})
    (expected,) = t.expected(0.8)
    assert expected.box == face(120, 120)


def test_the_moment_of_loss_itself_still_counts() -> None:
    t = tracker(lost_s=0.5)
    t.update([face(100)], 0.0)
    assert len(t.update([], 0.0)) == 1, "twice the same moment"
    assert len(t.update([], 0.5)) == 1


def test_the_nearer_of_two_who_went_comes_back() -> None:
    t = tracker(lost_s=0.1)
    t.update([face(100), face(180)], 0.0)
    t.update([], 0.5)
    assert [track.id for track in t.update([face(150)], 1.0)] == [2]
    t = tracker(lost_s=0.1)
    t.update([face(100)], 0.0)
    t.update([], 0.5)
    assert [track.id for track in t.update([face(155)], 1.0)] == [2], "more than its own width away is somebody else"


def test_a_new_face_stands_still_until_more_is_known() -> None:
    t = tracker()
    (track,) = t.update([face(100)], 3.0)
    assert (track.first_s, track.seen_s, track.looked_s) == (3.0, 3.0, 3.0)
    (expected,) = t.expected(4.0)
    assert expected.box == face(100)


def test_half_of_a_jump_is_taken_for_speed_each_way() -> None:
    t = tracker(steady=0.5)
    t.update([face(100, 100)], 0.0)
    t.update([face(110, 90)], 0.1)
    (expected,) = t.expected(0.3)
    # Half way to where it was found, and (1 - 0.5) / (2 * 0.1 s) of 10 px on: 25 px a second, for 0.2 s.
    assert expected.box == face(105 + 5, 95 - 5)


def test_nobody_is_expected_more_than_half_its_size_away() -> None:
    t = tracker()
    t.update([face(100, 100)], 0.0)
    t.update([face(110, 90)], 0.1)
    (expected,) = t.expected(60.0)
    assert expected.box == face(110 + 25, 90 - 25)


def test_three_times_are_three_times() -> None:
    t = tracker(min_hits=3)
    assert [len(t.update([face(100)], frame / 10)) for frame in range(4)] == [0, 0, 1, 1]
    t.update([face(102)], 0.3)  # twice the same moment: no speed can be told
    (expected,) = t.expected(0.4)
    assert abs(expected.box.x - 102) <= 2


def test_the_best_of_several_overlaps_wins_and_nobody_gets_two() -> None:
    t = tracker(min_iou=0.1)
    t.update([face(100), face(130)], 0.0)
    assert {track.id: track.box.x for track in t.update([face(125), face(110)], 0.1)} == {1: 110, 2: 125}
    t = tracker(min_iou=0.1)
    t.update([face(100)], 0.0)
    assert {track.id: track.box.x for track in t.update([face(102), face(140)], 0.1)} == {1: 102, 2: 140}


def test_who_comes_back_long_after_the_start_is_known_where_it_is_now_and_must_be_found_as_often_as_anyone() -> None:
    t = tracker(min_hits=2)
    for time_s in (100.0, 100.1):
        t.update([face(100)], time_s)
    assert t.update([], 100.7) == []
    assert t.update([face(120)], 101.0) == []
    (track,) = t.update([face(120)], 101.1)
    assert (track.id, track.first_s) == (1, 100.0)
    t = tracker()
    t.update([face(100)], 100.0)
    t.update([], 100.6)
    (track,) = t.update([face(120)], 100.9)
    assert (track.id, track.box, track.looked_s) == (1, face(120), 100.9)
