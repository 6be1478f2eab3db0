from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.explain.insertion_deletion import (
    baseline_images,
    blurred,
    insertion_deletion,
    mean_colored,
    random_maps,
    shown_fields,
)

_SIDE = 20


def _circle(side: int = _SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return x**2 + y**2 <= (side / 2) ** 2


def _toy(n: int = 1):
    """Photographs whose class is how much red they hold: a quarter of the field (all of it) is red. The baseline is black."""
    images = np.zeros((n, _SIDE, _SIDE, 3), np.uint8)
    images[:, 5:15, 5:15, 0] = 255
    fields = np.zeros((n, _SIDE, _SIDE), bool)
    fields[:] = True
    return images, np.zeros_like(images), fields, images[..., 0].astype(float)


def _red(images: np.ndarray, target: int) -> np.ndarray:
    return images[..., 0].mean(axis=(1, 2)) / 255 * 4 if target == 0 else np.zeros(len(images))


def test_perfect_opposite_and_constant_maps_by_hand():
    images, baselines, fields, red = _toy()
    curves = insertion_deletion(_red, images, baselines, fields, red, np.array([0]))
    # All the red comes (goes) within the first quarter of the pixels: 1 - 0.25 / 2 and 0.25 / 2.
    np.testing.assert_allclose([curves.insertion_area[0], curves.deletion_area[0]], [0.875, 0.125])
    np.testing.assert_allclose(curves.insertion[0, :7], [0, 0.2, 0.4, 0.6, 0.8, 1, 1])
    np.testing.assert_allclose(curves.insertion + curves.deletion, 1)
    opposite = insertion_deletion(_red, images, baselines, fields, -red, np.array([0]))
    np.testing.assert_allclose([opposite.insertion_area[0], opposite.deletion_area[0]], [0.125, 0.875])
    assert curves.gain[0] == pytest.approx(0.75) and opposite.gain[0] == pytest.approx(-0.75)
    constant = insertion_deletion(_red, images, baselines, fields, 0 * red, np.array([0]))
    assert abs(constant.gain[0]) < 0.15


def test_each_image_is_asked_about_its_own_class():
    images, baselines, fields, red = _toy(2)
    calls = []
    curves = insertion_deletion(_red, images, baselines, fields, red, np.array([0, 1]), advance=lambda: calls.append(1))
    assert curves.insertion_area[0] > 0.8 and (curves.insertion[1] == 0).all() and len(calls) == 2


def test_outside_of_the_field_nothing_changes_and_the_ends_are_photograph_and_baseline():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (1, _SIDE, _SIDE, 3)).astype(np.uint8)
    baselines, fields = 255 - images, _circle()[None]
    seen = []

    def probability(variants: np.ndarray, target: int) -> np.ndarray:
        seen.append(variants)
        return np.arange(len(variants), dtype=float)

    curves = insertion_deletion(probability, images, baselines, fields, random.random((1, _SIDE, _SIDE)), [0], steps=7)
    variants, outside = seen[0], ~fields[0]
    assert len(variants) == 14  # both ends are shared
    np.testing.assert_array_equal(variants[:, outside], np.broadcast_to(images[0][outside], (14, outside.sum(), 3)))
    np.testing.assert_array_equal(variants[0][fields[0]], baselines[0][fields[0]])
    np.testing.assert_array_equal(variants[7], images[0])
    assert curves.insertion[0].tolist() == list(range(8))
    assert curves.deletion[0].tolist() == [7, *range(8, 14), 0]
    changed = [(v != images[0]).any(axis=2)[fields[0]].mean() for v in variants[8:]]
    np.testing.assert_allclose(changed, np.arange(1, 7) / 7, atol=0.02)  # equal steps, the rarely equal pixel apart


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), shift=st.floats(-5, 5))
def test_only_the_order_counts(seed, scale, shift):
    images, baselines, fields, _ = _toy()
    map_ = np.random.default_rng(seed).integers(0, 9, (1, _SIDE, _SIDE)).astype(float)
    one = insertion_deletion(_red, images, baselines, fields, map_, [0], seed=seed)
    other = insertion_deletion(_red, images, baselines, fields, np.exp(map_ / 9) * scale + shift, [0], seed=seed)
    np.testing.assert_array_equal(one.insertion, other.insertion)
    assert ((one.gain >= -1) & (one.gain <= 1)).all()


