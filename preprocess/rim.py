"""The rim of a field of view: how dark the surround is, where exactly the edge lies, how well a circle explains it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from .circle_fit import Circle, refine_circle

_ANGLES = 180
_TOLERANCE = 0.012
_FULL_TRUST_ARC = 60.0
_SECTOR = 5
_WIDEST_RIM, _WIDEST_RIM_PIXELS = 0.035, 2.3
_NO_EDGE = "no round edge between a dark surround and the eye was found"
RADIUS_RANGE = (0.1, 0.95)
"""Radius of a field of view in shares of the frame's longer side, smallest and largest."""


class Levels(NamedTuple):
    """Brightness of a picture in grey levels: of the black surround, its noise, and of the bright parts of the eye."""

    surround: float
    noise: float
    bright: float

    @property
    def least_step(self) -> float:
        """The smallest step from the surround into the eye that counts as an edge."""
        return max(3 * self.noise, 1.5, 0.02 * (self.bright - self.surround))

    def above(self, share: float) -> float:
        """The level `share` of the way from the surround to the bright parts, and clear of the noise."""
        return self.surround + max(share * (self.bright - self.surround), 4 * self.noise + 1.5)


class Rays(NamedTuple):
    """Values along rays that cross a circle, one row an angle, from inside to outside.

    Attributes:
        values: float32 (n, steps). offsets: float32 (steps,), distance from the circle in pixels.
        directions: float (n, 2), x and y of the unit vectors outwards.
        seen: bool (n,), whether the ray crosses the circle inside the recorded box.
    """

    values: np.ndarray
    offsets: np.ndarray
    directions: np.ndarray
    seen: np.ndarray

    def points(self, circle: Circle, position: np.ndarray) -> np.ndarray:
        """Where the rays are at `position` (n,) pixels from the circle; x and y, (n, 2)."""
        return np.array(circle[:2]) + self.directions * (circle.radius + position)[:, None]


class RimProfiles(NamedTuple):
    """What the rays across a circle say about its rim, one entry an angle.

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


def whole_frame(signal: np.ndarray) -> tuple[float, float, float, float]:
    """The box of a picture of which everything was recorded."""
    height, width = signal.shape[:2]
    return 0.0, 0.0, float(width), float(height)


def no_rim(signal: np.ndarray, reason: str) -> RimFit:
    """The frame's inscribed circle, without any confidence."""
    height, width = signal.shape[:2]
    return RimFit(Circle(width / 2, height / 2, min(width, height) / 2), whole_frame(signal), 0.0, reason)


def fit_rim(signal: np.ndarray, circle: Circle, levels: Levels) -> RimFit:
    """Refine `circle` on the sub-pixel edges of the rim and judge it.

    Args:
        signal: float (height, width), brightness. circle: in its pixels.
    """
    box = whole_frame(signal)
    for reach in (0.08, 0.03):
        rim = rim_profiles(signal, circle, levels, reach, box)
        if rim.edge.sum() < 3:
            return no_rim(signal, _NO_EDGE)
        circle = refine_on(signal, circle, rim.points, rim.edge)
        if not plausible(circle, signal):
            return no_rim(signal, _NO_EDGE)
    box = recorded_box(signal, circle, levels)
    return RimFit(circle, box, *_judge(signal, circle, levels, box))


def plausible(circle: Circle, signal: np.ndarray) -> bool:
    """Whether the circle is as large as an eye in a frame is, and meets the frame."""
    height, width = signal.shape[:2]
    smallest, largest = (share * max(height, width) for share in RADIUS_RANGE)
    reaches = abs(circle.x - width / 2) < width and abs(circle.y - height / 2) < height
    return bool(smallest < circle.radius < largest and reaches)


def refine_on(signal: np.ndarray, circle: Circle, points: np.ndarray, edge: np.ndarray) -> Circle:
    """The circle through the points (n, 2) that are an edge; a short arc leaves the centre near the picture's."""
    height, width = signal.shape
    return refine_circle(circle, points, edge.astype(float), (width / 2, height / 2), 0.05 * max(height, width))


