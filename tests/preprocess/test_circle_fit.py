from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.preprocess.circle_fit import Circle, consensus_circle, refine_circle, upright_ellipse


def _arc(circle: Circle, degrees: np.ndarray) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([circle.x + circle.radius * np.cos(angle), circle.y + circle.radius * np.sin(angle)], 1)


def test_half_an_arc_with_as_many_outliers_is_enough():
    """In 299 of 300 cases at least: triples are drawn at random and looked at in part, so once in thousands chance wins."""
    random, found = np.random.default_rng(0), 0
    for _ in range(300):
        (x, y), radius, start = random.uniform(50, 200, 2), random.uniform(40, 120), random.uniform(0, 360)
        truth = Circle(x, y, radius)
        points = _arc(truth, start + np.arange(0, 180, 2.0))
        outliers = random.uniform(0, 256, (90, 2))
        circle = consensus_circle(np.concatenate([points, outliers]), (20, 250), tolerance=0.01)
        if np.abs(np.subtract(circle, truth)).max() < 0.1 * radius:
            found += 1
            assert np.allclose(refine_circle(circle, points, np.ones(90), (x, y), 1000), truth, atol=0.01)
    assert found >= 299


def test_a_dense_straight_line_does_not_outvote_an_arc():
    truth = Circle(100, 100, 80)
    line = np.stack([np.linspace(40, 160, 150), np.full(150, 150.0)], 1)
    found = consensus_circle(np.concatenate([_arc(truth, np.arange(0, 360, 4.0)), line]), (20, 300), tolerance=0.01)
    assert np.abs(np.subtract(found, truth)).max() < 2


@pytest.mark.parametrize("points", [np.empty((0, 2)), np.zeros((2, 2)), np.stack([np.arange(9.0)] * 2, 1)])
def test_no_circle_through_too_few_or_collinear_points(points):
    assert consensus_circle(points, (1, 100), tolerance=0.01) is None


def test_least_squares_agrees_with_an_algebraic_fit_on_noisy_points():
    random = np.random.default_rng(0)
    points = _arc(Circle(30, 40, 25), np.arange(360.0)) + random.normal(0, 0.05, (360, 2))
    # Kasa's fit: x^2 + y^2 = 2 a x + 2 b y + c is linear in a, b, c.
    design = np.column_stack([2 * points, np.ones(360)])
    a, b, c = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    refined = refine_circle(Circle(32, 38, 20), points, np.ones(360), (30, 40), 1000)
    assert np.allclose(refined, (a, b, np.sqrt(c + a * a + b * b)), atol=0.01)


def test_gross_errors_and_points_without_weight_do_not_move_the_fit():
    truth = Circle(100, 90, 60)
    points = _arc(truth, np.arange(360.0))
    points[:40] += 5
    points[40:60] = np.random.default_rng(0).uniform(0, 200, (20, 2))
    weights = np.ones(360)
    weights[40:60] = 0
    assert np.allclose(refine_circle(truth, points, weights, (100, 90), 100), truth, atol=0.02)


def test_a_short_arc_takes_its_centre_from_the_prior_and_a_long_one_does_not():
    truth = Circle(100, 100, 60)
    short, long = _arc(truth, np.linspace(40, 46, 12)), _arc(truth, np.linspace(0, 200, 200))
    start = Circle(104, 104, 55)
    toward = refine_circle(start, short, np.ones(12), (100, 100), 5)
    assert np.hypot(toward.x - 100, toward.y - 100) < 2
    assert np.allclose(refine_circle(start, long, np.ones(200), (130, 100), 25), truth, atol=0.1)


@given(st.floats(50, 200), st.floats(50, 200), st.floats(40, 120), st.floats(0.7, 1.4), st.integers(0, 359))
def test_ellipse_from_part_of_it_with_some_outliers(x, y, rx, ratio, start):
    unit = _arc(Circle(0, 0, 1), start + np.arange(0, 300, 2.0))
    outliers = np.random.default_rng(start).uniform(-1.2 * rx, 1.2 * rx, (8, 2)) + (x, y)
    points = np.concatenate([unit * (rx, ratio * rx) + (x, y), outliers])
    assert np.allclose(upright_ellipse(points), (x, y, rx, ratio * rx), atol=0.01 * rx)


@pytest.mark.parametrize(
    "points",
    [np.empty((0, 2)), np.zeros((50, 2)), np.stack([np.arange(50.0)] * 2, 1), np.random.default_rng(0).random((99, 2))],
    ids="none one-place line scatter".split(),
)
def test_no_ellipse_through_what_is_none(points):
    assert upright_ellipse(points) is None
