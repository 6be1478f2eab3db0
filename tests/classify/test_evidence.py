from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.classify.evidence import (
    Difference,
    Interval,
    SeedPredictions,
    bootstrap,
    estimate,
    holm,
    independent_difference,
    interval,
    paired_difference,
    smallest_detectable_difference,
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


def test_what_is_not_known_is_said_in_words():
    nan, counts = float("nan"), (2000, 10, 1)
    assert str(Interval(0.7, 0.6, 0.8, *counts)) == "0.700 (0.600 to 0.800)"
    assert str(Difference(0.1, -0.05, 0.25, *counts)) == "+0.100 (-0.050 to +0.250)"
    assert str(Interval(0.7, nan, nan, *counts)) == "0.700 (interval not known)"
    assert str(Difference(0.1, nan, nan, *counts)) == "+0.100 (interval not known)"
    assert str(Interval(nan, nan, nan, *counts)) == "not known"


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
    ("low", "high", "p", "begins"),
    [
        (0.01, 0.05, 0.01, "gan helps: F1"),
        (-0.05, -0.01, 0.01, "gan harms: F1"),
        (-0.01, 0.05, 0.2, "No evidence that gan changes F1"),
    ],
)
def test_verdict_claims_only_what_the_interval_allows(low, high, p, begins):
    found = Difference((low + high) / 2, low, high, 2000, 90, 3, p, 0.01)
    sentence = verdict(found, "F1", "gan", "default")
    assert sentence.startswith(begins) and sentence.endswith("; 90 held-out patients, 3 seeds).")
    assert f", p {p:.3f};" in sentence
    corrected = verdict(found, "F1", "gan", "default", adjusted_p=0.06)
    assert corrected.startswith("No evidence that gan changes F1") and "Holm-adjusted p 0.060" in corrected
    assert verdict(found, "F1", "gan", "default", adjusted_p=0.04).startswith(begins)


