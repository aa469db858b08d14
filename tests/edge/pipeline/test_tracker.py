from __future__ import annotations

from dataclasses import replace

import pytest

from edgefer.pipeline.tracker import Tracker
from edgefer.types import Box, Detection, Track, TrackState


def tracker(min_iou: float = 0.3, lost_s: float = 0.5, min_hits: int = 1, steady: float = 0.0) -> Tracker:
    return Tracker(min_iou, lost_s, min_hits, steady)


def face(x: float, y: float = 100, side: int = 50) -> Box:
    return Box(round(x), round(y), side, side)


def update(t: Tracker, boxes: list[Box], time_s: float, state: TrackState | None = None) -> list[Track]:
    """The tracks after a frame; ``state``: what the search for known faces gave to each of them."""
    searched = [replace(track, state=state) for track in t.predict(time_s)] if state else []
    return t.update(list(map(Detection, boxes)), time_s, searched)


def test_a_moving_face_keeps_its_id_and_its_box_follows() -> None:
    t = tracker()
    for frame in range(60):
        tracks = update(t, [face(10 + 8 * frame)], frame / 30)
        assert [track.id for track in tracks] == [1]
        assert tracks[0].box == face(10 + 8 * frame)


def test_two_faces_that_swap_order_in_the_list_keep_their_ids() -> None:
    t = tracker()
    left, right = face(10), face(300)
    assert {track.box.x: track.id for track in update(t, [left, right], 0.0)} == {10: 1, 300: 2}
    assert {track.box.x: track.id for track in update(t, [right, left], 0.1)} == {10: 1, 300: 2}


def test_two_faces_crossing_with_speed_keep_their_ids() -> None:
    t = tracker(lost_s=1.0)
    for frame in range(41):
        a, b = face(10 + 10 * frame, 100), face(410 - 10 * frame, 130)
        tracks = update(t, [a, b], frame / 30)
    assert {track.id: track.box.x for track in tracks} == {1: 410, 2: 10}


def test_a_face_lost_for_a_short_time_stays_and_keeps_its_id() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    assert [track.id for track in update(t, [], 0.3)] == [1]
    assert [track.id for track in update(t, [face(102)], 0.45)] == [1]


def test_a_face_lost_for_longer_is_dropped() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    assert update(t, [], 0.51) == []


def test_a_face_that_returns_gets_its_id_back() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    update(t, [], 0.6)
    (track,) = update(t, [face(120)], 1.5)
    assert (track.id, track.first_s, track.seen_s) == (1, 0.0, 1.5)


@pytest.mark.parametrize(("box", "time_s"), [(face(100), 4.0), (face(200), 1.5), (face(100, side=100), 1.5)])
def test_at_another_position_at_another_size_or_much_later_it_is_another_face(box: Box, time_s: float) -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    update(t, [], 0.6)
    assert [track.id for track in update(t, [box], time_s)] == [2]


def test_one_face_that_left_returns_only_once() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    update(t, [], 0.6)
    assert {track.id for track in update(t, [face(100), face(120, y=130)], 1.0)} == {1, 2}


def test_a_detection_in_one_frame_only_is_never_confirmed() -> None:
    t = tracker(min_hits=2)
    assert update(t, [face(100)], 0.0) == []
    assert update(t, [], 0.1) == []
    assert update(t, [face(100)], 0.2) == []
    assert len(update(t, [face(101)], 0.3)) == 1


@pytest.mark.parametrize(("min_hits", "confirmed"), [(1, 1), (2, 1), (3, 0)])
def test_a_confirmed_detection_counts_twice(min_hits: int, confirmed: int) -> None:
    assert len(tracker(min_hits=min_hits).update([Detection(face(100), confirmed=True)], 0.0)) == confirmed


