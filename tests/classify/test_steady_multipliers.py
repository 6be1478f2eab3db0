from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.metrics import score
from fundus_synth.classify.steady_multipliers import steady_multipliers
from fundus_synth.classify.thresholds import best_multipliers

_IMAGES = np.array([120, 60, 12, 5])


def _side(random, times: int = 1, tilt=0.0):
    true = np.repeat(np.arange(4), _IMAGES * times)
    seen = random.normal(size=(len(true), 4))
    seen[np.arange(len(true)), true] += 1.5
    values = np.exp(1.5 * seen + tilt)
    return true, values / values.sum(axis=1, keepdims=True)


def _gain(true, probabilities, factors) -> float:
    return float(score("macro_f1", true, probabilities * factors) - score("macro_f1", true, probabilities))


def test_on_other_patients_they_beat_factors_fitted_once():
    steady, once = [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        (true, probabilities), new = _side(random), _side(random, 20)
        patients = np.arange(len(true)).astype(str)
        steady.append(_gain(*new, steady_multipliers(true, probabilities, patients, seed)))
        once.append(_gain(*new, best_multipliers(true, probabilities)))
    assert np.mean(steady) > np.mean(once) + 0.005
    assert min(steady) > min(once)


def test_a_tilt_of_the_classes_is_mended():
    random = np.random.default_rng(1)
    tilt = np.log([1, 4, 8, 8])
    true, probabilities = _side(random, 3, tilt)
    new = _side(random, 20, tilt)
    assert _gain(*new, steady_multipliers(true, probabilities, np.arange(len(true)).astype(str))) > 0.1


def test_product_one_reproducible_and_a_class_without_images_is_no_trouble():
    true, probabilities = _side(np.random.default_rng(2))
    patients = np.arange(len(true)).astype(str)
    found = steady_multipliers(true, probabilities, patients, 5)
    assert np.prod(found) == pytest.approx(1) and found.shape == (4,)
    np.testing.assert_array_equal(found, steady_multipliers(true, probabilities, patients, 5))
    there = true != 3
    absent = steady_multipliers(true[there], probabilities[there], patients[there], 5)
    assert np.isfinite(absent).all() and absent.shape == (4,)


def test_patients_are_resampled_whole(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fundus_synth.classify.steady_multipliers.best_multipliers",
        lambda true, probabilities: seen.append(probabilities[:, 0]) or np.ones(2),
    )
    numbers = np.arange(12) / 100 + 0.1  # names each image; neighbours are a patient
    steady_multipliers(np.arange(12) % 2, np.stack([numbers, 1 - numbers], axis=1), np.repeat(list("abcdef"), 2))
    for drawn in seen:
        times = (drawn[:, None] == numbers).sum(axis=0)
        assert times.sum() == 12 and (times[::2] == times[1::2]).all()
    assert len({tuple(drawn) for drawn in seen}) > 10
