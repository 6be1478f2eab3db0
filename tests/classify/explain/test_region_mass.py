from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain.region_masks import region_masks
from fundus_synth.classify.explain.region_mass import joined, map_shares, region_mass

_PEOPLE = np.array([f"p{i // 2}" for i in range(8)])


def _regions(count):
    rows = [{
        "disc_x": 0.72 + 0.01 * i, "disc_y": 0.45, "disc_r": 0.06, "fovea_x": 0.45, "fovea_y": 0.5, "disc_confidence": 1.0,
        "fovea_confidence": 1.0, "eye": "", "centred": "macula", "orientation": "ok",
    } for i in range(count)]  # fmt: skip
    return [region_masks(row, {}, 64) for row in rows]


def test_a_map_that_lies_in_the_disc_has_all_its_mass_there():
    regions = _regions(8)
    maps = np.stack([(one["disc"] == 1).astype(np.float32) for one in regions])
    found = {one.region: one for one in region_mass(map_shares(maps, regions), _PEOPLE)}
    disc, macula = found["disc"], found["macula"]
    area = np.mean([one["disc"].sum() / one["field"].sum() for one in regions])
    assert disc.mass == pytest.approx(1) and disc.ratio.estimate == pytest.approx(1 / area)
    assert disc.beyond.low > 0.8 and disc.adjusted_p < 0.01
    assert macula.mass < 0.01 and macula.beyond.high < 0
    assert found["outside the field"].mass == 0 and np.isnan(found["outside the field"].adjusted_p)


def test_an_even_map_has_as_much_as_the_area_everywhere():
    regions = _regions(8)
    found = region_mass(map_shares(np.full((8, 64, 64), 3.0, np.float32), regions), _PEOPLE)
    assert {one.region for one in found} == {"disc", "macula", "background", "outside the field"}
    for one in found:
        assert one.ratio.estimate == pytest.approx(1, abs=1e-4)
        if one.region != "outside the field":
            assert one.chance == pytest.approx(one.area, rel=0.02)


def test_what_a_region_loses_at_random_places_is_made_up_for():
    """An eye cut above and below: turned, vessels that spread over all of it lose much, and an even map must not seem to
    prefer them."""
    field = np.zeros((64, 64), np.float32)
    field[22:42, 2:62] = 1
    vessels = field.copy()
    vessels[:, ::2] = 0
    regions = [{"field": field, "vessels": vessels, "background": field - vessels, "outside the field": 1 - field}] * 8
    found = {one.region: one for one in region_mass(map_shares(np.ones((8, 64, 64), np.float32), regions), _PEOPLE)}
    assert found["vessels"].chance == pytest.approx(found["vessels"].area, rel=1e-5)
    assert found["vessels"].beyond.estimate == pytest.approx(0, abs=1e-5)


def test_a_map_of_the_middle_is_no_better_than_random_places_know():
    """Two discs of a width from the middle, where a map that only likes the middle has more than the area."""
    regions = _regions(8)
    steps = (np.arange(64) + 0.5) / 64 - 0.5
    middle = np.exp(-(steps[None] ** 2 + steps[:, None] ** 2) / 0.04).astype(np.float32)
    found = {one.region: one for one in region_mass(map_shares(np.repeat(middle[None], 8, 0), regions), _PEOPLE)}
    assert found["macula"].ratio.low > 1.5
    assert found["macula"].chance > 1.2 * found["macula"].area


def test_the_sign_of_a_map_does_not_matter_and_a_map_of_zeros_is_not_counted():
    regions, random = _regions(4), np.random.default_rng(0)
    maps = random.normal(size=(4, 64, 64)).astype(np.float32)
    maps[3] = 0
    plain, turned = map_shares(maps, regions), map_shares(-maps, regions)
    np.testing.assert_allclose(plain["disc"].mass, turned["disc"].mass)
    assert np.isfinite(plain["disc"].mass).tolist() == [True, True, True, False]
    assert region_mass(plain, _PEOPLE[:4])[0].images == 3
    assert region_mass(map_shares(np.zeros((4, 64, 64), np.float32), regions), _PEOPLE[:4]) == []


def test_lots_of_images_are_measured_as_one():
    regions, maps = _regions(6), np.random.default_rng(1).random((6, 64, 64)).astype(np.float32)
    whole = map_shares(maps, regions, seed=5)
    parts = joined([map_shares(maps[:4], regions[:4], seed=5), map_shares(maps[4:], regions[4:], seed=5, first=4)])
    for field in ("mass", "area", "chance"):
        np.testing.assert_array_equal(getattr(whole["disc"], field), getattr(parts["disc"], field))
