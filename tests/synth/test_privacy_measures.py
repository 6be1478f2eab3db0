"""The parts of the privacy audit on numbers and maps whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score

from fundus_synth.synth.distance_intervals import Estimate
from fundus_synth.synth.privacy.likeness import neighbors, search_maps, search_vectors, seen, view_of
from fundus_synth.synth.privacy.limits import FALSE_ALARMS, cross_fitted_alarms, limits_of, share
from fundus_synth.synth.privacy.membership import Membership, auc_interval, membership


def names(count: int) -> list[str]:
    return [f"patient-{number}" for number in range(count)]


def smooth_maps(count: int, seed: int, side: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, side, side)).astype(np.float32)


# --- how near is too near


def test_the_limit_is_the_smallest_distance_until_there_are_enough_eyes_for_more():
    random = np.random.default_rng(0)
    few, many = random.random((299, 3)), random.random((1799, 3))
    assert np.array_equal(limits_of(few).values, few.min(0))
    assert limits_of(few).bound == pytest.approx(FALSE_ALARMS)
    assert np.array_equal(limits_of(many).values, np.sort(many, axis=0)[2])
    assert limits_of(many[:50]).bound == pytest.approx(3 / 51)


@pytest.mark.parametrize("eyes", [50, 299, 700])
def test_strangers_are_called_copies_no_more_often_than_the_bound(eyes):
    random = np.random.default_rng(eyes)
    called, bound = [], 0.0
    for _ in range(100):
        # Three measures of very different distributions, two of them dependent.
        base = random.normal(size=(eyes + 400, 1))
        distance = np.exp(np.hstack([base, base + random.normal(size=base.shape), random.normal(size=base.shape) ** 3]))
        limits = limits_of(distance[:eyes])
        bound = limits.bound
        called.append((limits.nearness(distance[eyes:]) < 1).any(axis=1).mean())
    error = np.std(called) / np.sqrt(len(called))
    assert bound / 3 - 3 * error < np.mean(called) < bound + 3 * error


def test_nearness_is_in_units_of_the_limit_and_a_limit_of_zero_blinds_its_measure():
    limits = limits_of(np.array([[0.5, 0.0], [0.8, 0.4]]))
    assert limits.nearness(np.array([[0.25, 0.1], [1.0, 0.0]])).tolist() == [[0.5, np.inf], [2.0, np.inf]]


def test_cross_fitted_alarms_count_who_is_nearer_than_all_other_patients():
    distance = np.linspace(1, 2, 60)[:, None].repeat(3, axis=1)
    found = cross_fitted_alarms(distance, names(60))
    assert 1 / 60 <= found.value <= 5 / 60
    assert found.low < found.value < found.high
    # Both eyes of the nearest patient are left out together, so both are nearer than the rest.
    assert cross_fitted_alarms(distance, [f"{i // 2}" for i in range(60)]).value >= 2 / 60
    assert cross_fitted_alarms(np.ones((30, 3)), names(30)).value == 0


def test_the_interval_of_a_share_is_wilsons():
    # Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263, and 0 of 20.
    assert [share(81, 263).low, share(81, 263).high] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert [share(0, 20).low, share(0, 20).high] == pytest.approx([0.0, 0.1611], abs=1e-4)


# --- membership


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.lists(st.integers(0, 5), min_size=2, max_size=30))
def test_auc_is_scikit_learns_ties_included(high, low):
    random = np.random.default_rng(0)
    found = auc_interval(np.array(high), np.array(low), np.arange(len(high)), np.arange(len(low)), random)
    truth = np.repeat([1, 0], [len(high), len(low)])
    assert found.value == pytest.approx(roc_auc_score(truth, np.concatenate([high, low])), abs=1e-6)
    assert found.low - 1e-6 <= found.value <= found.high + 1e-6


def test_members_that_score_higher_are_told_and_the_control_stays_at_one_half():
    random = np.random.default_rng(1)
    members, others = random.normal(2, 1, 300), random.normal(0, 1, 200)
    found = membership(members, others, names(300), names(200))
    assert found.auc.value == pytest.approx(0.921, abs=0.03)  # the normal distribution function at sqrt(2)
    assert found.auc.low > 0.85
    assert found.control_holds
    assert abs(found.control.value - 0.5) < 0.1
    same = membership(random.normal(0, 1, 300), others, names(300), names(200))
    assert same.auc.low < 0.5 < same.auc.high


def test_two_eyes_of_a_patient_are_no_more_evidence_than_one():
    random = np.random.default_rng(2)
    members, others = random.normal(0.5, 1, 100), random.normal(0, 1, 100)
    once = membership(members, others, names(100), names(100))
    twice = membership(members.repeat(2), others.repeat(2), [*np.repeat(names(100), 2)], [*np.repeat(names(100), 2)])
    widths = [one.auc.high - one.auc.low for one in (once, twice)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_a_control_that_is_off_is_said():
    off = Membership(Estimate(0.9, 0.8, 1.0), Estimate(0.6, 0.52, 0.7), 100, 100, 50)
    assert not off.control_holds
    assert replace(off, control=Estimate(0.45, 0.4, 0.51)).control_holds


def test_an_auc_tells_when_all_of_its_interval_does_and_there_are_patients_enough():
    found = Membership(Estimate(0.9, 0.8, 1.0), Estimate(0.5, 0.4, 0.6), 100, 100, 30)
    assert found.tells(0.6)
    assert not replace(found, auc=Estimate(0.9, 0.59, 1.0)).tells(0.6)
    assert not replace(found, patients=29).tells(0.6)


def test_too_few_patients_have_no_auc():
    assert membership(np.ones(9), np.ones(50), names(9), names(50)) is None
    assert membership(np.ones(50), np.ones(50), names(50), names(9) * 5 + names(5)) is None
    assert membership(np.ones(0), np.ones(50), [], names(50)) is None
    assert membership(np.ones(50), np.ones(20), names(25) * 2, names(10) * 2).patients == 10


# --- every picture against every other


def test_vectors_are_compared_as_scipy_does():
    random = np.random.default_rng(0)
    queries, pool = random.normal(size=(700, 5)), random.normal(size=(90, 5)) + 1
    truth = cdist(queries, pool)
    found = search_vectors(queries, pool)
    assert np.array_equal(found.nearest[:, 0], truth.argmin(1))
    assert np.allclose(found.distance[:, 0], truth.min(1))
    assert np.allclose(found.around, np.sort(truth, axis=1)[:, : neighbors(90)].mean(1))
    assert np.allclose(found.nearest_query, truth.min(0))


def test_unshifted_maps_are_compared_by_their_correlation():
    pool = smooth_maps(30, 0)
    queries = pool[[4, 9]] * 3
    found = search_maps(queries, pool, 2, np.zeros((12, 12), np.float32), mirror=False)
    assert found.nearest[:, 0].tolist() == [4, 9]
    assert np.allclose(found.distance[:, 0], 0, atol=2e-3)
    assert [view_of(int(view)) for view in found.view[:, 0]] == [(0, 0, False)] * 2
    # The plain correlation is a lower bound, for the best view is at least as good.
    plain = np.corrcoef(queries.reshape(2, -1), pool.reshape(30, -1))[:2, 2:]
    assert found.distance[0, 1] <= np.sqrt(2 - 2 * np.sort(plain[0])[-2]) + 0.05


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-1, 1)])
def test_a_shifted_or_mirrored_map_is_found_and_its_view_undoes_it(shift, mirrored):
    pool = smooth_maps(40, 1)
    original = np.roll(pool[7], (-shift[1], -shift[0]), axis=(0, 1))
    query = original[:, ::-1] if mirrored else original
    found = search_maps(np.ascontiguousarray(query)[None], pool, 3, np.zeros((12, 12), np.float32), mirror=True)
    assert found.nearest[0, 0] == 7
    assert view_of(int(found.view[0, 0])) == (*shift, mirrored)
    inside = seen(np.ascontiguousarray(query), int(found.view[0, 0]))[2:-2, 2:-2]
    assert np.allclose(inside, pool[7][2:-2, 2:-2], atol=1e-5)


def test_mirrored_maps_are_not_found_where_they_are_not_looked_for():
    pool = smooth_maps(40, 2)
    query = np.ascontiguousarray(pool[3][:, ::-1])[None]
    found = search_maps(query, pool, 1, np.zeros((12, 12), np.float32), mirror=False)
    assert found.distance[0, 0] > 0.5


def test_an_empty_map_is_like_no_other():
    pool = smooth_maps(20, 3)
    pool[5] = 0
    common = np.full((12, 12), 0.3, np.float32)
    found = search_maps(np.zeros((1, 12, 12), np.float32), pool, 1, common, mirror=True)
    assert found.distance[0, 0] == pytest.approx(np.sqrt(2))
    assert search_maps(pool[:3], pool, 1, common, mirror=True).nearest_query[5] == pytest.approx(np.sqrt(2))


def test_what_is_common_does_not_make_maps_alike():
    common = 10 * smooth_maps(1, 4)[0]
    pool, query = smooth_maps(20, 5) + common, smooth_maps(1, 6) + common
    alike = search_maps(query, pool, 1, np.zeros_like(common), mirror=False)
    unlike = search_maps(query, pool, 1, common, mirror=False)
    assert alike.distance[0, 0] < 0.3 < 1 < unlike.distance[0, 0]


def test_the_nearest_query_of_each_of_the_pool_is_found_over_all_blocks():
    pool = smooth_maps(15, 7)
    queries = np.concatenate([smooth_maps(600, 8), pool[[2]]])
    found = search_maps(queries, pool, 1, np.zeros((12, 12), np.float32), mirror=False)
    assert found.nearest_query.argmin() == 2
    assert found.nearest_query[2] < 5e-3
    assert (np.delete(found.nearest_query, 2) > 0.5).all()
