from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fundus_synth.classify.thresholds import apply_multipliers, best_multipliers, best_thresholds


def _case(seed: int, classes: int, n: int = 60, digits: int = 2):
    """Unequal classes and a classifier that leans to the common ones; rounded, so that probabilities tie."""
    random = np.random.default_rng(seed)
    true = random.choice(classes, n, p=(shares := 0.5 ** np.arange(classes)) / shares.sum())
    raw = random.dirichlet(np.ones(classes), n) * 0.5 ** np.arange(classes)
    raw[np.arange(n), true] += 0.15
    probabilities = (raw / raw.sum(axis=1, keepdims=True)).round(digits) + 10.0**-digits
    return true, probabilities / probabilities.sum(axis=1, keepdims=True)


def _f1(label, told) -> float:
    return 2 * (label & told).sum() / max(1, label.sum() + told.sum())


def _macro_f1(true, probabilities) -> float:
    predicted = probabilities.argmax(axis=1)
    return float(np.mean([_f1(true == k, predicted == k) for k in np.unique(true)]))


def test_f1_of_these_tests_is_that_of_scikit_learn():
    true, probabilities = _case(0, 4)
    found = f1_score(true, probabilities.argmax(axis=1), labels=np.unique(true), average="macro", zero_division=0)
    assert _macro_f1(true, probabilities) == pytest.approx(found)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), n=st.integers(1, 40), digits=st.integers(1, 3))
def test_multipliers_are_never_worse_than_the_largest_probability(seed, classes, n, digits):
    true, probabilities = _case(seed, classes, n, digits)
    found = best_multipliers(true, probabilities)
    assert found.shape == (classes,) and (found > 0).all() and np.prod(found) == pytest.approx(1)
    assert _macro_f1(true, apply_multipliers(probabilities, found)) >= _macro_f1(true, probabilities) - 1e-9
    np.testing.assert_array_equal(found, best_multipliers(true, probabilities))


@pytest.mark.parametrize("seed", range(8))
def test_multipliers_of_two_classes_are_the_best_threshold_there_is(seed):
    true, probabilities = _case(seed, 2)
    odds = np.unique(probabilities[:, 0] / probabilities[:, 1])
    tried = np.r_[odds[0] / 2, (odds[1:] + odds[:-1]) / 2, odds[-1] * 2]
    best = max(_macro_f1(true, apply_multipliers(probabilities, np.array([1, factor]))) for factor in tried)
    found = _macro_f1(true, apply_multipliers(probabilities, best_multipliers(true, probabilities)))
    assert found == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_no_multiplier_can_be_improved_alone(seed):
    true, probabilities = _case(seed, 4, 80)
    found = best_multipliers(true, probabilities)
    reached = _macro_f1(true, apply_multipliers(probabilities, found))
    for label in range(4):
        for factor in np.exp(np.linspace(-3, 3, 60)):
            changed = found.copy()
            changed[label] *= factor
            assert _macro_f1(true, apply_multipliers(probabilities, changed)) <= reached + 1e-9


def test_multipliers_help_new_patients_of_a_classifier_with_the_wrong_prior():
    true, probabilities = _case(1, 4, 2000, 4)
    found = best_multipliers(true[:1000], probabilities[:1000])
    assert found[0] < found[3]  # the classifier leans to class 0
    before, after = (_macro_f1(true[1000:], p[1000:]) for p in (probabilities, apply_multipliers(probabilities, found)))
    assert after > before + 0.03


def test_multipliers_by_hand():
    # Class 1 is never the largest, but always above the others' share of it.
    true = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    found = best_multipliers(true, probabilities)
    assert 7 / 3 < found[1] / found[0] < 4
    assert apply_multipliers(probabilities, found).argmax(axis=1).tolist() == [0, 0, 1, 1]
    right = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6]])
    np.testing.assert_array_equal(best_multipliers(true, right), [1, 1])


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 4), n=st.integers(1, 25))
def test_thresholds_are_the_best_of_all_that_could_be_tried(seed, classes, n):
    random = np.random.default_rng(seed)
    labels, probabilities = random.random((n, classes)) < 0.3, random.random((n, classes)).round(1)
    found = best_thresholds(labels, probabilities)
    for k in range(classes):
        told = [_f1(labels[:, k], probabilities[:, k] >= t) for t in np.arange(-0.05, 1.1, 0.1)]
        reached = _f1(labels[:, k], probabilities[:, k] >= found[k])
        assert reached == pytest.approx(max(told), abs=1e-9)
        assert reached >= _f1(labels[:, k], probabilities[:, k] >= 0.5) - 1e-9


def test_thresholds_by_hand():
    labels = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]])
    probabilities = np.array([[0.3, 0.9, 0.9], [0.25, 0.1, 0.2], [0.15, 0.4, 0.8], [0.1, 0.6, 0.3]])
    np.testing.assert_allclose(best_thresholds(labels, probabilities), [0.2, 0.5, 0.55])


def test_a_probability_of_nought_and_an_absent_class_are_borne():
    probabilities = np.array([[1.0, 0.0, 0.0], [0.6, 0.4, 0.0], [0.0, 1.0, 0.0]])
    found = best_multipliers(np.array([0, 1, 1]), probabilities)
    assert np.isfinite(found).all()
    assert apply_multipliers(probabilities, found).argmax(axis=1).tolist() == [0, 1, 1]


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        best_multipliers(np.zeros(0, dtype=int), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="do not fit"):
        best_thresholds(np.zeros((3, 2)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="factors above 0"):
        apply_multipliers(np.ones((2, 2)) / 2, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="expected 2 factors"):
        apply_multipliers(np.ones((2, 2)) / 2, np.ones(3))
