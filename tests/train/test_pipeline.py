from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from train.pipeline import augment, blend, draws, mixup_share, training_stream
from train.recipe import Augment, Recipe, load_recipe

NOTHING = load_recipe("report").augment


def how(**changes: object) -> Augment:
    flat = dict.fromkeys(("rotation_deg", "shear_deg", "zoom", "shift", "brightness", "contrast", "erase", "blur", "noise"), 0.0)
    return msgspec.structs.replace(NOTHING, **{**flat, "flip": False, **changes})


def pictures(count: int = 64) -> np.ndarray:
    """Smooth random pictures: interpolation must not be what a test measures."""
    coarse = np.random.default_rng(3).integers(40, 215, (count, 6, 6, 1)).astype(np.float32)
    return tf.image.resize(coarse, (48, 48), "bicubic").numpy().clip(0, 255)


def vary(x: np.ndarray, how: Augment) -> np.ndarray:
    return np.asarray(augment(x, how, *draws(np.random.default_rng(7), how, x.shape)))


def test_no_augmentation_gives_the_picture_back() -> None:
    x = pictures()
    assert np.abs(vary(x, how()) - x).max() < 1e-3


def test_flip_mirrors_about_half_of_the_pictures_exactly() -> None:
    x = pictures()
    out = vary(x, how(flip=True))
    same = np.abs(out - x).max(axis=(1, 2, 3)) < 0.05
    mirrored = np.abs(out - x[:, :, ::-1]).max(axis=(1, 2, 3)) < 0.05
    assert (same ^ mirrored).all()
    assert 16 < mirrored.sum() < 48


def test_shift_moves_by_at_most_its_share_and_repeats_the_edge() -> None:
    x = np.zeros((200, 48, 48, 1), np.float32)
    x[:, 24, 24] = 255
    out = vary(x, how(shift=0.25))[..., 0]
    places = np.array([np.unravel_index(picture.argmax(), picture.shape) for picture in out])
    moved = places - 24
    assert np.abs(moved).max() <= 12
    assert np.abs(moved).max(axis=0).min() >= 10
    assert abs(np.corrcoef(moved.T)[0, 1]) < 0.2


def test_rotation_keeps_the_middle_and_reaches_its_angle() -> None:
    x = np.zeros((200, 48, 48, 1), np.float32)
    x[:, 23:25, 24:46] = 255
    out = vary(x, how(rotation_deg=30))[..., 0]
    angles = []
    for picture in out:
        ys, xs = np.nonzero(picture > 100)
        angles.append(np.degrees(np.arctan2((ys - 23.5).mean(), (xs - 23.5).mean())))
    assert 25 < np.abs(angles).max() < 33


def test_zoom_stays_within_its_range() -> None:
    x = np.zeros((200, 48, 48, 1), np.float32)
    x[:, 12:36, 12:36] = 255
    widths = (vary(x, how(zoom=0.2))[:, 24, :, 0] > 127).sum(axis=1)
    assert 24 / 1.2 - 1 <= widths.min() < 22
    assert 26 < widths.max() <= 24 / 0.8 + 1


def test_everything_at_once_stays_within_the_pixel_range() -> None:
    everything = how(rotation_deg=30, zoom=0.3, shift=0.2, flip=True, brightness=0.5, contrast=0.5, erase=1.0, blur=1.0, noise=20)
    out = vary(pictures(), everything)
    assert out.shape == (64, 48, 48, 1)
    assert out.min() >= 0
    assert out.max() <= 255


def test_erasing_leaves_its_share_of_pictures_with_a_flat_rectangle() -> None:
    x = pictures(400)
    changed = (np.abs(vary(x, how(erase=0.25)) - x) > 1e-3).any(axis=(1, 2, 3)).mean()
    assert 0.15 < changed < 0.35


def test_blur_softens_its_share_of_pictures_and_keeps_their_brightness() -> None:
    x = np.random.default_rng(0).integers(40, 215, (400, 48, 48, 1)).astype(np.float32)
    out = vary(x, how(blur=0.4))
    softer = out.std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))
    assert 0.3 < (softer < 0.99).mean() < 0.5
    assert softer.max() <= 1.001
    assert softer.min() < 0.35
    assert np.abs(out.mean(axis=(1, 2, 3)) - x.mean(axis=(1, 2, 3))).max() < 2


def test_noise_reaches_its_deviation_and_leaves_half_of_the_pictures_alone() -> None:
    x = np.full((400, 48, 48, 1), 128, np.float32)
    deviation = vary(x, how(noise=10)).std(axis=(1, 2, 3))
    assert 0.4 < (deviation < 1e-3).mean() < 0.6
    assert 9 < deviation.max() < 11


def test_mixup_blends_pictures_and_targets_by_the_same_share() -> None:
    x, y = np.zeros((4, 48, 48, 1), np.float32), np.eye(4, dtype=np.float32)
    x[0] = 100
    share = mixup_share(0.4, np.random.default_rng(7))
    assert 0 < share < 1
    mixed, target = blend(x, share), blend(y, share)
    assert float(mixed[0, 0, 0, 0]) == pytest.approx(100 * share)
    assert float(target[0, 0]) == pytest.approx(share, abs=1e-5)
    assert float(mixed[1, 0, 0, 0]) == pytest.approx(100 * (1 - share), abs=1e-3)
    assert np.asarray(target).sum(axis=1) == pytest.approx(1)


def small_recipe() -> Recipe:
    recipe = load_recipe("small")
    return msgspec.structs.replace(recipe, batch_size=16)


def stream(first_epoch: int, batches: int) -> list[tuple[np.ndarray, np.ndarray]]:
    images = np.arange(50, dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    data, steps = training_stream(images, np.eye(50, dtype=np.float32), small_recipe(), first_epoch)
    assert steps == 4
    return [(np.asarray(x), y) for x, y in itertools.islice(data, batches)]


def test_a_streams_pictures_are_blended_as_their_targets_are() -> None:
    values = np.arange(50, dtype=np.uint8) * 5
    images = values[:, None, None] * np.ones((1, 48, 48), np.uint8)
    recipe = msgspec.structs.replace(small_recipe(), mixup=1.0, augment=how())
    data, steps = training_stream(images, np.eye(50, dtype=np.float32), recipe)
    for x, y in itertools.islice(data, steps):
        assert ((y > 1e-3).sum(axis=1) == 2).any()
        assert np.asarray(x).mean(axis=(1, 2, 3)) == pytest.approx(y @ values, abs=0.01)


def test_an_epoch_holds_every_picture_once_with_its_own_target() -> None:
    batches = stream(0, 4)
    assert [len(x) for x, _ in batches] == [16, 16, 16, 2]
    seen = np.concatenate([y.argmax(axis=1) for _, y in batches])
    assert sorted(seen) == list(range(50))


def test_epochs_differ_in_their_order() -> None:
    batches = stream(0, 8)
    assert not np.array_equal(batches[0][1], batches[4][1])


def test_a_run_resumed_at_epoch_two_gets_the_same_pictures() -> None:
    for whole, resumed in zip(stream(0, 12)[8:], stream(2, 4), strict=True):
        assert np.array_equal(whole[0], resumed[0])
        assert np.array_equal(whole[1], resumed[1])
