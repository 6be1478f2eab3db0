import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.synth.distance_intervals import MEASURES, Estimate
from fundus_synth.synth.judging import comparison
from fundus_synth.synth.judging.comparison import ALIKE, BEYOND, WORSE, Judgement, Measured, compare


def eyes(count: int, seed: int = 0, shift: float = 0.0, label: str = "a", first_patient: int = 0) -> Measured:
    """Normal features; two eyes a patient."""
    features = np.random.default_rng([seed, count]).normal(shift, 1, (count, 4))
    patients = np.array([f"p{first_patient + i // 2}" for i in range(count)])
    return Measured(features, patients, np.full(count, label))


def joined(*parts: Measured) -> Measured:
    return Measured(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("features", "patients", "labels")))


def of(measure: str, value: float) -> Judgement:
    return Judgement(measure, Estimate(value, value - 1, value + 1), Estimate(0.5, 0.4, 0.8))


@pytest.mark.parametrize(
    ("measure", "value", "ratio", "verdict"),
    [("kid", 1.6, 2.0, WORSE), ("kid", 0.2, 0.25, BEYOND), ("frechet", 1.0, 2.0, WORSE), ("recall", 0.25, 0.5, WORSE),
     ("density", 1.0, 2.0, BEYOND), ("coverage", 0.8, 1.6, ALIKE), ("frechet", 0.4, 0.8, ALIKE)],
)  # fmt: skip
def test_ratio_and_verdict(measure, value, ratio, verdict):
    found = of(measure, value)
    assert found.ratio == pytest.approx(ratio) and found.verdict == verdict
    assert found.plain_values()["floor"] == {"value": 0.5, "low": 0.4, "high": 0.8}


def test_no_ratio_over_nothing():
    assert Judgement("recall", Estimate(0.5, 0.4, 0.6), Estimate(0.0, 0.0, 0.0)).ratio is None


def test_eyes_of_one_distribution_cannot_be_told_apart():
    found = compare(eyes(200), eyes(100, 1))
    assert found.images == 100 and [one.measure for one in found.judgements] == list(MEASURES)
    assert sum(one.verdict != ALIKE for one in found.judgements) <= 1
    for one in found.judgements:
        assert one.value.low <= one.value.value <= one.value.high
        assert one.floor.low <= one.floor.value <= one.floor.high


def test_damage_is_noticed_and_the_more_the_worse():
    found = [compare(eyes(200), eyes(100, 1, shift)) for shift in (0.0, 0.5, 1.0, 3.0)]
    for measure in MEASURES:
        values = [one[measure].value.value for one in found]
        falls = measure not in comparison.DISTANCES
        assert values == sorted(values, reverse=falls), measure
        assert found[-1][measure].verdict == WORSE, measure


def test_nothing_but_typical_eyes_is_beyond_real_eyes_and_worse():
    typical = eyes(100, 1)
    found = compare(eyes(200), Measured(0.4 * typical.features, typical.patients, typical.labels))
    assert found["density"].verdict == BEYOND and found["recall"].verdict == WORSE


def test_another_mix_of_classes_is_no_damage():
    real = joined(eyes(200, label="a"), eyes(40, 1, 2.0, "b", 500))
    made = joined(eyes(60, 2, label="a"), eyes(60, 3, 2.0, "b", 900))
    found = compare(real, made)
    assert 70 <= found.images <= 60 + 20
    assert found["kid"].verdict == ALIKE and found["frechet"].verdict == ALIKE
    swapped = Measured(made.features, made.patients, made.labels[::-1])
    assert compare(real.rows(real.labels == "a"), swapped.rows(swapped.labels == "a"))["kid"].verdict == WORSE


def test_a_class_without_real_eyes_is_left_out():
    assert compare(eyes(80), joined(eyes(40, 1), eyes(500, 2, 9.0, "b"))).images == 40


ONE_PATIENT = Measured(eyes(50).features, np.array(["p"] * 50), np.full(50, "a"))


@pytest.mark.parametrize(("real", "made"), [(eyes(23), eyes(50, 1)), (eyes(50), eyes(11, 1)), (ONE_PATIENT, eyes(25))])
def test_too_few_images_say_nothing(real, made):
    found = compare(real, made)
    assert found.images == 0 and found.plain_values() == {"images": 0, "measures": {}}


def test_the_same_seed_gives_the_same_figures():
    assert compare(eyes(60), eyes(30, 1)) == compare(eyes(60), eyes(30, 1))
    assert compare(eyes(60), eyes(30, 1)) != compare(eyes(60), eyes(30, 1), seed=1)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=60), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_halves_share_no_patient_and_are_equally_many(patients, most, seed):
    names = np.array(patients)
    one, other = comparison._halves(names, most, np.random.default_rng(seed))
    assert not set(names[one]) & set(names[other])
    assert len(one) == len(other) <= most and len(set(one) | set(other)) == 2 * len(one)


def test_the_foreseen_interval_holds_the_next_value():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        *values, next_one = random.normal(10, 1, 21)
        found = comparison._foreseen(values, "frechet")
        held += found.low <= next_one <= found.high
    assert 0.925 < held / 400 < 0.975
    assert comparison._foreseen([0.9, 1.0] * 10, "recall").high == 1.0


def heavy_tailed(count: int, seed: int) -> Measured:
    """Odd eyes among the others, in as many dimensions as the retina space has."""
    random = np.random.default_rng([seed, count])
    features = random.standard_t(4, (count, 99)) * np.exp(0.3 * random.normal(size=(count, 1)))
    return Measured(features.astype(np.float32), np.arange(count).astype(str), np.full(count, "a"))


@pytest.mark.slow
@pytest.mark.parametrize("draw", [eyes, heavy_tailed])
def test_real_eyes_are_seldom_called_worse_or_beyond(draw):
    outside = {measure: 0 for measure in MEASURES}
    for seed in range(60):
        for one in compare(draw(120, 2 * seed), draw(60, 2 * seed + 1), seed).judgements:
            outside[one.measure] += one.verdict != ALIKE
    assert max(outside.values()) <= 12, outside
