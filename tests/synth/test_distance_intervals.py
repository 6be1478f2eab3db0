import numpy as np
import pytest

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.distance_intervals import (
    MEASURES,
    frechet_interval,
    kid_interval,
    neighbor_intervals,
    real_floor,
    recall_interval,
)
from fundus_synth.synth.distances import density_coverage, frechet_distance, frechet_of, kid, moments, precision_recall


def features(n: int, seed: int = 0, shift: float = 0.0, d: int = 5) -> np.ndarray:
    return np.random.default_rng([seed, n]).normal(shift, 1, (n, d))


def pairs_of_eyes(patients: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two nearly equal eyes a patient."""
    eyes = np.repeat(features(patients, seed), 2, axis=0)
    return eyes + 0.05 * features(2 * patients, seed + 1), np.repeat(np.arange(patients), 2)


def test_kid_s_value_and_interval():
    x, y = features(60), features(50, 1, shift=0.5)
    found = kid_interval(x, y, resamples=300)
    assert found.value == kid(x, y)
    assert found.low < found.value < found.high
    assert found == kid_interval(x, y, resamples=300)
    assert found != kid_interval(x, y, resamples=300, seed=1)
    narrow = kid_interval(x, y, resamples=300, confidence=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_copies_that_are_drawn_do_not_lift_kid():
    # Were copies paired, resamples would be larger by about 2 mean(k(x, x) - k(x, y)) / 40, here 0.45.
    x, y = features(40), features(40, 1)
    middle = kid_interval(x, y, resamples=2000, confidence=0.02)
    assert (middle.low + middle.high) / 2 == pytest.approx(kid(x, y), abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.8])
def test_kid_intervals_hold_the_truth(shift):
    truth = kid(features(4000, 1), features(4000, 2, shift))
    found = [
        kid_interval(features(60, 3 + s), features(90, 1000 + s, shift), resamples=300, seed=s) for s in range(100)
    ]
    assert np.mean([f.low <= truth <= f.high for f in found]) >= 0.9


def test_both_sets_are_resampled_by_patient():
    (x, patients), y = pairs_of_eyes(12), features(600, 7, shift=0.6)
    for way in (kid_interval, frechet_interval):
        one, other = way(x, y, patients, resamples=60), way(y, x, None, patients, resamples=60)
        singly = way(x, y, resamples=60)
        assert one.high - one.low > 1.1 * (singly.high - singly.low)
        assert one.high - one.low == pytest.approx(other.high - other.low, rel=0.4)


def test_frechet_interval_lies_about_its_value():
    x, y = features(80), features(80, 1, shift=0.4)
    found = frechet_interval(x, y, resamples=100)
    assert found.value == frechet_distance(x, y)
    assert found.low < found.value < found.high
    assert (found.low + found.high) / 2 == pytest.approx(found.value, rel=0.25)
    assert frechet_interval(x, x, resamples=30).low >= 0


def test_a_resample_is_the_set_with_rows_repeated():
    x, y = features(6), features(7, 1)
    random = np.random.default_rng(5)
    once = random.multinomial(6, np.full(6, 1 / 6)), random.multinomial(7, np.full(7, 1 / 7))
    repeated = frechet_distance(np.repeat(x, once[0], axis=0), np.repeat(y, once[1], axis=0))
    assert frechet_of(moments(x, once[0]), moments(y, once[1])) == pytest.approx(repeated)


def test_neighbor_intervals_are_of_the_four_measures():
    real, patients = pairs_of_eyes(40)
    made = features(70, 9, shift=0.6)
    found = neighbor_intervals(real, made, patients, resamples=300)
    near, wide = precision_recall(real, made, 3), density_coverage(real, made, 5)
    assert [found[n].value for n in ("precision", "recall", "density", "coverage")] == pytest.approx([*near, *wide])
    for name, estimate in found.items():
        assert estimate.low < estimate.value < estimate.high, name
    alone = neighbor_intervals(real, made, resamples=300)
    assert found["precision"] == alone["precision"]
    assert found["recall"].high - found["recall"].low > alone["recall"].high - alone["recall"].low


def test_recall_of_as_many_images_is_alike_for_sets_of_any_size_and_of_all_of_them_is_not():
    real, few, many = (features(n, seed, d=60) for n, seed in ((200, 1), (40, 2), (800, 3)))
    whole = {len(made): precision_recall(real, made).recall for made in (few, many)}
    assert recall_interval(real, few, 40).value == pytest.approx(whole[40])
    assert whole[40] - whole[800] > 0.05  # the same distribution, smaller balls
    assert recall_interval(real, many, 40).value == pytest.approx(whole[40], abs=0.05)


def test_recall_of_as_many_images_is_the_mean_over_draws_with_an_interval_over_patients():
    (real, patients), made = pairs_of_eyes(20), features(90, 5, shift=0.4)
    found = recall_interval(real, made, 30, patients, draws=200)
    random = np.random.default_rng(9)
    by_hand = [precision_recall(real, made[random.choice(90, 30, replace=False)]).recall for _ in range(200)]
    assert found.value == pytest.approx(np.mean(by_hand), abs=0.02)
    assert found.low < found.value < found.high
    assert found == recall_interval(real, made, 30, patients, draws=200)
    singly = recall_interval(real, made, 30, draws=200)
    assert found.high - found.low > 1.1 * (singly.high - singly.low)


@pytest.mark.parametrize("count", [3, 91])
def test_a_recall_of_too_few_or_too_many_images_is_refused(count):
    with pytest.raises(UserError, match="expected 4 to 90"):
        recall_interval(features(20), features(90, 1), count)


def test_the_floor_of_kid_is_about_zero_and_has_its_spread():
    real, patients = pairs_of_eyes(60)
    floor = real_floor(real, patients, splits=400)
    assert floor.low < 0 < floor.high
    assert abs(floor.value) < 0.25 * (floor.high - floor.low)
    rng, values = np.random.default_rng(0), []
    for _ in range(400):
        half = (rng.permutation(60) < 30)[patients]
        values.append(kid(real[half], real[~half], patients[half], patients[~half]))
    low, high = np.percentile(values, [2.5, 97.5])
    assert (floor.value, floor.low, floor.high) == pytest.approx((np.mean(values), low, high), abs=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_a_floor_and_patients_are_never_in_both_halves(measure):
    real, patients = pairs_of_eyes(20)
    floor = real_floor(real, patients, measure, splits=8)
    assert floor.low <= floor.value <= floor.high
    # Were eyes dealt out singly, the other eye of a patient would make the halves look alike.
    if measure == "frechet":
        assert floor.value > real_floor(real, None, measure, splits=8).value
    if measure == "recall":
        assert floor.value < real_floor(real, None, measure, splits=8).value


def test_what_has_no_floor_is_refused():
    real = features(6)
    with pytest.raises(UserError, match="no measure is called 'fid'; expected one of kid, frechet"):
        real_floor(real, None, "fid")
    with pytest.raises(UserError, match="3 patients; expected at least 4"):
        real_floor(real, list("aabbcc"))


def test_an_estimate_says_its_interval():
    assert str(kid_interval(features(9), features(9), resamples=10)).count(" to ") == 1
