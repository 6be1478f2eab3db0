"""Circles that might be the field of view, each with its confidence: the outline of what is lit, and what else to try."""

from __future__ import annotations

import cv2
import numpy as np

from .circle_fit import Circle, consensus_circle, upright_ellipse
from .rim import RADIUS_RANGE, Levels, RimFit, fit_rim, measure_levels, no_rim, plausible, whole_frame

_THRESHOLDS = (0.06, 0.18, 0.45)
_SHARP_WITHIN = 6
_GAINS = (16, 64)
_MOVED = 0.01
_OVAL, _OVAL_SHARE = 1.02, 0.25
_OVAL_CONFIDENCE = 0.65


def outlined_rim(signal: np.ndarray, levels: Levels) -> RimFit:
    """The circle that the outline of the lit region of a float (height, width) picture follows."""
    half = cv2.resize(signal, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    outlines = [outline(largest_region(half > levels.above(share))) for share in _THRESHOLDS]
    smallest, largest = (share * max(half.shape) for share in RADIUS_RANGE)
    circle = consensus_circle(np.concatenate(outlines), (smallest, largest), tolerance=0.01)
    if circle is None:
        return no_rim(signal, "nothing round is brighter than its surround")
    found = fit_rim(signal, Circle(*(2 * value for value in circle)), levels)
    points = 2 * outlines[0]
    if _sharp_inside(signal, points, found.circle, levels) <= _OVAL_SHARE:
        return found
    unclear = found._replace(confidence=0.3 * found.confidence, reason="the rim is not a clean circle")
    return max(unclear, _around_oval(signal, points), key=lambda fit: fit.confidence)


def faint_rim(image: np.ndarray, shape: tuple[int, int]) -> RimFit:
    """The rim of an eye that is nearly black, or whose light fails towards the rim: the faintest light is blown up.

    All that is brighter than a few grey levels is cut off there, so the edge at the surround is what is left to see.
    Two gains must agree on it. They do not where there is no edge but only light that gets weaker.

    Args:
        image: uint8 (height, width, 3) RGB at full size, because small copies are rounded to whole grey levels.
        shape: width and height of the small copy.
    """
    surround = float(measure_levels(cv2.resize(image, shape).sum(2, dtype=np.float32)).surround)
    coarse, fine = (_blown_up(image, shape, gain, surround) for gain in _GAINS)
    fits = [outlined_rim(signal, measure_levels(signal)) for signal in (coarse, fine)]
    moved = max(abs(a - b) for a, b in zip(fits[0].circle, fits[1].circle, strict=True))
    if moved > _MOVED * shape[0]:
        reason = "the light fails towards the rim, so that its place is uncertain"
        return fits[1]._replace(confidence=min(fits[1].confidence, 0.6), reason=reason)
    return fits[1]


def _blown_up(image: np.ndarray, shape: tuple[int, int], gain: float, surround: float) -> np.ndarray:
    """`gain` times the sum of the channels over that of the surround, 24 to 255, as a smooth float32 small copy."""
    faint = cv2.transform(image, np.array([[gain, gain, gain, 24 - gain * surround]], np.float32))
    small = cv2.resize(faint, shape, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small.astype(np.float32), (0, 0), 1.5)


def enclosing_circle(small: np.ndarray, signal: np.ndarray, levels: Levels) -> RimFit:
    """The smallest circle around all that is lit: for a frame without a rim, or with one that is not a circle.

    Args:
        small: uint8 (height, width, 3) RGB. signal: float (height, width), its brightness.
    """
    fills = levels.surround >= max(0.25 * float(np.median(signal)), 10.0)
    lit = np.ones(signal.shape, bool) if fills else largest_region(signal > levels.above(_THRESHOLDS[0]))
    corners = np.argwhere(lit)[:, ::-1].astype(np.float32)
    if len(corners) < 0.15 * lit.size:
        return no_rim(signal, "too little of the picture is lit")
    hull = cv2.convexHull(np.concatenate([corners, corners + 1]))
    (x, y), radius = cv2.minEnclosingCircle(hull)
    circle = Circle(x, y, radius)
    solid = len(corners) / cv2.contourArea(hull)
    roundish = not fills and solid > 0.95 and cv2.contourArea(hull) > 0.7 * np.pi * radius**2
    if not roundish and (retina_likeness(small, lit) < 0.6 or solid < 0.85):
        reason = "no round rim, and it does not look like a fundus photograph"
        return RimFit(circle, whole_frame(signal), 0.05, reason)
    reason = "the eye fills the frame: no rim is visible" if fills else "the rim is not a clean circle"
    return RimFit(circle, whole_frame(signal), 0.4, reason)


def _around_oval(signal: np.ndarray, points: np.ndarray) -> RimFit:
    """The circle around the oval that an outline (n, 2) follows: what a picture stretched to a square shows."""
    ellipse = upright_ellipse(points)
    if ellipse is None or max(ellipse.rx, ellipse.ry) < _OVAL * min(ellipse.rx, ellipse.ry):
        return no_rim(signal, "the rim is not a clean circle")
    circle = Circle(ellipse.x, ellipse.y, max(ellipse.rx, ellipse.ry))
    if not plausible(circle, signal):
        return no_rim(signal, "the rim is not a clean circle")
    return RimFit(
        circle, whole_frame(signal), _OVAL_CONFIDENCE, f"the field is an oval (axes {ellipse.rx / ellipse.ry:.2f} : 1)"
    )


def _sharp_inside(signal: np.ndarray, points: np.ndarray, circle: Circle, levels: Levels) -> float:
    """Share of the outline (n, 2) that lies far inside the circle and is a sharp edge, not an eye fading into the dark.

    On an oval the circle follows one side, and the other side is such an edge.
    """
    if len(points) == 0:
        return 0.0
    inward = points.mean(0) - points
    inward *= _SHARP_WITHIN / np.maximum(np.hypot(*inward.T), 1)[:, None]
    column, row = (points + inward).astype(int).T
    sharp = signal[row.clip(0, signal.shape[0] - 1), column.clip(0, signal.shape[1] - 1)] > levels.above(0.2)
    return float((sharp & far_inside(points, circle)).mean())


def far_inside(points: np.ndarray, circle: Circle) -> np.ndarray:
    """Which points (n, 2) lie inside the circle by more than 3 % of its radius."""
    return np.hypot(*(points - np.array(circle[:2])).T) < 0.97 * circle.radius


def retina_likeness(image: np.ndarray, lit: np.ndarray) -> float:
    """How much the lit pixels of a uint8 RGB picture look like retina, 0..1: red over green over blue, and smooth."""
    sigma = max(image.shape) / 256
    green = cv2.GaussianBlur(image[..., 1].astype(np.float32), (0, 0), sigma)
    slope = np.hypot(cv2.Sobel(green, -1, 1, 0, scale=0.125), cv2.Sobel(green, -1, 0, 1, scale=0.125)) * sigma
    inner = cv2.erode(lit.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    rough = float((slope[inner] > 0.06 * max(float(green[lit].mean()), 1.0)).mean()) if inner.any() else 1.0
    return float(np.clip(retina_color(image[lit]) - 3 * max(rough - 0.1, 0.0), 0, 1))


def retina_color(pixels: np.ndarray) -> float:
    """Share of RGB pixels (n, 3) that have the colours of retina, also of a hazy or greenish one."""
    red, green, blue = pixels.astype(np.float32).T
    warm = (1.04 * red >= green) & (1.05 * green + 4 >= blue)
    return float(min(warm.mean(), (red > 1.1 * blue).mean()))


def largest_region(lit: np.ndarray) -> np.ndarray:
    """The largest connected lit region, bool; specks and thin writing are opened away first."""
    lit = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=8, ltype=cv2.CV_16U)
    return labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]) if count > 1 else np.zeros(lit.shape, bool)


def outline(region: np.ndarray) -> np.ndarray:
    """First and last pixel of the region in each row and column, off the frame's border and straight cuts; (n, 2)."""
    height, width = region.shape
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if rows.size == 0:
        return np.empty((0, 2))
    left, right = region[rows].argmax(1), width - region[rows, ::-1].argmax(1)
    top, bottom = region[:, columns].argmax(0), height - region[::-1, columns].argmax(0)
    across = [(left, rows + 0.5), (right, rows + 0.5)]
    down = [(columns + 0.5, top), (columns + 0.5, bottom)]
    across = [np.stack(pair, 1)[_off_straight(pair[0], width)] for pair in across]
    down = [np.stack(pair, 1)[_off_straight(pair[1], height)] for pair in down]
    return np.concatenate([*across, *down]).astype(float)


def _off_straight(position: np.ndarray, length: int) -> np.ndarray:
    """Which points of a side are off the frame's border and off a straight line that holds nearly half of them."""
    inner = (position > 1.5) & (position < length - 1.5)
    share = np.bincount(position, minlength=length + 2) / len(position)
    line = int(np.argmax(share[:-1] + share[1:]))
    if share[line] + share[line + 1] > 0.45:
        inner &= np.abs(position - line - 0.5) > 2
    return inner
