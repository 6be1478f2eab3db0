"""Distances against torch-fidelity, scipy and loops written down from the papers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist, pdist

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth import distances
from fundus_synth.synth.distances import (
    ball_radii,
    density_coverage,
    diversity,
    frechet_distance,
    kid,
    mean_across,
    mean_within,
    precision_recall,
    squared_distances,
)


def features(n: int, d: int = 6, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng([seed, n, d]).normal(shift, np.linspace(1, 2, d), (n, d))


def kernel(a: np.ndarray, b: np.ndarray) -> float:
    return float((a @ b / len(a) + 1) ** 3)


def slow_kid(x, y, x_groups=None, y_groups=None) -> float:
    def within(v, groups):
        groups = range(len(v)) if groups is None else groups
        pairs = [(a, b) for a, i in zip(v, groups, strict=True) for b, j in zip(v, groups, strict=True) if i != j]
        return np.mean([kernel(a, b) for a, b in pairs])

    return within(x, x_groups) + within(y, y_groups) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.fixture(params=[3, 1024])
def block(request, monkeypatch):
    """Small blocks too, so that their borders are met."""
    monkeypatch.setattr(distances, "_BLOCK", request.param)


def test_kid_is_its_formula(block):
    x, y = features(11), features(7, seed=1, shift=0.4)
    assert kid(x, y) == pytest.approx(slow_kid(x, y), abs=1e-10)


def test_kid_leaves_out_pairs_of_one_patient(block):
    x, y = features(9), features(8, seed=1)
    patients, others = list("aabcabddc"), [3, 3, 3, 1, 1, 2, 7, 7]
    assert kid(x, y, patients, others) == pytest.approx(slow_kid(x, y, patients, others), abs=1e-10)
    assert kid(x, y, patients) != pytest.approx(kid(x, y), abs=1e-4)


def test_kid_of_two_draws_is_zero_on_average():
    values = [kid(features(12, seed=2 * s), features(12, seed=2 * s + 1)) for s in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 20
    assert min(values) < 0


def test_weighted_pair_means_are_those_of_repeated_rows(block):
    x, y = features(6), features(5, seed=1)
    groups = np.array([2, 0, 1, 0, 2, 2])
    weights = np.array([[1, 2, 0], [0, 1, 3], [0, 0, 4]])

    def within(row):
        drawn = [(i, copy) for i in range(6) for copy in range(row[groups[i]])]
        pairs = [(i, j) for i, _ in drawn for j, _ in drawn if groups[i] != groups[j]]
        return np.mean([kernel(x[i], x[j]) for i, j in pairs]) if pairs else np.nan

    expected = [within(row) for row in weights]
    assert np.isnan(expected[2])
    assert mean_within(x, groups, weights.astype(float)) == pytest.approx(expected, nan_ok=True)
    assert mean_within(x, groups, weights.astype(float), shift=2.5) + 2.5 == pytest.approx(expected, nan_ok=True)
    ones = np.ones((3, 5))
    across = [np.average([[kernel(a, b) for b in y] for a in x], axis=0, weights=row[groups]).mean() for row in weights]
    assert mean_across(x, groups, weights.astype(float), y, np.arange(5), ones) == pytest.approx(across)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 12), (60, 90, 12), (400, 30, 20)])
def test_frechet_distance_is_its_formula(n, m, d):
    x, y = features(n, d), features(m, d, seed=1, shift=0.3) @ np.diag(np.linspace(0.5, 2, d))
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    trace = np.trace(cov_x + cov_y - 2 * sqrtm(cov_x @ cov_y).real)
    assert frechet_distance(x, y) == pytest.approx(np.square(x.mean(0) - y.mean(0)).sum() + trace, abs=1e-8)


def test_frechet_distance_with_fewer_rows_than_columns():
    # Rows in a plane of a space of 500: the distance in the plane must be that in the space.
    plane, _ = np.linalg.qr(features(500, 2))
    x, y = features(30, 2), features(40, 2, seed=1, shift=1.0)
    assert frechet_distance(x @ plane.T, y @ plane.T) == pytest.approx(frechet_distance(x, y), abs=1e-9)
    assert frechet_distance(features(10, 300), features(10, 300)) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_moved_and_stretched_sets():
    x = features(50)
    assert frechet_distance(x, x + [3, 4, 0, 0, 0, 0]) == pytest.approx(25)
    stretched = (x - x.mean(0)) * 3 + x.mean(0)
    assert frechet_distance(x, stretched) == pytest.approx(4 * np.var(x, axis=0, ddof=1).sum())


def slow_precision_recall(real, generated, k):
    def radius(v):
        return np.sort(cdist(v, v), axis=1)[:, k]

    between = cdist(real, generated)
    inside_real, inside_generated = between <= radius(real)[:, None], between <= radius(generated)[None, :]
    return {
        "precision": inside_real.any(0).mean(), "recall": inside_generated.any(1).mean(),
        "density": inside_real.sum() / k / len(generated), "coverage": inside_real.any(1).mean(),
    }  # fmt: skip


@pytest.mark.parametrize("k", [1, 3, 5])
def test_neighbor_measures_are_their_formulas(block, k):
    real, generated = features(60), features(45, seed=1, shift=0.8)
    expected = slow_precision_recall(real, generated, k)
    assert 0 < expected["recall"] < 1 and 0 < expected["precision"] < 1
    found = {**precision_recall(real, generated, k)._asdict(), **density_coverage(real, generated, k)._asdict()}
    assert found == pytest.approx(expected)


def test_a_collapsed_generator_has_no_recall_and_copies_have_full_precision():
    real = features(80)
    collapsed = np.repeat(real[:4], 20, axis=0)
    assert precision_recall(real, collapsed).precision == 1
    assert precision_recall(real, collapsed).recall <= 4 / 80
    assert density_coverage(real, collapsed).coverage < 0.6
    assert precision_recall(real, real) == (1, 1)


def test_one_outlier_lifts_precision_but_not_density():
    generated = features(50, seed=1, shift=12.0)
    real = features(60)
    with_outlier = np.concatenate([real, np.full((1, 6), 15.0)])
    assert precision_recall(real, generated).precision == 0
    assert precision_recall(with_outlier, generated).precision == 1
    assert density_coverage(with_outlier, generated).density < 0.5


def test_diversity_is_a_ratio_of_mean_distances(block):
    real, generated = features(20), 0.5 * features(15, seed=1)
    assert diversity(generated, real) == pytest.approx(pdist(generated).mean() / pdist(real).mean())
    assert diversity(real[:1].repeat(5, axis=0), real) == pytest.approx(0, abs=1e-5)
    with pytest.raises(UserError, match="all real images have the same features"):
        diversity(real, np.ones((4, 6)))


def test_exact_copies_have_no_distance():
    x = 1000 + features(9).astype(np.float32)
    assert (np.diag(squared_distances(x, x)) == 0).all()
    assert (ball_radii(np.concatenate([x, x, x]), 2) == 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 8))
def test_order_of_rows_and_of_sets_does_not_matter(seed, n, m, d):
    x, y = features(n, d, seed), features(m, d, seed + 1, shift=0.5)
    mixed = np.random.default_rng(seed).permutation(n)
    for measure in (kid, frechet_distance):
        assert measure(x[mixed], y) == pytest.approx(measure(x, y), abs=1e-8)
        assert measure(y, x) == pytest.approx(measure(x, y), abs=1e-8)


@pytest.mark.parametrize("measure", [kid, frechet_distance, lambda a, b: -precision_recall(a, b).recall,
                                     lambda a, b: -density_coverage(a, b).coverage])  # fmt: skip
def test_further_apart_is_never_better(measure):
    x, y = features(150), features(120, seed=1)
    values = [measure(x, y + shift) for shift in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values) and values[0] < values[2]


def test_tensors_are_taken_as_arrays_are():
    x, y = features(20).astype(np.float32), features(15, seed=1).astype(np.float32)
    assert kid(torch.from_numpy(x), torch.from_numpy(y)) == kid(x, y)
    assert kid(x, y) == pytest.approx(kid(x.astype(np.float64), y.astype(np.float64)), abs=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "sets of 1 and 5 images; expected at least 2"),
        (np.zeros((4, 3)), np.zeros((5, 2)), r"\(4, 3\) and \(5, 2\); expected \(n, d\)"),
        (np.full((4, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(x, y, told):
    for measure in (kid, frechet_distance, diversity):
        with pytest.raises(UserError, match=told):
            measure(x, y)


def test_groups_and_neighbors_are_checked():
    x = features(5)
    with pytest.raises(UserError, match="4 groups were given for 5 images"):
        kid(x, x, list("abcd"))
    with pytest.raises(UserError, match="at least two patients"):
        kid(x, x, list("aaaaa"))
    with pytest.raises(UserError, match="at least 6 in each"):
        precision_recall(x, x, k=5)


class TestAgainstTorchFidelity:
    """The reference implementations, on the same features, to 1e-5."""

    @pytest.fixture(scope="class")
    def sets(self):
        pytest.importorskip("torch_fidelity")
        x, y = features(160, 64), features(160, 64, seed=1, shift=0.1)
        return torch.from_numpy(np.abs(x)), torch.from_numpy(np.abs(y))

    def test_kid(self, sets):
        from torch_fidelity.metric_kid import kid_features_to_metric

        found = kid_features_to_metric(*sets, kid_subsets=1, kid_subset_size=160, verbose=False)
        assert kid(*sets) == pytest.approx(found["kernel_inception_distance_mean"], abs=1e-5)
        single = [v.float() for v in sets]
        assert kid(*single) == pytest.approx(found["kernel_inception_distance_mean"], abs=1e-5)

    def test_frechet_distance(self, sets):
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

        found = fid_statistics_to_metric(*(fid_features_to_statistics(v) for v in sets), verbose=False)
        assert frechet_distance(*sets) == pytest.approx(found["frechet_inception_distance"], abs=1e-5)

    def test_precision_recall(self, sets):
        from torch_fidelity.metric_prc import prc_features_to_metric

        generated, real = sets[0][:120], sets[1]
        found = prc_features_to_metric(
            generated, real, prc_neighborhood=3, prc_batch_size=50, save_cpu_ram=False, verbose=False
        )
        assert precision_recall(real, generated) == pytest.approx((found["precision"], found["recall"]), abs=1e-5)
