from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fundus_synth.classify.explain.map_statistics import group_map, permutation_test


def _group(random, patients, name, side=12, planted=0.0, eyes=2):
    """Two eyes of each patient, alike, with a bump at one spot."""
    people = np.repeat([f"{name}{i}" for i in range(patients)], eyes)
    maps = np.repeat(random.normal(1, 0.3, (patients, side, side)), eyes, axis=0) + random.normal(
        0, 0.1, (len(people), side, side)
    )
    maps[:, 3:5, 6:8] += planted
    return maps.astype(np.float32), np.ones(maps.shape, bool), people


def test_mean_and_spread_are_over_patients_not_images():
    maps = np.array([1.0, 3.0, 8.0])[:, None, None] * np.ones((3, 2, 2), np.float32)
    found = group_map(maps, np.ones(maps.shape, bool), np.array(["a", "a", "b"]))
    assert found.mean == pytest.approx(np.full((2, 2), 5.0))  # (2 + 8) / 2
    assert found.spread == pytest.approx(np.full((2, 2), np.std([2, 8], ddof=1)))
    assert (found.images, found.patients, found.seen.tolist()) == (3, 2, [[2, 2], [2, 2]])


def test_a_place_seen_in_too_few_patients_is_unknown():
    maps = np.ones((3, 1, 2), np.float32)
    fields = np.array([[[True, True]], [[True, False]], [[True, False]]])
    found = group_map(maps, fields, np.array(["a", "b", "c"]))
    assert found.mean[0, 0] == 1 and np.isnan(found.mean[0, 1]) and np.isnan(found.spread[0, 1])
    assert found.seen.tolist() == [[3, 1]]


def test_a_difference_planted_at_one_spot_is_found_there_only():
    random = np.random.default_rng(0)
    found = permutation_test(_group(random, 20, "a", planted=1.0), _group(random, 25, "b"), permutations=300)
    planted = np.zeros((12, 12), bool)
    planted[3:5, 6:8] = True
    assert found.p == pytest.approx(1 / 301) and found.patients == (20, 25)
    assert (found.where() == planted).all()
    assert found.difference[planted] == pytest.approx(1.0, abs=0.4)


def test_one_place_without_correction_is_the_permutation_t_test():
    random = np.random.default_rng(1)
    first, second = random.normal(0.6, 1, 14), random.normal(0, 2, 18)
    sides = [
        (
            v.astype(np.float32)[:, None, None],
            np.ones((len(v), 1, 1), bool),
            np.array([f"{n}{i}" for i in range(len(v))]),
        )
        for v, n in ((first, "a"), (second, "b"))
    ]
    found = permutation_test(*sides, permutations=6000, seed=2)
    both, top = np.concatenate([first, second]), abs(ttest_ind(first, second, equal_var=False).statistic)
    deals = np.stack([random.permutation(32) for _ in range(6000)])
    drawn = np.abs(ttest_ind(both[deals[:, :14]], both[deals[:, 14:]], axis=1, equal_var=False).statistic)
    assert found.p == pytest.approx((drawn >= top).mean(), abs=0.025)


def test_false_alarms_stay_below_their_share_anywhere_in_the_map():
    random = np.random.default_rng(3)
    alarms = [
        permutation_test(_group(random, 8, "a", 8), _group(random, 12, "b", 8), permutations=99, seed=s).p <= 0.05
        for s in range(200)
    ]
    # 10 are expected; 18 or more would be a chance of 1 %.
    assert 1 <= sum(alarms) < 18


def test_patients_in_both_groups_are_compared_with_themselves():
    random = np.random.default_rng(4)
    own = random.normal(0, 5, (16, 6, 6))
    people = np.array([f"p{i:02}" for i in range(16)])
    first, second = (own + shift + random.normal(0, 0.3, own.shape) for shift in (0.6, 0.0))
    fields = np.ones(own.shape, bool)
    order = random.permutation(16)
    paired = permutation_test(
        (first.astype(np.float32), fields, people),
        (second[order].astype(np.float32), fields, people[order]), permutations=400,
    )  # fmt: skip
    # Between patients the spread is ten times the shift: only within them can it be seen.
    apart = permutation_test(
        (first.astype(np.float32), fields, people), (second.astype(np.float32), fields, np.char.add("q", people)),
        permutations=400,
    )  # fmt: skip
    assert paired.p < 0.02 and apart.p > 0.2


def test_maps_without_any_difference_say_so():
    maps, people = np.ones((10, 4, 4), np.float32), np.array([f"p{i}" for i in range(10)])
    side = (maps[:5], maps[:5] > 0, people[:5])
    found = permutation_test(side, (maps[5:], maps[5:] > 0, people[5:]), permutations=50)
    assert found.p == 1 and not found.where().any()


def test_one_patient_is_not_a_group():
    maps = np.ones((2, 3, 3), np.float32)
    with pytest.raises(ValueError, match="at least 2"):
        permutation_test((maps, maps > 0, np.array(["a", "a"])), (maps, maps > 0, np.array(["b", "c"])))
