from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.explain.patient_means import mean_difference, mean_interval

_PATIENTS = np.array(["a", "a", "b", "c", "d", "e"])


def test_estimate_leaves_out_nan_and_interval_holds_it():
    values = np.array([1.0, 3.0, np.nan, 2.0, 5.0, 4.0])
    found = mean_interval(values, _PATIENTS)
    assert found.estimate == pytest.approx(3.0) and found.patients == 4
    assert found.low <= 3.0 <= found.high
    assert 1.0 <= found.low and found.high <= 5.0


def test_images_of_a_patient_are_drawn_together():
    # Ten copies of each of four patients tell no more than one of each.
    values = np.array([0.0, 1.0, 2.0, 3.0])
    once = mean_interval(values, np.array(list("abcd")))
    often = mean_interval(np.repeat(values, 10), np.repeat(list("abcd"), 10))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_interval_has_the_width_of_the_standard_error():
    values = np.random.default_rng(0).normal(0, 1, 400)
    found = mean_interval(values, np.arange(400).astype(str))
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_difference_is_paired():
    values = np.random.default_rng(0).normal(0, 10, 30)
    found = mean_difference(values + 0.5, values, np.arange(30).astype(str))
    assert found.estimate == pytest.approx(0.5) and found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)
    assert found.p == pytest.approx(2 / 2001)
    back = mean_difference(values, values + 0.5, np.arange(30).astype(str))
    assert (back.estimate, back.p) == (pytest.approx(-0.5), found.p)
    same = mean_difference(values, values, np.arange(30).astype(str))
    assert same.p == 1


@pytest.mark.parametrize("values", [[1.0, 2.0], [np.nan, np.nan]])
def test_one_patient_or_none_says_nothing_of_others(values):
    found = mean_difference(np.array(values), np.zeros(2), np.array(["a", "a"]))
    assert np.isnan([found.low, found.high, found.p]).all()
