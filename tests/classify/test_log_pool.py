from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fundus_synth.classify.calibration import fit_temperature
from fundus_synth.classify.log_pool import fit_pool, pool


def _answers(random, true, strength: float, classes: int = 3) -> np.ndarray:
    """The probabilities of a calibrated classifier of equally common classes."""
    seen = random.normal(size=(len(true), classes))
    seen[np.arange(len(true)), true] += strength
    values = np.exp(strength * seen)
    return values / values.sum(axis=1, keepdims=True)


def test_a_calibrated_source_gets_the_weight_one_and_noise_gets_none():
    random = np.random.default_rng(0)
    true = random.integers(3, size=20000)
    found = fit_pool([_answers(random, true, 1.5), _answers(random, random.integers(3, size=20000), 1.5)], true)
    np.testing.assert_allclose(found.weights, [1, 0], atol=0.03)
    np.testing.assert_allclose(found.biases, 0, atol=0.06)


def test_independent_sources_add_up():
    random = np.random.default_rng(1)
    true = random.integers(3, size=20000)
    found = fit_pool([_answers(random, true, 1.0), _answers(random, true, 1.6)], true)
    np.testing.assert_allclose(found.weights, [1, 1], atol=0.06)
    np.testing.assert_allclose(found.shares, [0.5, 0.5], atol=0.03)


def test_two_classes_agree_with_logistic_regression_on_log_odds():
    random = np.random.default_rng(2)
    true = random.integers(2, size=3000)
    sources = [_answers(random, true, 0.8, 2), _answers(random, true, 0.5, 2)]
    odds = np.stack([np.log(source[:, 1] / source[:, 0]) for source in sources], axis=1)
    reference = LogisticRegression(C=1e9, tol=1e-9).fit(odds, true)
    found = fit_pool(sources, true)
    np.testing.assert_allclose(found.weights, reference.coef_[0], rtol=2e-3)
    assert found.biases[1] - found.biases[0] == pytest.approx(reference.intercept_[0], abs=2e-3)


def test_the_weight_of_one_source_is_the_inverse_temperature():
    random = np.random.default_rng(3)
    true = np.repeat(np.arange(3), 4000)
    source = _answers(random, true, 1.0) ** 3
    source /= source.sum(axis=1, keepdims=True)
    assert 1 / fit_pool([source], true).weights[0] == pytest.approx(fit_temperature(np.log(source), true), rel=0.01)


def test_the_tilt_of_the_classes_is_a_bias_and_not_a_weight():
    random = np.random.default_rng(4)
    true = random.choice(3, 20000, p=[0.8, 0.15, 0.05])  # the source speaks of equally common classes
    found = fit_pool([_answers(random, true, 1.5)], true)
    assert found.weights[0] == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(found.biases - found.biases[0], np.log([1, 0.15 / 0.8, 0.05 / 0.8]), atol=0.15)


def test_losses_are_those_of_the_fitted_probabilities():
    random = np.random.default_rng(5)
    true = random.integers(3, size=50)
    source = _answers(random, true, 1.0)
    found = fit_pool([source], true)
    told = source ** found.weights[0] * np.exp(found.biases)
    told /= told.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.losses([source], true), -np.log(told[np.arange(50), true]))


def test_pool_by_hand_and_one_source_cannot_veto():
    a, b = np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([[0.2, 0.8], [0.9, 0.1]])
    found = pool([a, b], [0.5, 0.5])
    assert found[0, 1] == pytest.approx(0.8**0.5 / (0.2**0.5 + 0.8**0.5))
    assert (found > 0).all() and found.sum(axis=1) == pytest.approx(1)
    np.testing.assert_allclose(pool([a, b], [0, 1]), b)