def test_what_does_not_fit_is_refused():
    images, baselines, fields, red = _toy()
    with pytest.raises(ValueError, match="do not fit"):
        insertion_deletion(_red, images, baselines, fields, red[:, :5], [0])
    with pytest.raises(ValueError, match="not finite"):
        insertion_deletion(_red, images, baselines, fields, np.full_like(red, np.nan), [0])
    with pytest.raises(ValueError, match="none of blur, mean"):
        baseline_images(images, fields, "black")


def test_random_maps_have_the_grain_and_the_values_of_the_map_and_nothing_else_of_it():
    side = 64
    y, x = np.mgrid[:side, :side]
    smooth = np.maximum(np.exp(-((x - 20) ** 2 + (y - 30) ** 2) / 100) - 0.1, 0)  # a spot, and many equal zeros
    grainy = np.random.default_rng(1).random((side, side))
    maps, fields = np.stack([smooth, grainy] * 20), np.broadcast_to(_circle(side), (40, side, side))
    made = random_maps(maps, fields, seed=3)
    assert (made[~fields] == 0).all()
    np.testing.assert_allclose(np.sort(made[fields].reshape(40, -1)), np.sort(maps[fields].reshape(40, -1)))
    rough = [np.abs(np.diff(one, axis=1))[10:50, 10:50].mean() for one in (smooth, made[0], grainy, made[1])]
    assert rough[1] < 3 * rough[0] and rough[3] == pytest.approx(rough[2], rel=0.15)
    alike = [np.corrcoef(m[f], o[f])[0, 1] for m, o, f in zip(made, maps, fields, strict=True)]
    assert abs(np.mean(alike)) < 0.1
    assert not np.array_equal(made[0], made[2])
    np.testing.assert_array_equal(made, random_maps(maps, fields, seed=3))


def test_random_maps_are_worth_nothing_on_average():
    images, baselines, fields, red = _toy(60)
    curves = insertion_deletion(_red, images, baselines, fields, random_maps(red, fields), np.zeros(60, int))
    assert abs(curves.gain.mean()) < 0.1


def test_blur_knows_the_field_and_forgets_what_is_in_it():
    side, field = 100, _circle(100)
    image = np.zeros((side, side, 3), np.uint8)
    image[field] = (180, 90, 40)
    np.testing.assert_array_equal(blurred(image, field), image)  # the black outside does not darken the rim
    image[48:52, 48:52] = 0
    left = blurred(image, field)
    assert left[50, 50, 0] > 170 and (left[~field] == image[~field]).all()
    mean = mean_colored(image, field)
    assert len(np.unique(mean[field], axis=0)) == 1 and mean[50, 50, 0] == round(image[field][:, 0].mean())
    assert baseline_images(image[None][:0], field[None][:0]).shape == (0, side, side, 3)


def test_field_is_the_circle_without_black_bars_and_with_dark_lesions():
    circle = _circle(64)
    image = np.zeros((64, 64, 3), np.uint8)
    image[circle] = (150, 80, 40)
    image[30:36, 30:36] = 0
    cut = image.copy()
    cut[:8] = 3
    whole, barred, black = shown_fields(np.stack([image, cut, 0 * image]), circle)
    assert (whole != circle).mean() < 0.01 and whole[32, 32]
    assert not barred[:7].any() and (barred[9:] == circle[9:]).mean() > 0.99
    np.testing.assert_array_equal(black, circle)
