from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.explain.pointing import SCORES, locate, located_by_chance, turned_maps, with_margin

_SIDE = 40


def _field(side: int = _SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return x**2 + y**2 <= (side / 2) ** 2


def _mask() -> np.ndarray:
    mask = np.zeros((_SIDE, _SIDE), bool)
    mask[10:16, 20:26] = True
    return mask


def _scores(map_: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    found = locate(map_[None].astype(float), (_mask() if mask is None else mask)[None], _field()[None])
    return np.array([getattr(found, name)[0] for name in SCORES])


def test_perfect_opposite_and_constant_maps():
    np.testing.assert_array_equal(_scores(_mask()), 1)
    np.testing.assert_array_equal(_scores(~_mask())[1:], 0)
    near = with_margin(_mask())
    np.testing.assert_array_equal(_scores(~near), 0)
    field = _field()
    area, margin = (_mask() & field).sum() / field.sum(), (near & field).sum() / field.sum()
    np.testing.assert_allclose(_scores(np.ones_like(field)), [margin, area, area])
    found = locate(np.ones((1, _SIDE, _SIDE)), _mask()[None], field[None])
    assert (found.area[0], found.near[0]) == (pytest.approx(area), pytest.approx(margin))


def test_half_the_mass_and_half_the_pixels():
    map_ = np.zeros((_SIDE, _SIDE))
    map_[10:16, 17:23] = 1  # half of it in the mask
    np.testing.assert_allclose(_scores(map_)[1:], 0.5)
    map_[10:16, 17:20] = 3
    assert _scores(map_)[1] == pytest.approx(0.25) and _scores(map_)[2] == pytest.approx(0.5)


def test_ties_count_as_in_random_order():
    # 18 pixels in the mask are sure, the other 18 places go to the 18 + 18 that are second.
    map_ = np.zeros((_SIDE, _SIDE))
    map_[10:16, 20:23] = 2
    map_[10:16, 23:29] = 1
    assert _scores(map_)[2] == pytest.approx((18 + 18 * 0.5) / 36)


def test_the_maximum_may_miss_by_three_percent_of_the_width():
    for away, hit in ((0, 1), (1, 1), (3, 0)):
        map_ = np.zeros((_SIDE, _SIDE))
        map_[12, 25 + away] = 1
        assert _scores(map_)[0] == hit
    assert with_margin(np.pad(np.ones((1, 1), bool), 250)).sum(axis=0).max() == 31  # 15 pixels of 500, as published


def test_what_speaks_against_the_class_and_what_lies_outside_do_not_count():
    map_ = np.where(_mask(), 1.0, -5.0)
    np.testing.assert_array_equal(_scores(map_), 1)
    outside = np.where(_field(), map_, 100.0)
    np.testing.assert_array_equal(_scores(outside), 1)


def test_empty_maps_and_masks_have_no_score_and_bad_shapes_are_refused():
    assert np.isnan(_scores(np.zeros((_SIDE, _SIDE)))).all()
    assert np.isnan(_scores(np.ones((_SIDE, _SIDE)), np.zeros((_SIDE, _SIDE), bool))).all()
    none = np.zeros((0, _SIDE, _SIDE))
    assert locate(none, none > 0, none > 0).pointing.shape == (0,)
    with pytest.raises(ValueError, match="do not fit"):
        locate(np.zeros((1, 4, 4)), np.zeros((1, 5, 5), bool), np.zeros((1, 4, 4), bool))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), turns=st.integers(0, 3), mirrored=st.booleans())
def test_scale_turns_and_mirrors_do_not_matter(seed, scale, turns, mirrored):
    random = np.random.default_rng(seed)
    map_, mask = random.normal(size=(_SIDE, _SIDE)), random.random((_SIDE, _SIDE)) < random.uniform(0.01, 0.9)
    moved = [np.rot90(one[:, ::-1] if mirrored else one, turns) for one in (map_, mask)]
    one, other = _scores(map_, mask), _scores(moved[0] * scale, moved[1])
    np.testing.assert_allclose(one, other, rtol=1e-9)
    assert ((one >= 0) & (one <= 1)).all()


def test_turned_maps_keep_their_peak_and_its_distance_from_the_centre():
    map_ = np.zeros((1, _SIDE, _SIDE))
    map_[0, 18:21, 31:34] = 7
    turned = turned_maps(map_)[:, 0]
    assert turned.shape == (12, _SIDE, _SIDE) and set(np.unique(turned)) == {0, 7}
    y, x = (np.array([grid[one > 0].mean() for one in turned]) - 19.5 for grid in np.mgrid[:_SIDE, :_SIDE])
    np.testing.assert_allclose(np.hypot(x, y), np.hypot(12.5, 0.5), atol=0.6)
    angle = np.degrees(np.arctan2(y, x))
    start = np.where(np.arange(12) % 2, 180, 0)
    away = np.abs((angle - start + 180) % 360 - 180)
    assert (away > 40).all()  # none stays where it was


def test_chance_finds_as_much_as_the_mask_covers():
    map_ = np.random.default_rng(0).random((1, _SIDE, _SIDE))
    found = located_by_chance(np.repeat(map_, 30, axis=0), np.repeat(_mask()[None], 30, axis=0),
                              np.repeat(_field()[None], 30, axis=0))  # fmt: skip
    assert found.mass.mean() == pytest.approx(found.area[0], rel=0.15)
    ideal = located_by_chance(_mask()[None].astype(float), _mask()[None], _field()[None])
    assert ideal.mass[0] < 0.2  # even a perfect map, turned
