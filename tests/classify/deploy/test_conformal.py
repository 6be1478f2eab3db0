from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom

from fundus_synth.classify.deploy.conformal import (
    attainable,
    fit_class_sets,
    fit_half_width,
    fit_presence,
    patient_quantile,
)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _eyes(rng: np.random.Generator, patients: int, classes: int = 3, separation: float = 1.2):
    """Classes, probabilities and patients of 1 to 4 images a patient, which resemble each other; one class a patient."""
    images = rng.integers(1, 5, patients)
    truth = rng.choice(classes, patients, p=np.r_[0.7, np.full(classes - 1, 0.3 / (classes - 1))])
    row = np.repeat(np.arange(patients), images)
    habit = rng.normal(0, 1, (patients, classes))
    logits = separation * np.eye(classes)[truth][row] + habit[row] + 0.4 * rng.normal(0, 1, (len(row), classes))
    return truth[row], _softmax(logits), row


def test_rank_by_hand():
    scores = np.array([5.0, 1, 4, 2, 3, 9, 7, 8, 6])
    names = np.arange(9)
    assert patient_quantile(scores, names, 0.9) == 9  # rank ceil(10 x 0.9) = 9
    assert patient_quantile(scores, names, 0.5) == 5
    assert patient_quantile(scores, names, 0.51) == 6
    assert patient_quantile(scores, names, 0.91) == np.inf  # rank 10 of 9


def test_images_of_a_patient_share_its_weight():
    # Two patients: one with three images, one with one. Of three (with the unknown one) 0.5 is reached at weight 1.5.
    scores, names = np.array([1.0, 2, 3, 10]), np.array(["a", "a", "a", "b"])
    assert patient_quantile(scores, names, 1 / 3) == 3  # a's three thirds
    assert patient_quantile(scores, names, 0.5) == 10
    assert patient_quantile(scores[::-1], names[::-1], 1 / 3) == 3


@given(st.integers(1, 200), st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99]), st.integers(0, 2**31))
def test_one_image_a_patient_is_the_split_conformal_rank(count, level, seed):
    scores = np.random.default_rng(seed).normal(size=count)
    rank = int(np.ceil(np.round((count + 1) * level, 9)))
    expected = np.sort(scores)[rank - 1] if rank <= count else np.inf
    assert patient_quantile(scores, np.arange(count), level) == expected


@given(st.integers(2, 30), st.integers(2, 4), st.integers(0, 2**31))
def test_each_image_twice_changes_nothing(count, times, seed):
    rng = np.random.default_rng(seed)
    scores, names = rng.normal(size=count), rng.integers(0, count, count)
    doubled = patient_quantile(np.repeat(scores, times), np.repeat(names, times), 0.7)
    assert doubled == patient_quantile(scores, names, 0.7)


def test_what_few_patients_can_show():
    assert attainable(0.9, 9) == 0.9
    assert attainable(0.9, 6) == pytest.approx(6 / 7)
    assert attainable(0.9, 0) == 0


def test_a_class_with_few_patients_is_held_to_what_they_can_show_and_one_without_is_in_every_set():
    rng = np.random.default_rng(1)
    probabilities = _softmax(rng.normal(size=(44, 3)))
    true = np.repeat([0, 1], [40, 4])
    sets = fit_class_sets(true, probabilities, np.arange(44))
    assert sets.patients == (40, 4, 0)
    assert sets.levels == pytest.approx((0.9, 0.8, 0.0))
    assert sets.least[1] == pytest.approx(probabilities[40:, 1].min(), rel=2e-6)
    assert sets.least[2] == 0
    assert sets.members(np.array([0.999, 0.001, 0.0])).tolist()[2]
    assert sets.members(np.full(3, np.nan)).tolist() == [False] * 3


def test_what_was_fitted_on_is_covered_though_computed_in_single_precision():
    rng = np.random.default_rng(2)
    probabilities, true = _softmax(rng.normal(size=(30, 3))), np.repeat([0, 1, 2], 10)
    sets = fit_class_sets(true, probabilities, np.arange(30))
    single = probabilities.astype(np.float32)
    covered = sets.members(single)[np.arange(30), true]
    assert [covered[true == k].sum() for k in range(3)] == [10, 10, 10]  # rank ceil(11 x 0.9) = 10 of 10


