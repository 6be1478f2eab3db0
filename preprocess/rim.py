"""The rim of a field of view: how dark the surround is, where exactly the edge lies, how well a circle explains it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from .circle_fit import Circle, refine_circle

_ANGLES = 180
_TOLERANCE = 0.012
_FULL_TRUST_ARC = 60.0


class Levels(NamedTuple):
    """Brightness of a picture in grey levels: of the black surround, its noise, and of the bright parts of the eye."""

    surround: float
    noise: float
    bright: float

    def above(self, share: float) -> float:
        """The level `share` of the way from the surround to the bright parts, and clear of the noise."""
        return self.surround + max(share * (self.bright - self.surround), 4 * self.noise + 1.5)


class RimProfiles(NamedTuple):
    """Brightness along rays across a circle, one row an angle.

    Attributes:
        points: float (n, 2), where the ray steps from the surround into the eye, sub-pixel; x and y.
        edge: bool (n,), whether there is such a step.
        dark: bool (n,), whether inside is as black as outside, so that nothing can be said.
        seen: bool (n,), whether the ray crosses the circle inside the recorded box.
    """

    points: np.ndarray
    edge: np.ndarray
    dark: np.ndarray
    seen: np.ndarray


class RimFit(NamedTuple):
    """A circle with what speaks for it; box is left, top, right, bottom of the recorded part, all in pixels."""

    circle: Circle
    box: tuple[float, float, float, float]
    confidence: float
    reason: str


def measure_levels(signal: np.ndarray) -> Levels:
    """Levels of a float (height, width) picture; the darkest corner is taken to be surround."""
    height, width = signal.shape
    side = max(4, round(0.04 * min(height, width)))
    corners = [signal[:side, :side], signal[:side, -side:], signal[-side:, :side], signal[-side:, -side:]]
    darkest = min(corners, key=np.median)
    surround = float(np.percentile(darkest, 35))
    noise = 1.4826 * float(np.median(np.abs(darkest - surround)))
    # A sixteenth of the pixels fixes a percentile well enough, and sorting them all is what would take the time.
    sampled = signal[::4, ::4]
    lit = sampled[sampled > surround + 4 * noise + 1.5]
    bright = float(np.percentile(lit, 75)) if lit.size > 0.01 * sampled.size else surround
    return Levels(surround, noise, bright)


def fit_rim(signal: np.ndarray, circle: Circle, levels: Levels) -> RimFit:
    """Refine `circle` on the sub-pixel edges of the rim and judge it.

    Args:
        signal: float (height, width), brightness. circle: in its pixels.
    """
    height, width = signal.shape
    box = (0.0, 0.0, float(width), float(height))
    for reach in (0.08, 0.05, 0.025):
        rim = rim_profiles(signal, circle, levels, reach, box)
        if rim.edge.sum() < 3:
            return RimFit(circle, box, 0.0, "no round edge between a dark surround and the eye was found")
        circle = refine_circle(
            circle, rim.points, rim.edge.astype(float), (width / 2, height / 2), 0.05 * max(height, width)
        )
    box = recorded_box(signal, circle, levels)
    return RimFit(circle, box, *_judge(signal, circle, levels, box))


def rim_profiles(
    signal: np.ndarray, circle: Circle, levels: Levels, reach: float, box: tuple[float, float, float, float]
) -> RimProfiles:
    """Look along rays across `circle`, from `reach` radii inside it to `reach` radii outside it."""
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    half = max(4.0, reach * circle.radius)
    offsets = np.linspace(-half, half, 2 * int(np.ceil(2 * half)) + 1, dtype=np.float32)
    x = circle.x + np.cos(angles)[:, None] * (circle.radius + offsets)
    y = circle.y + np.sin(angles)[:, None] * (circle.radius + offsets)
    # Pixel i of the picture is centred on i + 0.5.
    values = cv2.remap(
        signal,
        x.astype(np.float32) - 0.5,
        y.astype(np.float32) - 0.5,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    third = len(offsets) // 3
    inside = np.median(values[:, :third], axis=1)
    outside = np.median(values[:, -third:], axis=1)
    least = max(3 * levels.noise, 1.5, 0.02 * (levels.bright - levels.surround))
    edge = (inside - outside > least) & (
        outside - levels.surround < np.maximum(0.4 * (inside - levels.surround), least)
    )
    dark = inside - levels.surround <= least
    position = _outermost_crossing(values, (inside + outside) / 2, offsets)
    found = np.isfinite(position)
    radius = circle.radius + np.where(found, position, 0)
    points = np.stack([circle.x + np.cos(angles) * radius, circle.y + np.sin(angles) * radius], 1)
    left, top, right, bottom = box
    middle = len(offsets) // 2
    seen = (
        (x[:, middle] > left + 2) & (x[:, middle] < right - 2) & (y[:, middle] > top + 2) & (y[:, middle] < bottom - 2)
    )
    return RimProfiles(points, edge & seen & found, dark & seen, seen)


def recorded_box(signal: np.ndarray, circle: Circle, levels: Levels) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what the camera recorded: straight black cuts through the circle move its sides."""
    height, width = signal.shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    core = np.square(x - circle.x)[None, :] + np.square(y - circle.y)[:, None] < (0.985 * circle.radius) ** 2
    core = core.astype(np.uint8)
    lit_core = cv2.bitwise_and((signal > levels.above(0.08)).astype(np.uint8), core)
    light = signal * core
    sides = []
    for axis, length in ((0, width), (1, height)):
        chord = core.sum(axis, dtype=np.int32)
        lines = np.flatnonzero(chord)
        lit = lit_core.sum(axis, dtype=np.int32)[lines] / chord[lines]
        mean = light.sum(axis)[lines] / chord[lines] - levels.surround
        first, last = (0, length - 1) if lines.size == 0 else (lines[0], lines[-1])
        near = _black_lines(lit, mean, circle.radius)
        far = _black_lines(lit[::-1], mean[::-1], circle.radius)
        sides.append((float(first + near) if near else 0.0, float(last + 1 - far) if far else float(length)))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def _black_lines(lit: np.ndarray, mean: np.ndarray, radius: float) -> int:
    """Chords before a straight cut: black up to it, then mostly lit within three lines; 0 when there is no such cut.

    Args:
        lit: share of each chord that is lit. mean: its mean brightness above the surround.
    """
    bright = np.flatnonzero(lit > 0.2)
    if bright.size == 0 or bright[0] < 0.01 * radius:
        return 0
    first = int(bright[0])
    after = min(first + 3, len(lit) - 1)
    if lit[: max(first - 1, 1)].max() > 0.1 or lit[after] < 0.7:
        return 0
    return first + int(np.argmax(mean[first : after + 1] > 0.5 * mean[after]))