def test_a_track_has_the_times_of_its_first_and_its_last_detection() -> None:
    t = tracker()
    update(t, [face(100)], 1.0)
    update(t, [face(100)], 2.0)
    (track,) = update(t, [], 2.2)
    assert (track.first_s, track.seen_s) == (1.0, 2.0)


def test_steady_halves_a_jump_of_the_box() -> None:
    t = tracker(steady=0.5)
    update(t, [face(100)], 0.0)
    (track,) = update(t, [face(110)], 0.1)
    assert track.box == Box(105, 100, 50, 50)


def test_steady_does_not_lag_behind_a_face_at_constant_speed() -> None:
    t = tracker(steady=0.5)
    for frame in range(40):
        tracks = update(t, [face(10 + 6 * frame)], frame / 30)
    assert abs(tracks[0].box.x - (10 + 6 * 39)) <= 2


def test_a_static_face_is_not_lost() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    (track,) = update(t, [], 10.0, TrackState.STATIC)
    assert (track.id, track.seen_s) == (1, 10.0)
    assert [track.id for track in update(t, [], 10.3)] == [1]
    assert update(t, [], 10.6) == []


def test_a_skipped_face_goes_on_at_its_speed_and_is_neither_found_nor_lost() -> None:
    t = tracker()
    for frame in range(10):
        update(t, [face(10 + 6 * frame)], frame / 30)
    (track,) = update(t, [], 11 / 30, TrackState.SKIPPED)
    assert track.box.x == pytest.approx(10 + 6 * 11, abs=2)
    assert track.seen_s == track.searched_s == 9 / 30


def test_predictions_include_candidates() -> None:
    t = tracker(min_hits=2)
    update(t, [face(100)], 0.0)
    (track,) = t.predict(0.1)
    assert (track.confirmed, track.box) == (False, face(100))


def test_after_the_clock_is_set_back_a_lost_face_is_dropped() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 7200.0)
    assert update(t, [], 3600.0) == []