@pytest.mark.filterwarnings("ignore:.*less labels")  # one class at a time is what is wanted
def test_the_sets_are_those_of_mapie():
    """Each class by itself, with MAPIE's least ambiguous sets fitted on the images of that class."""
    mapie = pytest.importorskip("mapie.classification")
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        classes_ = np.arange(3)
        fitted_ = True

        def fit(self, x, y):
            return self

        def predict_proba(self, x):
            return x

        def predict(self, x):
            return x.argmax(1)

    rng = np.random.default_rng(3)
    true = rng.integers(0, 3, 300)
    probabilities, new = (_softmax(rng.normal(size=(300, 3)) + bias) for bias in (2 * np.eye(3)[true], 0))
    sets = fit_class_sets(true, probabilities, np.arange(300), 0.85)
    for k in range(3):
        theirs = mapie.SplitConformalClassifier(Given(), confidence_level=0.85, conformity_score="lac", prefit=True)
        theirs.conformalize(probabilities[true == k], true[true == k])
        _, members = theirs.predict_set(new)
        np.testing.assert_array_equal(sets.members(new)[:, k], members[:, k, 0])
        assert 30 < members[:, k, 0].sum() < 270


def test_labels_are_bounded_on_both_sides():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, (400, 2))
    there = 1 / (1 + np.exp(-2 * (labels - 0.5) - rng.normal(size=(400, 2))))
    present, absent = fit_presence(labels, there, np.arange(400), 0.9)
    for k in range(2):
        assert present.least[k] == fit_class_sets(1 - labels[:, k], np.stack([there[:, k], 1 - there[:, k]], 1),
                                                  np.arange(400), 0.9).least[0]  # fmt: skip
        positive = labels[:, k] == 1
        assert 0.9 <= (there[positive, k] >= present.least[k]).mean() < 0.93
        assert 0.9 <= (1 - there[~positive, k] >= absent.least[k]).mean() < 0.93


def test_half_width_of_a_number():
    errors = np.array([-9.0, 1, 2, 3, 4, 5, 6, 7, 8])
    assert fit_half_width(errors, np.arange(9), 0.9) == (9.0, 0.9)
    assert fit_half_width(errors[:4], np.arange(4), 0.9) == (9.0, 0.8)


def _covered(rng: np.random.Generator, patients: int) -> np.ndarray:
    """Of one drawn calibration set: the share of 400 new patients of each of three classes whose first image is covered."""
    sets = fit_class_sets(*_eyes(rng, patients), 0.9)
    true, probabilities, names = _eyes(rng, 400)
    first = np.r_[True, names[1:] != names[:-1]]
    covered = sets.members(probabilities)[np.arange(len(true)), true]
    return np.array([covered[first & (true == k)].mean() for k in range(3)])


@pytest.mark.slow
def test_coverage_of_new_patients_per_class_by_simulation():
    """Over 1000 calibrations of 150 patients each class is covered in 90 % of new patients, and not in many more."""
    rng = np.random.default_rng(5)
    shares = np.array([_covered(rng, 150) for _ in range(1000)])
    share, error = shares.mean(0), 3 * shares.std(0) / np.sqrt(len(shares))
    assert (share > 0.9 - error).all()
    # About 105 and twice 22 patients; the next image that can be reached is at most one patient further.
    assert (share < 0.9 + np.array([1 / 80, 1 / 15, 1 / 15]) + error).all()


@pytest.mark.slow
def test_coverage_of_one_calibration_scatters_as_it_must():
    """With one image a patient the covered of m new ones are beta-binomial (Vovk 2012): mean and spread by simulation."""
    rng, n, new = np.random.default_rng(6), 30, 400
    counts = []
    for _ in range(1500):
        scores = rng.normal(size=n + new)
        counts.append((scores[n:] <= patient_quantile(scores[:n], np.arange(n), 0.9)).sum())
    rank = int(np.ceil(31 * 0.9))
    expected = betabinom(new, rank, n + 1 - rank)
    assert np.mean(counts) == pytest.approx(expected.mean(), abs=4 * expected.std() / np.sqrt(1500))
    assert np.std(counts) == pytest.approx(expected.std(), rel=0.1)