def _judge(
    signal: np.ndarray, circle: Circle, levels: Levels, box: tuple[float, float, float, float]
) -> tuple[float, str]:
    """Confidence and reason of a fitted circle."""
    rim = rim_profiles(signal, circle, levels, 0.03, box)
    residual = np.hypot(rim.points[:, 0] - circle.x, rim.points[:, 1] - circle.y) - circle.radius
    good = rim.edge & (np.abs(residual) < max(1.0, _TOLERANCE * circle.radius))
    contrary = int((rim.seen & ~good & ~rim.dark).sum())
    good_arc = int(good.sum()) * 360 / _ANGLES
    agreement = good.sum() / max(good.sum() + contrary + 0.35 * rim.dark.sum(), 1)
    clean = _surround_cleanness(signal, circle, levels)
    enough = min(good_arc / _FULL_TRUST_ARC, 1.0)
    confidence = float(agreement * clean * enough)
    if confidence >= 0.7:
        return confidence, ""
    short, crowded = "only a short arc of the rim is visible", "not only the circle is brighter than the surround"
    weakest = min((enough, short), (clean, crowded))
    if agreement < weakest[0]:
        dark = rim.dark.sum() > contrary
        return confidence, "much of the rim is too dark to see" if dark else "the rim is not a clean circle"
    return confidence, weakest[1]


def _surround_cleanness(signal: np.ndarray, circle: Circle, levels: Levels) -> float:
    """1 when all outside the circle is as dark as the surround, 0 when 30 % of it is not (a notch or date is < 5 %)."""
    height, width = signal.shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    outside = np.square(x - circle.x)[None, :] + np.square(y - circle.y)[:, None] > (1.03 * circle.radius) ** 2
    if outside.sum() < 0.002 * signal.size:
        return 1.0
    lit = float((signal[outside] > levels.above(0.15)).mean())
    return float(np.clip(1.2 - 4 * lit, 0, 1))


def _outermost_crossing(values: np.ndarray, level: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Offset at which each row, coming from outside, first rises to its level; NaN where it never does."""
    above = values >= level[:, None]
    last = above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
    crosses = above.any(1) & (last < above.shape[1] - 1)
    last = np.minimum(last, above.shape[1] - 2)
    rows = np.arange(len(values))
    inner, outer = values[rows, last], values[rows, last + 1]
    share = (inner - level) / np.maximum(inner - outer, 1e-6)
    return np.where(crosses, offsets[last] + share * (offsets[1] - offsets[0]), np.nan)