def test_many_boxes_at_once_each_get_one_track() -> None:
    t = tracker()
    boxes = [face(60 * (i % 20), 60 * (i // 20)) for i in range(200)]
    assert len({track.id for track in update(t, boxes, 0.0)}) == 200
    assert len(update(t, list(reversed(boxes)), 0.1)) == 200


def test_a_face_is_predicted_where_its_speed_takes_it() -> None:
    t = tracker()
    update(t, [face(100)], 0.0)
    update(t, [face(105)], 0.1)
    (predicted,) = t.predict(0.2)
    assert predicted.box.x > 105


def test_a_lost_face_has_the_time_of_its_last_search() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    (track,) = update(t, [], 0.2)
    assert (track.seen_s, track.searched_s) == (0.0, 0.2)
    (track,) = update(t, [], 0.4, TrackState.STATIC)
    assert (track.seen_s, track.searched_s) == (0.4, 0.4)


def test_a_static_face_has_no_speed() -> None:
    t = tracker()
    for frame in range(3):
        update(t, [face(100 + 10 * frame, 100 + 10 * frame)], frame / 10)
    update(t, [], 0.3, TrackState.STATIC)
    (predicted,) = t.predict(0.8)
    assert predicted.box == face(120, 120)


def test_a_face_is_kept_for_lost_s_inclusive() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    assert len(update(t, [], 0.0)) == 1, "twice the same time"
    assert len(update(t, [], 0.5)) == 1


def test_the_nearer_of_two_faces_that_left_returns() -> None:
    t = tracker(lost_s=0.1)
    update(t, [face(100), face(180)], 0.0)
    update(t, [], 0.5)
    assert [track.id for track in update(t, [face(150)], 1.0)] == [2]
    t = tracker(lost_s=0.1)
    update(t, [face(100)], 0.0)
    update(t, [], 0.5)
    assert [track.id for track in update(t, [face(155)], 1.0)] == [2], "more than its own width away it is another face"


def test_a_new_face_has_no_speed() -> None:
    t = tracker()
    (track,) = update(t, [face(100)], 3.0)
    assert (track.first_s, track.seen_s, track.searched_s) == (3.0, 3.0, 3.0)
    (predicted,) = t.predict(4.0)
    assert predicted.box == face(100)


def test_half_of_a_jump_changes_the_speed_in_each_direction() -> None:
    t = tracker(steady=0.5)
    update(t, [face(100, 100)], 0.0)
    update(t, [face(110, 90)], 0.1)
    (predicted,) = t.predict(0.3)
    # Half way to where it was found, and (1 - 0.5) / (2 * 0.1 s) of 10 px on: 25 px a second, for 0.2 s.
    assert predicted.box == face(105 + 5, 95 - 5)


def test_no_face_is_predicted_more_than_half_its_size_away() -> None:
    t = tracker()
    update(t, [face(100, 100)], 0.0)
    update(t, [face(110, 90)], 0.1)
    (predicted,) = t.predict(60.0)
    assert predicted.box == face(110 + 25, 90 - 25)


def test_a_face_is_confirmed_at_the_third_of_three_hits() -> None:
    t = tracker(min_hits=3)
    assert [len(update(t, [face(100)], frame / 10)) for frame in range(4)] == [0, 0, 1, 1]
    update(t, [face(102)], 0.3)  # twice the same time: no speed can be computed
    (predicted,) = t.predict(0.4)
    assert abs(predicted.box.x - 102) <= 2


def test_the_best_overlap_wins_and_no_track_gets_two_boxes() -> None:
    t = tracker(min_iou=0.1)
    update(t, [face(100), face(130)], 0.0)
    assert {track.id: track.box.x for track in update(t, [face(125), face(110)], 0.1)} == {1: 110, 2: 125}
    t = tracker(min_iou=0.1)
    update(t, [face(100)], 0.0)
    assert {track.id: track.box.x for track in update(t, [face(102), face(140)], 0.1)} == {1: 102, 2: 140}


def test_a_face_that_returns_is_at_its_new_position_and_needs_min_hits_again() -> None:
    t = tracker(min_hits=2)
    for time_s in (100.0, 100.1):
        update(t, [face(100)], time_s)
    assert update(t, [], 100.7) == []
    assert update(t, [face(120)], 101.0) == []
    (track,) = update(t, [face(120)], 101.1)
    assert (track.id, track.first_s) == (1, 100.0)
    t = tracker()
    update(t, [face(100)], 100.0)
    update(t, [], 100.6)
    (track,) = update(t, [face(120)], 100.9)
    assert (track.id, track.box, track.searched_s) == (1, face(120), 100.9)


def test_a_track_says_how_it_got_its_box() -> None:
    t = tracker(lost_s=0.5)
    states = [
        update(t, boxes, time_s, state)[0].state
        for boxes, time_s, state in [
            ([face(100)], 0.0, None),
            ([], 0.1, TrackState.SKIPPED),
            ([face(102)], 0.2, TrackState.FOUND),
            ([], 0.3, TrackState.FOUND),
            ([], 0.4, TrackState.SKIPPED),
            ([face(102)], 0.5, TrackState.SKIPPED),
            ([], 0.6, TrackState.STATIC),
            ([face(102)], 0.7, TrackState.STATIC),
        ]
    ]
    names = "FOUND SKIPPED FOUND LOST SKIPPED FOUND STATIC STATIC"
    assert " ".join(state.name for state in states) == names


def test_a_lost_face_stays_missed_while_it_is_skipped() -> None:
    t = tracker(lost_s=0.5)
    update(t, [face(100)], 0.0)
    (track,) = update(t, [], 0.1)
    assert track.missed
    (track,) = update(t, [], 0.15, TrackState.SKIPPED)
    assert track.missed
    (track,) = update(t, [face(100)], 0.2)
    assert not track.missed


def walk_behind(t: Tracker) -> list[int]:
    """The ids, from left to right, after a fast walk behind a face that stays; in between only that face is found."""
    for frame in range(60):
        x = 600 - 12 * frame
        hidden = 240 < x < 360
        tracks = update(t, [face(300, side=60)] + ([] if hidden else [face(x, side=60)]), frame / 30)
        if frame > 40:
            break
    return [track.id for track in sorted(tracks, key=lambda track: track.box.x)]


def test_a_face_that_walks_fast_behind_another_keeps_its_id() -> None:
    assert walk_behind(tracker(lost_s=0.4)) == [2, 1]
    assert walk_behind(tracker(lost_s=0.05)) == [2, 1]


def test_a_new_face_far_from_one_that_left_alone_gets_a_new_id() -> None:
    t = tracker(lost_s=0.4)
    update(t, [face(300)], 0.0)
    update(t, [], 0.1)
    assert [track.id for track in update(t, [face(180)], 0.3)] == [1, 2]


def test_after_a_cut_a_face_in_the_same_box_is_a_new_one() -> None:
    t = tracker()
    update(t, [face(100), face(300)], 0.0)
    t.cut()
    assert [track.id for track in update(t, [face(100)], 1 / 30)] == [3]


def test_a_static_face_stays_where_it_is_for_minutes() -> None:
    t = tracker()
    update(t, [face(100)], 0.0)
    update(t, [], 0.1, TrackState.STATIC)
    (predicted,) = t.predict(60.0)
    assert predicted.box == face(100)


def test_a_lost_face_is_hidden_only_where_another_face_overlaps_it() -> None:
    t = tracker()
    update(t, [face(100)], 0.0)
    (alone,) = update(t, [], 0.1)
    assert not alone.hidden
    t = tracker()
    update(t, [face(100), face(300)], 0.0)
    assert not update(t, [face(300)], 0.1)[0].hidden, "the other is far away"
    t = tracker()
    update(t, [face(100), face(130)], 0.0)
    assert update(t, [face(130)], 0.1)[0].hidden


def test_both_of_two_faces_that_left_return() -> None:
    t = tracker(lost_s=0.1)
    update(t, [face(100), face(400)], 0.0)
    update(t, [], 0.5)
    assert [track.id for track in update(t, [face(100), face(400)], 1.0)] == [1, 2]


def test_a_candidate_that_ended_does_not_return() -> None:
    t = tracker(min_hits=2)
    update(t, [face(100)], 0.0)
    update(t, [], 0.1)
    update(t, [face(100)], 0.2)
    (track,) = update(t, [face(100)], 0.3)
    assert (track.id, track.first_s) == (2, 0.2)


@pytest.mark.parametrize(("after_s", "widths"), [(0.1, 3), (2.0, 7)])
def test_a_hidden_face_comes_out_no_farther_away_than_a_person_walks(after_s: float, widths: int) -> None:
    t = tracker(lost_s=0.05)
    begun_s = 100.0
    update(t, [face(1000), face(1020)], begun_s)
    update(t, [face(1020)], begun_s + 0.04)
    others = [track.id for track in update(t, [face(1020), face(1000 - 50 * widths)], begun_s + after_s)]
    assert 1 not in others
    assert 3 in others


def test_a_found_face_has_the_roll_of_its_detection_and_is_not_hidden_any_more() -> None:
    t = tracker()
    update(t, [face(100), face(130)], 0.0)
    assert update(t, [face(130)], 0.1)[0].hidden
    (first, second) = t.update([Detection(face(100), roll_deg=25.0), Detection(face(130))], 0.2)
    assert (first.roll_deg, first.hidden) == (25.0, False)
    assert second.roll_deg == 0.0


def test_each_detection_is_one_hit() -> None:
    t = tracker()
    update(t, [face(100)], 0.0)
    assert [update(t, [face(100)], frame / 10)[0].hits for frame in (1, 2, 3)] == [2, 3, 4]
