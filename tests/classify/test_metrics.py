from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from fundus_synth.classify import metrics
from fundus_synth.classify.metrics import BY_CLASS, WHOLE, by_class, confusion_matrix, odir_score, score, summarize


def _random_case(classes: int, seed: int, n: int = 120):
    """Probabilities rounded to one digit, so that many scores tie; whole weights like the bootstrap's, some 0."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, n)
    true[:classes] = np.arange(classes)
    raw = random.dirichlet(np.ones(classes), n).round(1) + 0.01
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    weights = random.integers(0, 4, n).astype(float)
    weights[:classes] = 1
    return true, probabilities, weights


def _reference(name: str, true, probabilities, weights) -> float:
    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    options = {"sample_weight": weights}
    whole = {
        "accuracy": lambda: sk.accuracy_score(true, predicted, **options),
        "balanced_accuracy": lambda: sk.balanced_accuracy_score(true, predicted, **options),
        "micro_f1": lambda: sk.f1_score(true, predicted, average="micro", **options),
        "weighted_f1": lambda: sk.f1_score(true, predicted, average="weighted", **options),
        "quadratic_kappa": lambda: sk.cohen_kappa_score(true, predicted, weights="quadratic", **options),
        "log_loss": lambda: sk.log_loss(true, probabilities, labels=range(classes), **options),
        "balanced_log_loss": lambda: sk.log_loss(
            true, probabilities, labels=range(classes), sample_weight=_balanced(true, weights)
        ),
        "odir_score": lambda: _odir_reference(np.eye(classes)[true], probabilities, weights),
        "brier": lambda: sum(sk.brier_score_loss(true == k, probabilities[:, k], **options) for k in range(classes)),
        "ece": lambda: _ece_reference(true, probabilities, weights),
    }
    if name in whole:
        return whole[name]()
    kind = name.removeprefix("macro_")
    one_hot = np.eye(classes)[true]
    macro = {
        "f1": lambda: sk.f1_score(true, predicted, average="macro", **options),
        "recall": lambda: sk.recall_score(true, predicted, average="macro", **options),
        "precision": lambda: sk.precision_score(true, predicted, average="macro", zero_division=np.nan, **options),
        "auroc": lambda: sk.roc_auc_score(one_hot, probabilities, average="macro", **options),
        "average_precision": lambda: sk.average_precision_score(one_hot, probabilities, average="macro", **options),
        "specificity": lambda: np.mean(
            [sk.recall_score(true == k, predicted == k, pos_label=False, **options) for k in range(classes)]
        ),
    }
    return macro[kind]()


def _balanced(true, weights) -> np.ndarray:
    weights = np.ones(len(true)) if weights is None else weights
    return weights / np.bincount(true, weights)[true]


def _odir_reference(labels, probabilities, weights=None) -> float:
    flat, scores = labels.ravel(), probabilities.ravel()
    options = {"sample_weight": None if weights is None else np.repeat(weights, labels.shape[1])}
    kappa = sk.cohen_kappa_score(flat, scores > 0.5, **options)
    return (
        kappa + sk.f1_score(flat, scores > 0.5, average="micro", **options) + sk.roc_auc_score(flat, scores, **options)
    ) / 3


def _ece_reference(true, probabilities, weights, bins: int = 10) -> float:
    weights = np.ones(len(true)) if weights is None else weights
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    inside = [(top > m / bins) & (top <= (m + 1) / bins) for m in range(bins)]
    return sum(abs((weights * (top - right))[rows].sum()) for rows in inside) / weights.sum()


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("name", [*WHOLE, *(f"macro_{name}" for name in BY_CLASS)])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(name, classes, seed):
    true, probabilities, weights = _random_case(classes, seed)
    for given_weights in (None, weights):
        expected = _reference(name, true, probabilities, given_weights)
        found = score(name, true, probabilities, given_weights)
        assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), n=st.integers(12, 40))
def test_agrees_with_scikit_learn_whatever_is_drawn(seed, classes, n):
    true, probabilities, weights = _random_case(classes, seed, n)
    for name in (*WHOLE, *(f"macro_{name}" for name in BY_CLASS)):
        if name == "macro_precision" and set(probabilities.argmax(axis=1)) != set(range(classes)):
            continue  # scikit-learn's nan for a class that is never predicted has tests of its own below
        expected = _reference(name, true, probabilities, weights)
        assert score(name, true, probabilities, weights) == pytest.approx(expected, abs=1e-6), name


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(1, 8), n=st.integers(2, 30))
def test_odir_score_of_several_labels_an_image_agrees_with_scikit_learn(seed, classes, n):
    random = np.random.default_rng(seed)
    labels, weights = random.random((n, classes)) < 0.3, random.integers(1, 4, n).astype(float)
    labels[0], labels[1] = True, False
    probabilities = random.random((n, classes)).round(1)
    probabilities[:2, 0] = 0.9, 0.1
    for given_weights in (None, weights):
        expected = _odir_reference(labels, probabilities, given_weights)
        assert odir_score(labels, probabilities, given_weights) == pytest.approx(expected, abs=1e-6)
    table = random.integers(0, 3, (4, n)) + 0.5
    each = [_odir_reference(labels, probabilities, row) for row in table]
    np.testing.assert_allclose(odir_score(labels, probabilities, table), each, atol=1e-6)


def test_odir_score_of_one_who_says_nothing():
    labels = np.eye(8)[[0, 1, 2]]
    # No agreement beyond chance, seven of eight labels "right", every pair a tie.
    assert odir_score(labels, np.full((3, 8), 0.3)) == pytest.approx((0 + 0.875 + 0.5) / 3)


@pytest.mark.parametrize("name", BY_CLASS)
def test_of_two_classes_the_second_is_positive(name):
    true, probabilities, weights = _random_case(2, 4)
    predicted = probabilities.argmax(axis=1)
    expected = {
        "f1": lambda: sk.f1_score(true, predicted, sample_weight=weights),
        "precision": lambda: sk.precision_score(true, predicted, sample_weight=weights),
        "recall": lambda: sk.recall_score(true, predicted, sample_weight=weights),
        "specificity": lambda: sk.recall_score(true, predicted, pos_label=0, sample_weight=weights),
        "auroc": lambda: sk.roc_auc_score(true, probabilities[:, 1], sample_weight=weights),
        "average_precision": lambda: sk.average_precision_score(true, probabilities[:, 1], sample_weight=weights),
    }[name]()
    assert score(name, true, probabilities, weights) == pytest.approx(expected, abs=1e-6)
    named = score(f"{name}:sick", true, probabilities, weights, classes=("well", "sick"))
    assert named == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [*WHOLE, *BY_CLASS, "macro_f1"])
def test_many_weightings_at_once_are_each_weighting_alone(name):
    true, probabilities, _ = _random_case(3, 7)
    table = np.random.default_rng(1).integers(0, 3, (5, len(true))).astype(float)
    together = score(name, true, probabilities, table)
    alone = [score(name, true, probabilities, row) for row in table]
    assert together.shape == (5,)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)


def test_whole_weights_are_repetitions():
    true, probabilities, weights = _random_case(3, 9)
    times = weights.astype(int)
    for name in (*WHOLE, *BY_CLASS):
        repeated = score(name, np.repeat(true, times), np.repeat(probabilities, times, axis=0))
        assert score(name, true, probabilities, weights) == pytest.approx(repeated, abs=1e-12)


def test_values_by_hand():
    true = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.6, 0.4], [0.2, 0.8]])
    # Predicted 0 0 1 0 1: one false positive, one false negative, one hit, two correct rejections.
    assert score("precision", true, probabilities) == 0.5
    assert score("recall", true, probabilities) == 0.5
    assert score("specificity", true, probabilities) == pytest.approx(2 / 3)
    assert score("f1", true, probabilities) == 0.5
    assert score("macro_f1", true, probabilities) == pytest.approx((0.5 + 2 / 3) / 2)
    # Of six pairs the 0.8 wins three; the 0.4 beats 0.1, ties with 0.4 and loses against 0.7.
    assert score("auroc", true, probabilities) == pytest.approx(4.5 / 6)
    np.testing.assert_array_equal(confusion_matrix(true, probabilities.argmax(1), 2), [[2, 1], [1, 1]])


def test_a_class_that_is_not_there_is_nan_and_left_out_of_averages():
    true = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1]])
    table = by_class(true, probabilities, ("a", "b", "c")).set_index("class")
    assert np.isnan(table.loc["c", ["recall", "f1", "auroc", "average_precision"]].astype(float)).all()
    assert table.loc["c", "precision"] == 0 and table.loc["c", "images"] == 0
    assert score("macro_recall", true, probabilities) == pytest.approx(0.75)
    assert score("macro_f1", true, probabilities) == pytest.approx((2 / 3 + 1) / 2)


def test_one_class_only_and_never_predicted():
    true, probabilities = np.zeros(4, dtype=int), np.tile([0.9, 0.1], (4, 1))
    found = summarize(true, probabilities)
    assert found["accuracy"] == 1 and np.isnan(found["auroc"]) and np.isnan(found["f1"])
    never = score("precision:b", np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), classes=("a", "b"))
    assert np.isnan(never)
    assert score("f1:b", np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), classes=("a", "b")) == 0


def test_no_weight_at_all_is_nan():
    true, probabilities, _ = _random_case(3, 2)
    for name in (*WHOLE, *BY_CLASS):
        assert np.isnan(score(name, true, probabilities, np.zeros(len(true)))), name


@settings(max_examples=60, deadline=None)
@given(data=st.data(), classes=st.integers(2, 4), n=st.integers(1, 12))
def test_every_metric_is_nan_or_in_range(data, classes, n):
    true = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    raw = np.array(data.draw(st.lists(st.integers(0, 5), min_size=n * classes, max_size=n * classes))).reshape(
        n, classes
    )
    probabilities = (raw + 1e-3) / (raw + 1e-3).sum(axis=1, keepdims=True)
    for name, value in summarize(true, probabilities).items():
        low = -1 if name in ("quadratic_kappa", "odir_score") else 0
        high = {"log_loss": np.inf, "balanced_log_loss": np.inf, "brier": 2}.get(name, 1)
        assert np.isnan(value) or low - 1e-9 <= value <= high + 1e-9, name
    assert np.isfinite([score(name, true, probabilities) for name in ("accuracy", "macro_f1", "log_loss", "ece")]).all()


def test_refuses_what_it_does_not_know():
    true, probabilities, _ = _random_case(2, 0)
    with pytest.raises(ValueError, match="unknown metric"):
        score("f2", true, probabilities)
    with pytest.raises(ValueError, match="no class"):
        score("f1:glaucoma", true, probabilities, classes=("a", "b"))
    with pytest.raises(ValueError, match="do not fit"):
        score("accuracy", true[:-1], probabilities)
    with pytest.raises(ValueError, match="weights for"):
        score("accuracy", true, probabilities, np.ones(3))


def test_empty_scores_are_nan():
    assert np.isnan(metrics.binary_auroc(np.zeros(0, bool), np.zeros(0), np.ones((1, 0)))).all()