def test_holm_by_hand():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06 again, 0.5 x 1; the order given is kept.
    np.testing.assert_allclose(holm([0.5, 0.03, 0.01, 0.02]), [0.5, 0.06, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    np.testing.assert_allclose(holm([0.02, float("nan"), 0.04]), [0.04, float("nan"), 0.04])
    assert holm([]).shape == (0,)


_P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(p_values=_P_VALUES)
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values):
    adjusted = holm(p_values)
    assert ((adjusted >= p_values) & (adjusted <= 1)).all()
    for alpha in (0.01, 0.05, 0.1, 0.5):
        rejected, left = np.zeros(len(p_values), dtype=bool), len(p_values)
        for i in np.argsort(p_values, kind="stable"):
            if p_values[i] * left > alpha:
                break
            rejected[i], left = True, left - 1
        np.testing.assert_array_equal(adjusted <= alpha, rejected)


@pytest.mark.slow
def test_holm_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(3)
    for count in range(1, 12):
        p_values = random.random(count) ** 3
        np.testing.assert_allclose(holm(p_values), multitest.multipletests(p_values, method="holm")[1], atol=1e-12)


def test_smallest_detectable_difference_agrees_with_its_closed_form():
    # Accuracy of two independent arms: the standard error of the difference is known.
    random, n = np.random.default_rng(4), 500
    one, other = (_run(random.random(n) < 0.7, _names(n)) for _ in range(2))
    found = paired_difference([one], [other], "accuracy")
    differences = (one.probabilities.argmax(1) == 0).astype(float) - (other.probabilities.argmax(1) == 0)
    error = differences.std() / np.sqrt(n)
    assert found.spread == pytest.approx(error, rel=0.05)
    assert smallest_detectable_difference(found) == pytest.approx((1.95996 + 0.84162) * error, rel=0.05)
    assert smallest_detectable_difference(found, power=0.5, alpha=1) == 0
    assert smallest_detectable_difference(found, alpha=0.01) > smallest_detectable_difference(found)
    assert np.isnan(smallest_detectable_difference(Difference(0.1, float("nan"), float("nan"), 2000, 10, 1)))


def _cohort(random: np.random.Generator, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True class of each image (that of its patient), patients, and noise of which patients share the larger part."""
    patients = np.repeat(np.arange(len(images)), images)
    shared, own = random.normal(size=len(images))[patients], random.normal(size=len(patients))
    return patients % 2, np.asarray(_names(len(images)))[patients], np.sqrt(0.6) * shared + np.sqrt(0.4) * own


def _reader(true: np.ndarray, patients: np.ndarray, noise: np.ndarray, skill: float = 1.0) -> SeedPredictions:
    positive = 1 / (1 + np.exp(-(skill * (true - 0.5) + noise)))
    return SeedPredictions(true, np.stack([1 - positive, positive], axis=1), patients)


def _coverage(trials: int, images: np.ndarray, metric: str, resamples: int) -> float:
    """Share of intervals that hold the truth, of patients with `images` photographs each."""
    random = np.random.default_rng(5)
    # AUROC of two normals one standard deviation apart: Phi(1 / sqrt 2). Accuracy of the middle threshold: Phi(1/2).
    truth = {"auroc": 0.7602, "accuracy": 0.6915}[metric]
    hits = 0
    for trial in range(trials):
        found = interval([_reader(*_cohort(random, images))], metric, resamples=resamples, seed=trial)
        hits += found.low <= truth <= found.high
    return hits / trials


@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
def test_interval_covers_the_truth(metric):
    assert 0.88 <= _coverage(200, np.full(100, 2), metric, 300) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["accuracy", "auroc"])
@pytest.mark.parametrize("images", ["two eyes", "one to six photographs"])
def test_interval_covers_the_truth_as_often_as_it_says(metric, images):
    each = np.full(150, 2) if images == "two eyes" else 1 + np.arange(150) // 2 % 6
    assert 0.92 <= _coverage(1000, each, metric, 1000) <= 0.98


def _claims(trials: int, gain: float, images: np.ndarray) -> tuple[float, float]:
    """Share of comparisons with p < 0.05 of two readers whose true accuracies differ by what `gain` in skill makes, and
    the mean of their smallest detectable differences."""
    random, claims, detectable = np.random.default_rng(6), 0, []
    for trial in range(trials):
        true, patients, noise = _cohort(random, images)
        other = _cohort(random, images)[2]
        arms = [_reader(true, patients, 0.7 * noise + np.sqrt(0.51) * part, skill)
                for part, skill in ((other, 1 + gain), (_cohort(random, images)[2], 1))]  # fmt: skip
        found = paired_difference(*([arm] for arm in arms), "accuracy", resamples=500, seed=trial)
        claims += found.p < 0.05
        detectable.append(smallest_detectable_difference(found))
    return claims / trials, float(np.mean(detectable))


@pytest.mark.slow
def test_the_smallest_detectable_difference_is_detected_as_often_as_it_says():
    from scipy.special import ndtr, ndtri

    images = np.full(150, 2)
    false_claims, detectable = _claims(600, 0.0, images)
    assert 0.02 <= false_claims <= 0.08
    gain = 2 * ndtri(ndtr(0.5) + detectable) - 1  # accuracy is Phi(skill / 2)
    power, _ = _claims(600, float(gain), images)
    assert 0.72 <= power <= 0.88


def side(rate: float, patients: int, random: np.random.Generator, first: int = 0) -> SeedPredictions:
    """Two images a patient, both right or both wrong; right with chance `rate`."""
    right = np.repeat(random.random(patients) < rate, 2)
    true = np.arange(2 * patients) % 2
    p = np.where(right == (true == 1), 0.9, 0.1)
    return SeedPredictions(true, np.stack([1 - p, p], 1), np.array([f"p{first + i // 2}" for i in range(2 * patients)]))


def test_the_interval_of_a_difference_between_other_patients_covers_the_truth():
    """200 experiments, true difference 0.2: 95 % intervals hold it in 190, give or take."""
    random = np.random.default_rng(0)
    found = [
        independent_difference([side(0.9, 80, random, 1000)], [side(0.7, 50, random)], "accuracy", resamples=300)
        for _ in range(200)
    ]
    assert 180 <= sum(one.low <= 0.2 <= one.high for one in found) <= 198
    assert np.mean([one.estimate for one in found]) == pytest.approx(0.2, abs=0.02)
    # What theory says of two independent shares of 80 and 50 patients.
    assert np.mean([one.spread for one in found]) == pytest.approx(np.sqrt(0.9 * 0.1 / 80 + 0.7 * 0.3 / 50), rel=0.05)


def test_the_two_sides_are_resampled_independently():
    """The same predictions on both sides: paired, the difference would have no spread at all."""
    runs = [side(0.7, 60, np.random.default_rng(1))]
    found = independent_difference(runs, runs, "accuracy")
    own = bootstrap(runs, "accuracy", None, 2000, 5).std()
    assert found.estimate == 0 and found.p > 0.8 and found.patients == 60
    assert found.spread == pytest.approx(np.sqrt(2) * own, rel=0.06) and found.low < -1.5 * own < 1.5 * own < found.high


def test_a_difference_that_cannot_be_told_is_nan():
    """One patient has the second class: without that patient there is no AUROC."""
    true = np.array([0, 0, 0, 1])
    runs = [SeedPredictions(true, np.full((4, 2), 0.5), np.array(list("abcd")))]
    found = independent_difference(runs, runs, "auroc", resamples=200)
    assert np.isnan([found.low, found.high, found.p, found.spread]).all()
