"""The rim as the sharpest round edge, whatever is brighter: for eyes in a glow, or in a border lighter than their rim."""

from __future__ import annotations

import cv2
import numpy as np

from .circle_fit import Circle, consensus_circle
from .rim import RADIUS_RANGE, Levels, RimFit, cast_rays, no_rim, plausible, recorded_box, refine_on, whole_frame
from .rim_candidates import far_inside, outline, retina_color

_SHARES = (0.2, 0.35, 0.6)
_LEAST_SHARE, _LEAST_SLOPE = 0.12, 1.0
_FULL_TRUST_ARC = 1 / 3
_DARK = 8.0
_NEAR = 0.012
_BLANK = 0.35
_OVAL_SHARE, _LIGHT = 0.3, 64


def sharpest_rim(small: np.ndarray, signal: np.ndarray, levels: Levels) -> RimFit:
    """The circle along which the picture changes most abruptly.

    Args:
        small: uint8 (height, width, 3) RGB. signal: float (height, width), its brightness, for the recorded box.
    """
    slope = _slope(small)
    least = max(4 * float(np.median(slope)), _LEAST_SLOPE)
    top = float(np.percentile(slope, 99))
    edges = [outline(_without_specks(slope > max(share * top, least))) for share in _SHARES]
    smallest, largest = (share * max(slope.shape) for share in RADIUS_RANGE)
    circle = consensus_circle(np.concatenate(edges), (smallest, largest), tolerance=0.01)
    least = max(least, _LEAST_SHARE * top)
    for reach in (0.06, 0.04, 0.025, 0.025):
        if circle is not None:
            circle = _on_steepest(slope, circle, reach, least)
    if circle is None:
        return no_rim(signal, "no round edge was found")
    confidence = _edge_agreement(slope, circle, least)
    if levels.surround < _LIGHT and far_inside(edges[0], circle).mean() > _OVAL_SHARE:
        # The circle follows one side of an oval.
        confidence *= 0.5
    reason = "" if confidence >= 0.7 else "the rim is not a clean circle"
    if not _holds_an_eye(small, circle):
        confidence, reason = 0.05, "no round rim, and it does not look like a fundus photograph"
    return RimFit(circle, recorded_box(signal, circle, levels), confidence, reason)


def _slope(small: np.ndarray) -> np.ndarray:
    """Steepness of the logarithm of the channels, the steepest counting; float32 (height, width), 32 for a doubling."""
    steepest = None
    for channel in cv2.split(small):
        light = 32 * np.log2(1 + channel.astype(np.float32) / _DARK)
        light = cv2.GaussianBlur(light, (0, 0), 1.5)
        slope = cv2.magnitude(cv2.Sobel(light, -1, 1, 0, scale=0.125), cv2.Sobel(light, -1, 0, 1, scale=0.125))
        steepest = slope if steepest is None else cv2.max(steepest, slope)
    return steepest


def _without_specks(mask: np.ndarray) -> np.ndarray:
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0


def _on_steepest(slope: np.ndarray, circle: Circle, reach: float, least: float) -> Circle | None:
    """The circle through the steepest place of each ray, sub-pixel by a parabola; None without enough of them."""
    rays = cast_rays(slope, circle, max(4.0, reach * circle.radius), whole_frame(slope))
    at, rows = rays.values.argmax(1).clip(1, len(rays.offsets) - 2), np.arange(len(rays.values))
    before, peak, after = (rays.values[rows, at + shift] for shift in (-1, 0, 1))
    shift = 0.5 * (before - after) / np.minimum(before - 2 * peak + after, -1e-6)
    position = rays.offsets[at] + shift.clip(-1, 1) * (rays.offsets[1] - rays.offsets[0])
    edge = rays.seen & (peak > least)
    if edge.sum() < 3:
        return None
    circle = refine_on(slope, circle, rays.points(circle, position), edge)
    return circle if plausible(circle, slope) else None


def _edge_agreement(slope: np.ndarray, circle: Circle, least: float) -> float:
    """How surely the circle is the sharpest edge around, 0..1: along most of it, narrow, and over a long enough arc."""
    rays = cast_rays(slope, circle, max(6.0, 0.06 * circle.radius), whole_frame(slope))
    near = np.abs(rays.offsets) < max(1.5, _NEAR * circle.radius)
    peak = rays.values[:, near].max(1)
    steepest = rays.values.max(1)
    good = rays.seen & (peak > least) & (peak > 0.9 * steepest)
    if not good.any():
        return 0.0
    # Without any edge nothing can be said, as where an eye fades into the dark or a bar hides the rim.
    blank = (rays.seen & (steepest <= least)).sum()
    agreement = good.sum() / (rays.seen.sum() - (1 - _BLANK) * blank)
    # Light that fails towards the rim is steepest somewhere, too, but hardly steeper than around it.
    narrow = float(np.median(peak[good] / np.maximum(np.median(rays.values[good], axis=1), 1e-6)))
    enough, steep = min(good.mean() / _FULL_TRUST_ARC, 1), np.clip((narrow - 1.5) / 1.5, 0, 1)
    return float(agreement**3 * enough * steep)


def _holds_an_eye(small: np.ndarray, circle: Circle) -> bool:
    """Whether most of the inside has the colours of retina, noise and fine texture aside."""
    height, width = small.shape[:2]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = np.square(x - circle.x)[None] + np.square(y - circle.y)[:, None] < (0.9 * circle.radius) ** 2
    return retina_color(cv2.GaussianBlur(small.astype(np.float32), (0, 0), 3)[inside]) >= 0.6
