from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain.region_fills import fill, opacity
from fundus_synth.preprocess.dataset_masks import whole_field

_FIELD = (whole_field(64) > 127).astype(np.float32)


def _eye(disc=(250, 220, 160)):
    """A brownish field that gets brighter to the right, with a disc."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[...] = (np.linspace(110, 150, 64)[None, :, None] * [1, 0.5, 0.3]).astype(np.uint8)
    image[_FIELD == 0] = 0
    image[_disc() > 0] = disc
    return image


def _disc():
    steps = np.arange(64) + 0.5
    return (np.hypot(steps[None] - 46, steps[:, None] - 30) <= 5).astype(np.float32)


def test_the_whole_region_is_replaced_and_what_is_far_is_not():
    alpha = opacity(_disc())
    assert (alpha[_disc() > 0] == 1).all()
    assert alpha.sum() < 2 * _disc().sum()
    steps = np.arange(64) + 0.5
    assert alpha[np.hypot(steps[None] - 46, steps[:, None] - 30) > 10].max() == 0
    thin = np.zeros((64, 64), np.float32)
    thin[32] = 0.3  # a vessel that covers a third of its pixels would still be seen at 0.7
    assert opacity(thin)[32, 32] == 1


def test_blank_carries_the_colours_around_inwards():
    found = fill(_eye(), opacity(_disc()), _FIELD, "blank").astype(int)
    plain = _eye(disc=(0, 0, 0))
    plain = np.where((_disc() > 0)[..., None], np.linspace(110, 150, 64)[None, :, None] * [1, 0.5, 0.3], plain)
    assert np.abs(found - plain).max() < 6


def test_nothing_of_a_blanked_region_is_left():
    one, other = (fill(_eye(disc), opacity(_disc()), _FIELD, "blank") for disc in ((255, 255, 255), (90, 0, 0)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["blank", "blur", "swap"])
def test_only_the_region_changes_and_the_black_outside_never(kind):
    random = np.random.default_rng(0)
    image = (_eye() * random.uniform(0.8, 1, (64, 64, 1))).astype(np.uint8)
    rim = _FIELD * (np.hypot(*(np.indices((64, 64)) - 31.5)) > 26)
    for mask in (_disc(), rim):
        alpha = opacity(mask)
        found = fill(image, alpha, _FIELD, kind, image[:, ::-1])
        untouched = (alpha == 0) | (_FIELD == 0)
        np.testing.assert_array_equal(found[untouched], image[untouched])
        assert (found != image).any()
        # Black from outside the field must not be drawn in.
        assert found[(_FIELD > 0) & (alpha > 0)].max(axis=1).min() > 60


def test_blur_keeps_the_mean_and_loses_the_detail():
    image = np.where(_FIELD[..., None] > 0, 120, 0).astype(np.uint8).repeat(1, axis=2)
    image = np.broadcast_to(image, (64, 64, 3)).copy()
    image[::2][_FIELD[::2] > 0] = 140
    found = fill(image, opacity(_disc()), _FIELD, "blur")[_disc() > 0]
    assert found.mean() == pytest.approx(130, abs=1) and found.std() < 1


def test_swap_takes_the_donor_in_the_colours_of_the_surroundings():
    donor = np.zeros((64, 64, 3), np.uint8)
    donor[_FIELD > 0] = (60, 90, 120)
    donor[_disc() > 0] = (80, 100, 125)
    found = fill(_eye(), opacity(_disc()), _FIELD, "swap", donor)
    around = np.array([np.linspace(110, 150, 64)[46] * share for share in (1, 0.5, 0.3)])
    assert found[_disc() > 0].mean(0) == pytest.approx(around + [20, 10, 5], abs=3)


def test_a_donor_without_this_place_leaves_a_blank():
    donor = np.zeros((64, 64, 3), np.uint8)
    np.testing.assert_array_equal(
        fill(_eye(), opacity(_disc()), _FIELD, "swap", donor), fill(_eye(), opacity(_disc()), _FIELD, "blank")
    )


def test_an_empty_region_changes_nothing():
    image = _eye()
    np.testing.assert_array_equal(fill(image, opacity(np.zeros((64, 64), np.float32)), _FIELD, "blank"), image)
