from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.evidence import (
    Difference,
    SeedPredictions,
    bootstrap,
    estimate,
    interval,
    paired_difference,
    verdict,
)


def _run(correct: np.ndarray, patients: np.ndarray) -> SeedPredictions:
    """Predictions of class 0 that are right where `correct`."""
    probabilities = np.where(correct[:, None], [0.9, 0.1], [0.1, 0.9])
    return SeedPredictions(np.zeros(len(correct), dtype=int), probabilities, patients)


def _names(count: int) -> np.ndarray:
    return np.array([f"p-{i:04}" for i in range(count)])


def test_interval_of_a_proportion_agrees_with_its_closed_form():
    n, right = 400, 280
    run = _run(np.arange(n) < right, _names(n))
    found = interval([run], "accuracy")
    half = 1.96 * np.sqrt(0.7 * 0.3 / n)
    assert found.estimate == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - half, abs=0.1 * half)
    assert found.high == pytest.approx(0.7 + half, abs=0.1 * half)
    assert (found.patients, found.seeds) == (n, 1)


def test_two_eyes_of_a_patient_are_one_piece_of_evidence():
    correct = np.arange(100) < 70
    once = interval([_run(correct, _names(100))], "accuracy")
    both_eyes = interval([_run(np.repeat(correct, 2), np.repeat(_names(100), 2))], "accuracy")
    as_if_independent = interval([_run(np.repeat(correct, 2), _names(200))], "accuracy")
    assert (both_eyes.low, both_eyes.high) == pytest.approx((once.low, once.high))
    assert as_if_independent.high - as_if_independent.low < 0.8 * (both_eyes.high - both_eyes.low)


def test_seeds_that_disagree_widen_the_interval():
    patients = _names(200)
    same = [_run(np.arange(200) < 140, patients)] * 4
    mixed = [_run(np.arange(200) < k, patients) for k in (100, 120, 160, 180)]
    assert estimate(same, "accuracy") == pytest.approx(estimate(mixed, "accuracy"))
    narrow, wide = interval(same, "accuracy"), interval(mixed, "accuracy")
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low)


def test_difference_of_an_arm_with_itself_is_nothing():
    run = _run(np.arange(50) % 3 > 0, _names(50))
    found = paired_difference([run, run], [run, run], "accuracy")
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert verdict(found, "accuracy", "gan", "default").startswith("No evidence that gan")


def test_pairing_removes_what_both_arms_share():
    random = np.random.default_rng(0)
    hard = random.random(300) < 0.4
    better = ~hard | (np.arange(300) % 15 == 0)
    patients = _names(300)
    found = paired_difference([_run(better, patients)], [_run(~hard, patients)], "accuracy")
    alone = interval([_run(better, patients)], "accuracy")
    assert found.low > 0 and found.p < 0.01
    assert found.high - found.low < 0.5 * (alone.high - alone.low)
    assert found.estimate == pytest.approx(better.mean() - (~hard).mean())


def test_difference_turns_round_with_the_arms():
    random = np.random.default_rng(1)
    one, other = (_run(random.random(80) < share, _names(80)) for share in (0.6, 0.7))
    forth, back = (paired_difference([a], [b], "accuracy") for a, b in ((one, other), (other, one)))
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p == pytest.approx(back.p)


def test_same_seed_same_interval():
    run = _run(np.arange(60) % 4 > 0, _names(60))
    assert interval([run], "accuracy", seed=3) == interval([run], "accuracy", seed=3)
    assert not np.array_equal(*(bootstrap([run], "accuracy", None, 300, seed) for seed in (3, 4)))


def test_a_metric_that_is_seldom_defined_has_no_interval():
    true = np.array([0] * 9 + [1])
    run = SeedPredictions(true, np.tile([0.6, 0.4], (10, 1)), _names(10))
    found = interval([run], "auroc")
    assert found.estimate == 0.5 and np.isnan([found.low, found.high]).all()
    nothing = Difference(0.1, float("nan"), float("nan"), 2000, 10, 1)
    assert verdict(nothing, "AUROC", "gan", "default").startswith("No evidence")


def test_seeds_with_different_test_patients_are_pooled():
    first = _run(np.ones(10, dtype=bool), _names(20)[:10])
    second = _run(np.zeros(10, dtype=bool), _names(20)[10:])
    assert interval([first, second], "accuracy").patients == 20
    assert estimate([first, second], "accuracy") == 0.5
    assert np.isfinite(bootstrap([first, second], "accuracy", None, 300, 0)).all()


def test_arms_that_are_not_paired_are_refused():
    run, other = _run(np.ones(5, dtype=bool), _names(5)), _run(np.ones(5, dtype=bool), _names(6)[1:])
    with pytest.raises(ValueError, match="same images"):
        paired_difference([run], [other], "accuracy")
    with pytest.raises(ValueError, match="paired"):
        paired_difference([run], [run, run], "accuracy")
    with pytest.raises(ValueError, match="no predictions"):
        interval([], "accuracy")


@pytest.mark.parametrize(
    ("low", "high", "begins"),
    [(0.01, 0.05, "gan helps: F1"), (-0.05, -0.01, "gan harms: F1"), (-0.01, 0.05, "No evidence that gan changes F1")],
)
def test_verdict_claims_only_what_the_interval_allows(low, high, begins):
    sentence = verdict(Difference((low + high) / 2, low, high, 2000, 90, 3), "F1", "gan", "default")
    assert sentence.startswith(begins) and sentence.endswith("; 90 held-out patients, 3 seeds).")


def _coverage(trials: int, patients: int, metric: str, resamples: int) -> float:
    """Share of intervals that hold the truth: patients with two correlated eyes, half positive, normal scores."""
    random = np.random.default_rng(5)
    names = np.repeat(_names(patients), 2)
    true = np.repeat(np.arange(patients) % 2, 2)
    # AUROC of two normals one standard deviation apart: Phi(1 / sqrt 2). Accuracy of the middle threshold: Phi(1/2).
    truth = {"auroc": 0.7602, "accuracy": 0.6915}[metric]
    hits = 0
    for trial in range(trials):
        shared, own = random.normal(size=(2, 2 * patients))
        noise = np.sqrt(0.6) * np.repeat(shared[:patients], 2) + np.sqrt(0.4) * own
        positive = 1 / (1 + np.exp(-(true - 0.5 + noise)))
        run = SeedPredictions(true, np.stack([1 - positive, positive], axis=1), names)
        found = interval([run], metric, resamples=resamples, seed=trial)
        hits += found.low <= truth <= found.high
    return hits / trials


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_interval_covers_the_truth(metric):
    assert 0.88 <= _coverage(200, 100, metric, 300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_interval_covers_the_truth_as_often_as_it_says(metric):
    assert 0.93 <= _coverage(2000, 150, metric, 1000) <= 0.97
