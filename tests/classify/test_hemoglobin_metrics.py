from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

from fundus_synth.classify.hemoglobin_metrics import MEASURES, agreement, who_labels
from fundus_synth.runtime.errors import UserError


def _case(patients: int, images: int = 1, seed: int = 0):
    """Patients with `images` photographs each, whose errors are wholly the patient's."""
    random = np.random.default_rng(seed)
    measured = np.repeat(random.normal(13, 1.5, patients), images)
    told = measured + np.repeat(random.normal(0.4, 1.2, patients), images)
    return measured, told, np.repeat([f"p{i:03}" for i in range(patients)], images)


def test_estimates_agree_with_their_definitions():
    measured, told, patients = _case(80, 2)
    found = agreement(measured, told, patients, resamples=50)
    differences = told - measured
    assert set(found) == set(MEASURES)
    assert found["mae"].estimate == pytest.approx(mean_absolute_error(measured, told))
    assert found["bias"].estimate == pytest.approx(differences.mean())
    assert found["lower_limit"].estimate == pytest.approx(differences.mean() - 1.96 * differences.std(ddof=1))
    assert found["upper_limit"].estimate == pytest.approx(differences.mean() + 1.96 * differences.std(ddof=1))


def test_intervals_agree_with_bland_and_altman_for_one_photograph_a_patient():
    measured, told, patients = _case(400)
    found = agreement(measured, told, patients)
    deviation = (told - measured).std(ddof=1)
    # Their standard errors: s / sqrt n of the bias, about sqrt(3 / n) s of a limit.
    for name, error in (
        ("bias", 1 / np.sqrt(400)),
        ("lower_limit", np.sqrt(3 / 400)),
        ("upper_limit", np.sqrt(3 / 400)),
    ):
        width = found[name].high - found[name].low
        assert width == pytest.approx(2 * 1.96 * error * deviation, rel=0.15), name
        assert found[name].low < found[name].estimate < found[name].high


def test_four_photographs_of_a_patient_are_one_piece_of_evidence():
    once, often = (agreement(*_case(60, images)) for images in (1, 4))
    for name in ("mae", "bias"):
        assert (often[name].low, often[name].high) == pytest.approx((once[name].low, once[name].high))
        assert often[name].patients == 60
    measured, told, _ = _case(60, 4)
    independent = agreement(measured, told, np.array([f"i{i}" for i in range(240)]))
    assert independent["bias"].high - independent["bias"].low < 0.7 * (often["bias"].high - often["bias"].low)


def test_same_seed_same_interval_and_a_perfect_reader():
    case = _case(30)
    assert agreement(*case, resamples=300, seed=2) == agreement(*case, resamples=300, seed=2)
    perfect = agreement(case[0], case[0], case[2], resamples=300)
    assert all((i.estimate, i.low, i.high) == (0, 0, 0) for i in perfect.values())


def test_who_class_depends_on_sex_and_age():
    hemoglobin = np.array([12.9, 13.0, 12.9, 11.9, 12.0, 11.2])
    sex = ["male", "male", "female", "female", "female", "male"]
    assert who_labels(hemoglobin, sex).tolist() == [1, 0, 0, 1, 0, 1]
    ages = np.array([40, 40, 40, 40, 40, 4.0])
    assert who_labels(hemoglobin, sex, ages).tolist() == [1, 0, 0, 1, 0, 0]
    with pytest.raises(UserError, match="expected male or female"):
        who_labels(hemoglobin[:1], [""])


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        agreement(np.ones(3), np.ones(3), np.array(["a", "b"]))
    with pytest.raises(ValueError, match="finite"):
        agreement(np.array([12, np.nan]), np.ones(2), np.array(["a", "b"]))
    with pytest.raises(ValueError, match="two patients"):
        agreement(np.ones(2), np.ones(2), np.array(["a", "a"]))
