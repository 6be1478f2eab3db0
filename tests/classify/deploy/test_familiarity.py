from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf

from fundus_synth.classify.deploy.familiarity import (
    Familiarity,
    fit_familiarity,
    patient_weights,
    shrunk_covariance,
)


def _features(rng: np.random.Generator, count: int, width: int = 20, classes: int = 3):
    """Float (count, width), more variance in some directions than in others, and their classes."""
    groups = rng.integers(0, classes, count)
    centers = 3 * np.random.default_rng(99).normal(size=(classes, width))
    return centers[groups] + rng.normal(size=(count, width)) * np.geomspace(3, 0.1, width), groups


def _fitted(seed: int = 0, directions: int = 32, count: int = 300) -> Familiarity:
    rng = np.random.default_rng(seed)
    features, groups = _features(rng, count)
    unseen, _ = _features(rng, 400)
    return fit_familiarity(features, groups, np.arange(count), unseen, np.arange(400), directions=directions)


def test_with_all_directions_it_is_the_mahalanobis_distance_to_the_nearest_mean():
    rng = np.random.default_rng(0)
    features, groups = _features(rng, 300)
    unseen, _ = _features(rng, 200)
    found = fit_familiarity(features, groups, np.arange(300), unseen, np.arange(200))
    means = [features[groups == k].mean(0) for k in range(3)]
    covariance, _ = ledoit_wolf(features - np.array(means)[groups], assume_centered=True)
    inverse = np.linalg.inv(covariance)
    expected = [min(mahalanobis(x, mean, inverse) for mean in means) for x in unseen]
    np.testing.assert_allclose(found.distances(unseen), expected, rtol=2e-3)


def test_fewer_directions_are_the_distance_of_a_covariance_whose_rest_is_alike():
    rng = np.random.default_rng(1)
    features, groups = _features(rng, 300)
    found = fit_familiarity(features, groups, np.arange(300), features, np.arange(300), directions=5)
    apart = features - np.array([features[groups == k].mean(0) for k in range(3)])[groups]
    values, vectors = np.linalg.eigh(shrunk_covariance(apart))
    assert found.rest == pytest.approx(values[:-5].mean())
    values[:-5] = values[:-5].mean()
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    point = features[:7] + 1
    expected = [min(mahalanobis(x, mean, inverse) for mean in found.means) for x in point]
    np.testing.assert_allclose(found.distances(point), expected, rtol=1e-4)


@given(st.integers(3, 60), st.integers(2, 12), st.integers(0, 2**31))
def test_shrinkage_is_that_of_scikit_learn(count, width, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, width)) * rng.uniform(0.1, 3, width)
    expected, _ = ledoit_wolf(rows, assume_centered=True)
    np.testing.assert_allclose(shrunk_covariance(rows), expected, rtol=1e-7, atol=1e-10)


def test_a_patient_weighs_one_however_many_images():
    rng = np.random.default_rng(2)
    features, groups = _features(rng, 60)
    again = np.r_[np.arange(60), np.full(50, 7)]
    one, many = (
        fit_familiarity(features[rows], groups[rows], rows, features, np.arange(60)) for rows in (np.arange(60), again)
    )
    np.testing.assert_allclose(many.means, one.means, rtol=1e-5)
    assert patient_weights(["a", "b", "b"]).tolist() == [1.5, 0.75, 0.75]


def test_the_limit_leaves_out_one_patient_in_a_hundred_and_what_is_far():
    found = _fitted()
    new, _ = _features(np.random.default_rng(3), 4000)
    assert 0.003 < (found.unfamiliarity(new) > 1).mean() < 0.03
    assert found.level == 0.99
    foreign = np.random.default_rng(4).normal(0, 8, (50, 20))
    assert (found.unfamiliarity(foreign) > 1).all()


def test_the_limit_comes_from_the_unseen():
    rng = np.random.default_rng(5)
    features, groups = _features(rng, 40)
    unseen, _ = _features(rng, 150)
    found = fit_familiarity(features, groups, np.arange(40), unseen, np.arange(150))
    assert found.limit == pytest.approx(np.sort(found.distances(unseen))[149])  # rank ceil(151 x 0.99) = 150


def test_too_few_unseen_patients_for_the_level_give_what_they_can():
    features, groups = _features(np.random.default_rng(6), 40)
    found = fit_familiarity(features, groups, np.arange(40), features[:4], np.arange(4))
    assert found.level == pytest.approx(0.8)
    assert found.limit == pytest.approx(found.distances(features[:4]).max())


def test_a_missing_class_has_no_mean():
    features, groups = _features(np.random.default_rng(7), 40)
    found = fit_familiarity(features, 2 * groups, np.arange(40), features, np.arange(40))
    assert found.means.shape == (3, 20)
    assert found.directions.shape == (20, 20)


def test_json_and_back_is_the_same_to_the_bit():
    found = _fitted(directions=4)
    back = Familiarity.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    points, _ = _features(np.random.default_rng(8), 10)
    np.testing.assert_array_equal(found.distances(points), back.distances(points))
    assert (back.limit, back.level, back.rest) == (found.limit, found.level, found.rest)


@pytest.mark.parametrize(
    "damage",
    [
        {"means": {"shape": [3, 19], "float32": ""}},
        {"directions": {"shape": [4, 20], "float32": "no base64!"}},
        {"rest": 0.0},
        {"variances": {"shape": [1], "float32": "AADAfw=="}},  # nan
        {"variances": {"shape": [1], "float32": "AACAPw=="}},  # one value for four directions
    ],
)
def test_damaged_facts_are_refused(damage):
    with pytest.raises(ValueError):
        Familiarity.from_dict(_fitted(directions=4).to_dict() | damage)


def test_what_cannot_be_learned_from_is_refused():
    features, groups = _features(np.random.default_rng(9), 40)
    with pytest.raises(ValueError, match="unseen"):
        fit_familiarity(features, groups, np.arange(40), features[:0], [])
    with pytest.raises(ValueError, match="vary"):
        fit_familiarity(np.ones((5, 3)), np.zeros(5, int), np.arange(5), np.ones((2, 3)), np.arange(2))
