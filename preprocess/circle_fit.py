"""A circle through edge points of which many are wrong: random consensus, then a robust geometric fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_HYPOTHESES = 200
_SCORED_POINTS = 160
_KEPT = 30
_ANGLES = 180


class Circle(NamedTuple):
    """Centre and radius, in the unit of the points it was fitted to."""

    x: float
    y: float
    radius: float


class Ellipse(NamedTuple):
    """An ellipse with level and upright axes: its centre and its half axes, in the unit of its points."""

    x: float
    y: float
    rx: float
    ry: float


def consensus_circle(
    points: np.ndarray, radius_range: tuple[float, float], tolerance: float, seed: int = 0
) -> Circle | None:
    """The circle that the longest arc of edge points agrees with (RANSAC; Fischler and Bolles 1981).

    Agreement is counted in arc length, not in points, so that a dense straight cut does not outvote a sparse arc.

    Args:
        points: float (n, 2), x and y.
        radius_range: smallest and largest radius that is considered.
        tolerance: how far from the circle a point may lie, as a share of the radius.
        seed: of the random triples; the same points always give the same circle.

    Returns:
        None when no triple of points gives a circle in the range.
    """
    if len(points) < 3:
        return None
    random = np.random.default_rng(seed)
    triples = points[random.integers(0, len(points), (_HYPOTHESES, 3))]
    circles = _through_three(triples)
    circles = circles[(circles[:, 2] > radius_range[0]) & (circles[:, 2] < radius_range[1])]
    if len(circles) == 0:
        return None
    scored = points[random.permutation(len(points))[:_SCORED_POINTS]]
    # A quarter of the points tells the hopeless ones.
    arc = _supported_arc(circles, scored[: _SCORED_POINTS // 4], tolerance)
    circles = circles[np.argsort(-arc, kind="stable")[:_KEPT]]
    return Circle(*circles[np.argmax(_supported_arc(circles, scored, tolerance))].tolist())


def refine_circle(
    circle: Circle, points: np.ndarray, weights: np.ndarray, center: tuple[float, float], center_spread: float
) -> Circle:
    """Geometric least squares with Tukey's biweight, started from `circle` (Gauss-Newton, at most 12 steps).

    A short arc does not fix its own circle, so the centre is also drawn, weakly, to `center`: one observation with the
    standard deviation `center_spread` against one of half a unit for every point. On a long arc this is nothing.

    Args:
        points: float (n, 2). weights: float (n,), 0 for points to leave out.
    """
    x, y, radius = circle
    prior = np.diag([0.25 / center_spread**2] * 2 + [0.0])
    for _ in range(12):
        dx, dy = points[:, 0] - x, points[:, 1] - y
        distance = np.maximum(np.hypot(dx, dy), 1e-9)
        residual = distance - radius
        robust = weights * _tukey(residual, weights)
        jacobian = np.stack([-dx / distance, -dy / distance, -np.ones_like(dx)], 1)
        normal = jacobian.T @ (jacobian * robust[:, None]) + prior
        gradient = jacobian.T @ (robust * residual) + prior @ np.array([x - center[0], y - center[1], 0.0])
        step = np.linalg.solve(normal + 1e-9 * np.eye(3), -gradient)
        x, y, radius = x + step[0], y + step[1], radius + step[2]
        if np.abs(step).max() < 1e-3:
            break
    return Circle(float(x), float(y), float(radius))


def upright_ellipse(points: np.ndarray) -> Ellipse | None:
    """Algebraic least squares of an ellipse with level and upright axes; what lies far off is left out, step by step.

    Args:
        points: float (n, 2).

    Returns:
        None when too few points are left within 1.5 % of an ellipse, or none fits.
    """
    used = points
    for _ in range(6):
        if len(used) < max(8, 0.5 * len(points)):
            return None
        ellipse = _conic(used)
        if ellipse is None:
            return None
        distance = np.hypot((points[:, 0] - ellipse.x) / ellipse.rx, (points[:, 1] - ellipse.y) / ellipse.ry)
        used = points[np.abs(distance - 1) < max(0.015, 3 * float(np.median(np.abs(distance - 1))))]
    return ellipse if (np.abs(distance - 1) < 0.015).mean() > 0.5 else None


def _conic(points: np.ndarray) -> Ellipse | None:
    """a x^2 + b y^2 + c x + d y = 1 through the points, which is linear; None when that is no ellipse."""
    center, scale = points.mean(0), max(float(points.std()), 1e-9)
    x, y = ((points - center) / scale).T
    a, b, c, d = np.linalg.lstsq(np.stack([x * x, y * y, x, y], 1), np.ones(len(x)), rcond=None)[0]
    if a <= 1e-6 or b <= 1e-6:
        return None
    squared = 1 + c * c / (4 * a) + d * d / (4 * b)
    middle = center - scale * np.array([c / (2 * a), d / (2 * b)])
    return Ellipse(*middle.tolist(), float(scale * np.sqrt(squared / a)), float(scale * np.sqrt(squared / b)))


def _through_three(triples: np.ndarray) -> np.ndarray:
    """(n, 3, 2) points -> (m, 3) circles; collinear triples are left out."""
    origin = triples[:, 0]
    b, c = triples[:, 1] - origin, triples[:, 2] - origin
    determinant = 2 * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    proper = np.abs(determinant) > 1e-6
    origin, b, c, determinant = origin[proper], b[proper], c[proper], determinant[proper]
    b2, c2 = (b**2).sum(1), (c**2).sum(1)
    x = (c[:, 1] * b2 - b[:, 1] * c2) / determinant
    y = (b[:, 0] * c2 - c[:, 0] * b2) / determinant
    return np.stack([x + origin[:, 0], y + origin[:, 1], np.hypot(x, y)], 1)


def _supported_arc(circles: np.ndarray, points: np.ndarray, tolerance: float) -> np.ndarray:
    """Arc length of each circle that has a point within the tolerance, (n,)."""
    x, y, radius = circles.astype(np.float32).T[..., None]
    dx, dy = points.astype(np.float32).T[:, None] - np.stack([x, y])
    near = np.abs(np.sqrt(dx * dx + dy * dy) - radius) < np.maximum(tolerance * radius, 1.0)
    rows, columns = np.nonzero(near)
    angle = np.arctan2(dy[rows, columns], dx[rows, columns]) + np.pi
    hit = np.zeros((len(circles), _ANGLES), bool)
    hit[rows, (angle * (_ANGLES / (2 * np.pi))).astype(int) % _ANGLES] = True
    return hit.sum(1) * circles[:, 2]


def _tukey(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Biweight with a scale from the median absolute residual of the points that count."""
    counted = np.abs(residual[weights > 0])
    scale = max(1.4826 * float(np.median(counted)) if counted.size else 1.0, 0.25)
    return np.square(np.clip(1 - np.square(residual / (4.685 * scale)), 0, None))
