from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fundus_synth.preprocess.illumination import clahe, correct_illumination, graham
from fundus_synth.preprocess.standardize import standardize

SIZE = 120


def _circle(share: float = 1.0) -> np.ndarray:
    x = np.arange(SIZE) + 0.5 - SIZE / 2
    return ((x[None] ** 2 + x[:, None] ** 2 <= (share * SIZE / 2) ** 2) * 255).astype(np.uint8)


@pytest.mark.parametrize("color", [(200, 100, 50), (0, 0, 0), (255, 255, 255)])
def test_graham_of_a_constant_eye_is_grey_128_up_to_its_rim(color):
    image = np.where(_circle()[..., None] > 0, np.array(color, np.uint8), 0).astype(np.uint8)
    corrected, mask = graham(image, _circle())
    assert np.array_equal(mask, _circle(0.9))
    assert (corrected[mask > 0] == 128).all()


def test_graham_matches_its_formula_away_from_the_rim():
    image = np.random.default_rng(0).integers(80, 160, (SIZE, SIZE, 3)).astype(np.uint8)
    corrected, _ = graham(image, _circle())
    average = gaussian_filter(image.astype(float), (SIZE / 60, SIZE / 60, 0), truncate=6)
    expected = np.clip(4 * (image - average) + 128, 0, 255)
    center = _circle(0.6) > 0
    assert np.abs(corrected[center] - expected[center]).max() <= 1.5


def test_graham_removes_slow_light_and_keeps_small_things():
    x = np.linspace(60, 180, SIZE)
    image = np.repeat(np.tile(x, (SIZE, 1))[..., None], 3, 2).astype(np.uint8)
    image[60, 60] = 20
    corrected, mask = graham(image, _circle())
    inner = _circle(0.8) > 0
    inner[50:70, 50:70] = False
    assert np.abs(corrected[inner].astype(int) - 128).max() <= 4
    assert corrected[60, 60].max() < 20


def test_clahe_keeps_hue_and_chroma_and_spreads_lightness():
    random = np.random.default_rng(0)
    lab = np.full((SIZE, SIZE, 3), (110, 150, 150), np.uint8)
    lab[..., 0] += random.integers(0, 12, (SIZE, SIZE)).astype(np.uint8)
    image = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    after = cv2.cvtColor(clahe(image, _circle()), cv2.COLOR_RGB2LAB)
    inside = _circle() > 0
    assert np.abs(after[inside][:, 1:].astype(int) - 150).max() <= 4
    assert after[inside][:, 0].std() > 1.5 * lab[inside][:, 0].std()


def test_clahe_does_not_depend_on_what_lies_outside():
    image = np.random.default_rng(1).integers(60, 200, (SIZE, SIZE, 3)).astype(np.uint8)
    other = np.where(_circle()[..., None] > 0, image, 255 - image).astype(np.uint8)
    assert np.array_equal(clahe(image, _circle())[_circle() > 0], clahe(other, _circle())[_circle() > 0])


def test_none_changes_nothing():
    image = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    same, mask = correct_illumination(image, _circle(), "none")
    assert np.array_equal(same, image) and np.array_equal(mask, _circle())


@pytest.mark.parametrize("name", ["none", "graham", "clahe"])
def test_outside_stays_black_whatever_the_correction(frame, name):
    result = standardize(frame(200, 260, 130, 90, 95, surround=10), 96, name)
    assert not result.image[result.mask == 0].any() and result.image[result.mask > 0].any()


def test_gray_world_makes_the_mean_grey_and_keeps_its_brightness():
    image = np.random.default_rng(3).integers(20, 90, (SIZE, SIZE, 3)).astype(np.uint8) + np.uint8([60, 20, 0])
    corrected, mask = correct_illumination(image, _circle(), "gray-world")
    before, after = image[mask > 0].mean(axis=0), corrected[mask > 0].mean(axis=0)
    assert np.ptp(before) > 50 and np.ptp(after) < 1
    assert after.mean() == pytest.approx(before.mean(), abs=1)


def test_percentile_stretches_all_channels_alike():
    image = np.random.default_rng(4).integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
    corrected, mask = correct_illumination(image, _circle(), "percentile")
    low, high = np.percentile(image[mask > 0], (0.2, 99.8))
    expected = ((image.astype(float) - low) * 255 / (high - low)).clip(0, 255)
    assert np.abs(corrected[mask > 0] - expected[mask > 0]).max() <= 0.51
    flat = np.full((SIZE, SIZE, 3), 90, np.uint8)
    assert not correct_illumination(flat, _circle(), "percentile")[0].any()


@pytest.mark.parametrize("name", ["gray-world", "percentile"])
def test_global_corrections_look_at_the_field_only(name):
    image = np.random.default_rng(5).integers(60, 200, (SIZE, SIZE, 3)).astype(np.uint8)
    other = np.where(_circle()[..., None] > 0, image, 0).astype(np.uint8)
    one, two = (correct_illumination(picture, _circle(), name)[0][_circle() > 0] for picture in (image, other))
    assert np.array_equal(one, two)
