from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from fundus_synth.classify.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
    reliability_table,
    scale_temperature,
)


def _case(seed: int, classes: int = 3, n: int = 200, sharpness: float = 1.0):
    """Logits, and truths drawn from their softmax: at `sharpness` 1 the logits are calibrated."""
    random = np.random.default_rng(seed)
    honest = random.normal(size=(n, classes)) * 1.5
    chances = scale_temperature(honest, 1)
    true = (random.random((n, 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return honest * sharpness, true


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("bins", [5, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_torchmetrics(classes, bins, seed):
    logits, true = _case(seed, classes)
    probabilities = scale_temperature(logits, 0.6)
    expected = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(true), classes, n_bins=bins, norm="l1"
    )
    assert expected_calibration_error(true, probabilities, bins) == pytest.approx(float(expected), abs=1e-6)


def _by_definition(true, probabilities, bins, weights) -> float:
    found = 0.0
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        mass = weights[inside].sum()
        if mass:
            accuracy = (weights * right)[inside].sum() / mass
            found += mass / weights.sum() * abs(accuracy - (weights * confidence)[inside].sum() / mass)
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(1, 15), bins=st.integers(1, 12))
def test_calibration_error_is_its_definition_on_edges_and_with_weights(data, n, bins):
    top = np.array(data.draw(st.lists(st.integers(5, 10), min_size=n, max_size=n))) / 10
    probabilities = np.stack([top, 1 - top], axis=1)
    true = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=float)
    weights[0] += 1
    expected = _by_definition(true, probabilities, bins, weights)
    assert expected_calibration_error(true, probabilities, bins, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("function", [expected_calibration_error, brier_score])
def test_many_weightings_at_once_are_each_weighting_alone(function):
    logits, true = _case(3)
    probabilities = scale_temperature(logits, 1)
    table = np.random.default_rng(0).integers(0, 3, (6, len(true))).astype(float)
    table[-1] = 0
    together = function(true, probabilities, weights=table)
    alone = [float(function(true, probabilities, weights=row)) for row in table]
    assert together.shape == (6,) and np.isnan(together[-1])
    np.testing.assert_allclose(together, alone, atol=1e-12)
    repeated = function(*(np.repeat(part, table[0].astype(int), axis=0) for part in (true, probabilities)))
    assert together[0] == pytest.approx(float(repeated), abs=1e-12)


def test_calibration_by_hand():
    # Four images at 0.9, three right: 0.15 apart. Two at 0.6, both right: 0.4 apart.
    top, true = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6]), np.array([0, 0, 0, 1, 0, 0])
    probabilities = np.stack([top, 1 - top], axis=1)
    assert expected_calibration_error(true, probabilities) == pytest.approx((4 * 0.15 + 2 * 0.4) / 6)
    table = reliability_table(true, probabilities)
    assert list(table["images"]) == [0] * 5 + [2, 0, 0, 4, 0]
    assert table.loc[8, ["low", "high", "confidence", "accuracy"]].tolist() == pytest.approx([0.8, 0.9, 0.9, 0.75])
    assert table.loc[5, "accuracy"] == 1 and np.isnan(table.loc[0, "confidence"])


def test_reliability_table_holds_the_calibration_error():
    logits, true = _case(5)
    probabilities = scale_temperature(logits, 0.5)
    table = reliability_table(true, probabilities, 15).dropna()
    found = (table["images"] * (table["confidence"] - table["accuracy"]).abs()).sum() / len(true)
    assert found == pytest.approx(float(expected_calibration_error(true, probabilities, 15)))


@pytest.mark.parametrize("classes", [2, 4])
def test_brier_score_agrees_with_scikit_learn(classes):
    logits, true = _case(1, classes)
    probabilities, weights = scale_temperature(logits, 1), np.random.default_rng(2).integers(0, 3, len(true))
    one_hot = np.eye(classes)[true]
    expected = sum(brier_score_loss(one_hot[:, k], probabilities[:, k], sample_weight=weights) for k in range(classes))
    assert brier_score(true, probabilities, weights) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_temperature_is_the_one_that_a_grid_finds(sharpness):
    logits, true = _case(7, 4, 400, sharpness)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4000))
    losses = [log_loss(true, scale_temperature(logits, t), labels=range(4)) for t in grid[::10]]
    coarse = grid[::10][int(np.argmin(losses))]
    near = grid[(grid > coarse * 0.97) & (grid < coarse * 1.03)]
    best = near[int(np.argmin([log_loss(true, scale_temperature(logits, t), labels=range(4)) for t in near]))]
    assert fit_temperature(logits, true) == pytest.approx(best, rel=2e-3)


def test_temperature_undoes_overconfidence():
    logits, true = _case(11, 3, 4000, sharpness=2.5)
    temperature = fit_temperature(logits[:2000], true[:2000])
    assert temperature == pytest.approx(2.5, rel=0.12)
    before, after = (scale_temperature(logits[2000:], t) for t in (1, temperature))
    errors = [float(expected_calibration_error(true[2000:], p)) for p in (before, after)]
    assert errors[1] < 0.05 < 0.1 < errors[0]
    np.testing.assert_array_equal(before.argmax(axis=1), after.argmax(axis=1))


def test_logarithms_of_probabilities_serve_as_well_as_logits():
    logits, true = _case(2)
    logs = np.log(scale_temperature(logits, 1))
    assert fit_temperature(logs, true) == pytest.approx(fit_temperature(logits, true), rel=1e-5)
    np.testing.assert_allclose(scale_temperature(logs, 1.7), scale_temperature(logits, 1.7), atol=1e-12)


def test_a_probability_of_nought_is_borne():
    with np.errstate(divide="ignore"):
        logs = np.log([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    assert np.isfinite(scale_temperature(logs, 2)).all()
    assert 0.01 <= fit_temperature(logs, np.array([1, 0, 1])) <= 100.1


def test_refuses_what_cannot_be_fitted():
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int))
    with pytest.raises(ValueError, match="do not fit"):
        fit_temperature(np.zeros((3, 2)), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="nan"):
        fit_temperature(np.full((2, 2), np.nan), np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="above 0"):
        scale_temperature(np.zeros((2, 2)), 0)
