from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain.random_regions import random_circle, random_place, random_sector
from fundus_synth.classify.explain.region_masks import region_masks
from fundus_synth.preprocess.dataset_masks import whole_field

_ROW = {
    "disc_x": 0.75, "disc_y": 0.45, "disc_r": 0.06, "fovea_x": 0.45, "fovea_y": 0.5, "disc_confidence": 1.0,
    "fovea_confidence": 1.0, "eye": "", "centred": "macula", "orientation": "ok",
}  # fmt: skip
_FIELD = np.pi / 4


def _box(top, bottom, left, right, side=64):
    mask = np.zeros((side, side), np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


def test_without_masks_disc_and_macula_are_circles_at_the_landmarks():
    found = region_masks(_ROW, {}, 64)
    assert set(found) == {"field", "disc", "macula", "centre", "rim", "background", "outside the field"}
    assert found["disc"].mean() == pytest.approx(np.pi * 0.06**2, rel=0.02)
    assert found["macula"].mean() == pytest.approx(np.pi * 0.12**2, rel=0.02)
    assert found["disc"][28, 48] == 1 and found["macula"][32, 28] == 1
    for name in ("centre", "rim"):
        assert found[name].mean() == pytest.approx(_FIELD / 4, rel=0.02)
    assert found["outside the field"].mean() == pytest.approx(1 - _FIELD, rel=0.02)
    np.testing.assert_allclose(found["background"], found["field"] - found["disc"] - found["macula"], atol=1e-5)
    assert all(mask.dtype == np.float32 and mask.shape == (64, 64) for mask in found.values())


def test_masks_go_before_circles_and_vessels_in_the_disc_are_disc():
    masks = {
        "optic_disc": _box(20, 30, 40, 50),
        "vessels": _box(25, 27, 10, 60),
        "microaneurysms": _box(40, 41, 30, 31),
    }
    found = region_masks(_ROW, masks, 64)
    assert found["disc"].sum() == 100 and found["disc"][25, 45] == 1
    assert found["vessels"][25, 20] == 1 and not (found["vessels"] * found["disc"]).any()
    assert found["lesions"].sum() == 1
    assert found["background"][25, 20] == 0


def test_a_lesion_smaller_than_a_pixel_is_not_lost():
    found = region_masks(_ROW, {"hard_exudates": _box(128, 130, 128, 130, 256)}, 64)
    assert found["lesions"].sum() == pytest.approx(4 / 16)


def test_soft_masks_count_from_half_and_empty_ones_are_known_to_be_empty():
    soft = np.full((64, 64), 100, np.uint8)
    soft[30:34, 30:34] = 200
    found = region_masks(_ROW, {"haemorrhages": soft}, 64)
    assert found["lesions"].sum() == 16
    assert region_masks(_ROW, {"haemorrhages": np.zeros((64, 64), np.uint8)}, 64)["lesions"].sum() == 0
    # A disc that nobody outlined is still where its landmark is.
    assert region_masks(_ROW, {"optic_disc": np.zeros((64, 64), np.uint8)}, 64)["disc"].any()


def test_without_landmarks_there_is_no_disc_and_no_macula():
    found = region_masks({**_ROW, "fovea_confidence": 0.1}, {}, 32)
    assert set(found) == {"field", "centre", "rim", "background", "outside the field"}


def _circle(x, y, radius, side=64):
    steps = (np.arange(side) + 0.5) / side
    return (np.hypot(steps[None] - x, steps[:, None] - y) <= radius).astype(np.float32)


def test_a_small_region_goes_anywhere_in_the_field_and_keeps_its_area():
    field, disc = (whole_field(64) > 127).astype(np.float32), _circle(0.8, 0.5, 0.06)
    random = np.random.default_rng(0)
    placed = [random_place(disc, field, random) for _ in range(300)]
    assert min(one.sum() for one in placed) >= 0.97 * disc.sum()
    assert max((one * (1 - field)).sum() for one in placed) == 0
    # Its centre is as often in the inner half of the area that it can reach as in the outer one.
    steps = np.arange(64) - 31.5
    far = np.array([np.hypot(one.sum(0) @ steps, one.sum(1) @ steps) / one.sum() for one in placed])
    assert far.max() > 26 and abs(np.mean(far < 28.2 / np.sqrt(2)) - 0.5) < 0.1


def test_a_region_that_fills_the_field_is_turned_only():
    field = (whole_field(64) > 127).astype(np.float32)
    half = field * (np.arange(64)[None] < 32)
    random = np.random.default_rng(1)
    placed = [random_place(half, field, random) for _ in range(40)]
    assert min(one.sum() for one in placed) >= 0.97 * half.sum()
    assert np.ptp([one[:, :32].sum() for one in placed]) > 0.5 * half.sum()


def test_of_places_that_all_lose_something_the_best_is_taken(monkeypatch):
    from fundus_synth.classify.explain import random_regions

    kept = iter([100.0, 400.0, 300.0, *[200.0] * 9])
    monkeypatch.setattr(random_regions, "_moved", lambda *_: np.full((10, 10), next(kept) / 100, np.float32))
    found = random_place(np.full((10, 10), 10, np.float32), np.ones((10, 10), np.float32), np.random.default_rng(0))
    assert found.sum() == pytest.approx(400)


def test_a_random_sector_has_the_area_and_starts_anywhere():
    random, free = np.random.default_rng(0), (whole_field(64) > 127).astype(np.float32)
    free[24:40, 24:40] = 0
    placed = [random_sector(700.0, free, random) for _ in range(60)]
    for one in placed:
        assert one.sum() == pytest.approx(700, abs=1) and not (one * (1 - free)).any()
    # A quarter of what is free: as often here as there, and in one piece.
    assert np.mean(placed, axis=0)[free > 0] == pytest.approx(700 / free.sum(), abs=0.25)
    rows, columns = np.nonzero(placed[0])
    assert np.hypot(rows.mean() - 31.5, columns.mean() - 31.5) > 15
    assert random_sector(1e9, free, random).sum() == free.sum()


def test_a_random_circle_has_the_area_and_stays_inside():
    field, random = (whole_field(64) > 127).astype(np.float32), np.random.default_rng(2)
    for _ in range(20):
        found = random_circle(700.0, field, random)
        assert found.sum() == pytest.approx(700, rel=0.02)