def cast_rays(signal: np.ndarray, circle: Circle, half: float, box: tuple[float, float, float, float]) -> Rays:
    """Sample `signal` every half pixel along rays, from `half` pixels inside the circle to `half` pixels outside it."""
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    directions = np.stack([np.cos(angles), np.sin(angles)], 1)
    offsets = np.linspace(-half, half, 2 * int(np.ceil(2 * half)) + 1, dtype=np.float32)
    radii = (circle.radius + offsets).astype(np.float32)
    # Pixel i of the picture is centred on i + 0.5.
    x, y = (
        np.float32(center - 0.5) + direction[:, None] * radii
        for center, direction in zip(circle[:2], directions.T.astype(np.float32), strict=True)
    )
    values = cv2.remap(signal, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    left, top, right, bottom = box
    rim_x, rim_y = (np.array(circle[:2]) + directions * circle.radius).T
    seen = (rim_x > left + 2) & (rim_x < right - 2) & (rim_y > top + 2) & (rim_y < bottom - 2)
    return Rays(values, offsets, directions, seen)


def rim_profiles(
    signal: np.ndarray, circle: Circle, levels: Levels, reach: float, box: tuple[float, float, float, float]
) -> RimProfiles:
    """Look along rays across `circle`, from `reach` radii inside it to `reach` radii outside it."""
    rays = cast_rays(signal, circle, max(4.0, reach * circle.radius), box)
    third = len(rays.offsets) // 3
    inside = np.median(rays.values[:, :third], axis=1)
    outside = np.median(rays.values[:, -third:], axis=1)
    least = levels.least_step
    light = outside - levels.surround
    # What is darker than the surround is not outside an eye: it is its own dark margin, in a lighter border.
    plain = (light < np.maximum(0.4 * (inside - levels.surround), least)) & (light > -least)
    position = _outermost_crossing(rays.values, (inside + outside) / 2, rays.offsets)
    found = np.isfinite(position)
    points = rays.points(circle, np.where(found, position, 0))
    edge = (inside - outside > least) & plain & rays.seen & found
    return RimProfiles(points, edge, (inside - levels.surround <= least) & rays.seen, rays.seen)


def rim_width(signal: np.ndarray, circle: Circle, levels: Levels, box: tuple[float, float, float, float]) -> float:
    """Over how many pixels the brightness falls from 3/4 to 1/4 at the rim: the median of its sectors; NaN without any.

    A rim ends within a pixel or two; where light only fails towards the rim, a threshold draws a circle as round.
    """
    rays = cast_rays(signal, circle, 0.08 * circle.radius, box)
    usable = rays.seen.reshape(-1, _SECTOR).astype(float)
    sectors = rays.values.reshape(-1, _SECTOR, len(rays.offsets))
    share = usable / np.maximum(usable.sum(1, keepdims=True), 1)
    profile = (sectors * share[..., None]).sum(1)[usable.sum(1) >= 2]
    fifth = max(len(rays.offsets) // 5, 1)
    inside, outside = profile[:, :fifth].mean(1), profile[:, -fifth:].mean(1)
    stepping = inside - outside > max(levels.least_step, 2.0)
    if not stepping.any():
        return np.nan
    profile, inside, outside = profile[stepping], inside[stepping], outside[stepping]
    last = [
        profile.shape[1] - np.argmax((profile >= (outside + part * (inside - outside))[:, None])[:, ::-1], axis=1)
        for part in (0.25, 0.75)
    ]
    return float(np.median(last[0] - last[1])) * float(rays.offsets[1] - rays.offsets[0])


def recorded_box(signal: np.ndarray, circle: Circle, levels: Levels) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of what the camera recorded: straight black cuts through the circle move its sides."""
    height, width = signal.shape
    core = _disc(signal.shape, circle, 0.985)
    lit_core = cv2.bitwise_and(cv2.compare(signal, levels.above(0.08), cv2.CMP_GT), core)
    light = cv2.multiply(signal, core, dtype=cv2.CV_32F)
    sides = []
    for axis, length in ((0, width), (1, height)):
        chord, lit, mean = (
            cv2.reduce(part, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32F).ravel() for part in (core, lit_core, light)
        )
        lines = np.flatnonzero(chord)
        lit, mean = lit[lines] / chord[lines], mean[lines] / chord[lines] - levels.surround
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
    width = rim_width(signal, circle, levels, box)
    widest = max(_WIDEST_RIM_PIXELS, _WIDEST_RIM * circle.radius)
    sharp = (widest / width) ** 2 if width > widest else 1.0
    confidence = float(agreement * clean * enough * sharp)
    if confidence >= 0.7:
        return confidence, ""
    unlike = "much of the rim is too dark to see" if rim.dark.sum() > contrary else "the rim is not a clean circle"
    weakest = min(
        (agreement, unlike),
        (enough, "only a short arc of the rim is visible"),
        (clean, "not only the circle is brighter than the surround"),
        (sharp, "the light fails towards the rim, so that its place is uncertain"),
    )
    return confidence, weakest[1]


def _surround_cleanness(signal: np.ndarray, circle: Circle, levels: Levels) -> float:
    """1 when all outside the circle is as dark as the surround, 0 when 30 % of it is not (a notch or date is < 5 %)."""
    outside = 1 - _disc(signal.shape, circle, 1.03)
    count = cv2.countNonZero(outside)
    if count < 0.002 * signal.size:
        return 1.0
    lit = cv2.bitwise_and(cv2.compare(signal, levels.above(0.15), cv2.CMP_GT), outside)
    return float(np.clip(1.2 - 4 * cv2.countNonZero(lit) / count, 0, 1))


def _disc(shape: tuple[int, ...], circle: Circle, share: float) -> np.ndarray:
    """uint8 (height, width): 1 within `share` of the circle's radius, 0 outside."""
    center = round(16 * (circle.x - 0.5)), round(16 * (circle.y - 0.5))
    return cv2.circle(np.zeros(shape[:2], np.uint8), center, round(16 * share * circle.radius), 1, cv2.FILLED, shift=4)


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
