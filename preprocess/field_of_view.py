"""The circular field of view in a camera frame: where it is, how sure we are, and the map to the standardised square.

The finder looks at a small copy. Where the picture is brighter than its surround at several thresholds, the outermost
bright pixels of rows and columns are edge points; a consensus circle goes through them (`circle_fit`); then radial
profiles across that circle give sub-pixel edges for a robust fit. What share of the visible rim has such an edge, and
how clean the surround is, make the confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .circle_fit import Circle, consensus_circle
from .rim import Levels, RimFit, fit_rim, measure_levels

HOPELESS = 0.25
"""Below this confidence the field of view is not to be used."""
UNSURE = 0.7
"""Below this confidence somebody should look."""

_SMALL_COPY, _SMALLEST = 512, 24
_TINY = "the picture is too small or too narrow"
_THRESHOLDS = (0.06, 0.18, 0.45)
_RADIUS_RANGE = (0.15, 0.95)
_SNAP = 0.0075
_CUT = 0.01
_WHITE = 80
_SHARP_WITHIN = 6


@dataclass(frozen=True)
class FieldOfView:
    """A circle in a camera frame, perhaps cut by straight edges.

    Coordinates are continuous: the frame's upper left corner is (0, 0) and pixel i covers [i, i + 1).

    Attributes:
        x, y, radius: centre and radius in pixels of the camera file; parts of the circle may lie outside the frame.
        confidence: 0..1.
        reason: what is wrong, one short sentence; empty when nothing is.
        box: left, top, right, bottom of what the camera recorded, in pixels; the frame itself unless the circle is cut
            by a straight black edge inside the frame.
    """

    x: float
    y: float
    radius: float
    confidence: float
    reason: str
    box: tuple[float, float, float, float]

    @property
    def cuts(self) -> tuple[str, ...]:
        """The sides of `box` that cut the circle by more than 1 % of its radius, of left, top, right and bottom."""
        left, top, right, bottom = self.box
        depths = {
            "left": left - (self.x - self.radius),
            "top": top - (self.y - self.radius),
            "right": self.x + self.radius - right,
            "bottom": self.y + self.radius - bottom,
        }
        return tuple(side for side, depth in depths.items() if depth > _CUT * self.radius)

    def to_square(self, size: int) -> np.ndarray:
        """The affine map, float64 (2, 3), from camera coordinates to those of the square picture of the circle."""
        scale = size / (2 * self.radius)
        return np.array([[scale, 0, (self.radius - self.x) * scale], [0, scale, (self.radius - self.y) * scale]])

    def from_square(self, size: int) -> np.ndarray:
        """The inverse of `to_square`, float64 (2, 3)."""
        scale = 2 * self.radius / size
        return np.array([[scale, 0, self.x - self.radius], [0, scale, self.y - self.radius]])

    def mask(self, height: int, width: int) -> np.ndarray:
        """uint8 (height, width) of the camera frame: 255 where a pixel's centre is in the circle and not cut."""
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        left, top, right, bottom = self.box
        inside = np.square(x - self.x)[None, :] + np.square(y - self.y)[:, None] <= self.radius**2
        inside &= ((x > left) & (x < right))[None, :] & ((y > top) & (y < bottom))[:, None]
        return inside.astype(np.uint8) * 255


def find_field_of_view(image: np.ndarray) -> FieldOfView:
    """Find the circular field of view of a fundus photograph.

    Args:
        image: uint8 (height, width, 3) RGB, a camera frame or a picture cropped from one.

    Returns:
        Always a field of view; below `HOPELESS` its confidence says not to use it, and its reason why.
    """
    height, width = image.shape[:2]
    shape = _small_shape(width, height)
    if min(shape) < _SMALLEST:
        nothing = RimFit(Circle(shape[0] / 2, shape[1] / 2, min(shape) / 2), (0.0, 0.0, *map(float, shape)), 0.0, _TINY)
        return _in_camera_pixels(nothing, shape, (width, height))
    signal = cv2.GaussianBlur(_brightness(image, shape).astype(np.float32), (0, 0), 0.8)
    levels = measure_levels(signal)
    found = _circular_rim(signal, levels)
    if found.confidence < 0.5:
        small = _shrunk(image, shape)
        others = _around_the_lit(small, signal, levels), _on_white(small)
        found = max(found, *others, key=lambda fit: fit.confidence)
    return _in_camera_pixels(_snapped(found, shape), shape, (width, height))


def _small_shape(width: int, height: int) -> tuple[int, int]:
    """Width and height of the copy that is looked at: its longer side at most 512 pixels."""
    scale = min(1.0, _SMALL_COPY / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shrunk(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if image.shape[1] > 4 * shape[0]:
        # Averaging over a camera's 14 million pixels would take longer than everything else here together.
        image = cv2.resize(image, (2 * shape[0], 2 * shape[1]), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(image, shape, interpolation=cv2.INTER_AREA)


def _brightness(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The brightest channel of the small copy, uint8; of a moderate picture the channels are joined before it shrinks."""
    if image.shape[1] > 4 * shape[0]:
        image = _shrunk(image, shape)
    red, green, blue = cv2.split(image)
    brightest = cv2.max(cv2.max(red, green), blue)
    if image.shape[1] < 2 * shape[0]:
        # Within a factor of two bilinear sampling misses no pixel, and averaging by areas costs many times as much.
        return cv2.resize(brightest, shape, interpolation=cv2.INTER_LINEAR)
    return _shrunk(brightest, shape)


def _circular_rim(signal: np.ndarray, levels: Levels) -> RimFit:
    """The circle that the outline of the lit region follows."""
    half = cv2.resize(signal, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    outlines = [_outline(_largest_region(half > levels.above(share))) for share in _THRESHOLDS]
    longest = max(half.shape)
    circle = consensus_circle(
        np.concatenate(outlines), (_RADIUS_RANGE[0] * longest, _RADIUS_RANGE[1] * longest), tolerance=0.01
    )
    if circle is None:
        height, width = signal.shape
        whole = Circle(width / 2, height / 2, min(width, height) / 2), (0.0, 0.0, float(width), float(height))
        return RimFit(*whole, 0.0, "nothing round is brighter than its surround")
    found = fit_rim(signal, Circle(*(2 * value for value in circle)), levels)
    if _oval_share(signal, 2 * outlines[0], found.circle, levels) > 0.25:
        return found._replace(confidence=0.3 * found.confidence, reason="the rim is not a clean circle")
    return found


def _oval_share(signal: np.ndarray, outline: np.ndarray, circle: Circle, levels: Levels) -> float:
    """Share of the outline that lies far inside the circle and is a sharp edge, not an eye fading into the dark.

    On an oval (a picture stretched to a square) the circle follows one side, and the other side is such an edge.
    """
    if len(outline) == 0:
        return 0.0
    inward = outline.mean(0) - outline
    inward *= _SHARP_WITHIN / np.maximum(np.hypot(*inward.T), 1)[:, None]
    column, row = (outline + inward).astype(int).T
    sharp = signal[row.clip(0, signal.shape[0] - 1), column.clip(0, signal.shape[1] - 1)] > levels.above(0.2)
    far_inside = np.hypot(*(outline - circle[:2]).T) < 0.97 * circle.radius
    return float((sharp & far_inside).mean())


def _around_the_lit(small: np.ndarray, signal: np.ndarray, levels: Levels) -> RimFit:
    """The smallest circle around all that is lit: for a frame without a rim, or with one that is not a circle."""
    height, width = signal.shape
    fills = levels.surround >= max(0.25 * float(np.median(signal)), 10.0)
    lit = np.ones(signal.shape, bool) if fills else _largest_region(signal > levels.above(_THRESHOLDS[0]))
    box = (0.0, 0.0, float(width), float(height))
    corners = np.argwhere(lit)[:, ::-1].astype(np.float32)
    if len(corners) < 0.15 * lit.size:
        return RimFit(Circle(width / 2, height / 2, width / 2), box, 0.0, "too little of the picture is lit")
    hull = cv2.convexHull(np.concatenate([corners, corners + 1]))
    (x, y), radius = cv2.minEnclosingCircle(hull)
    circle = Circle(x, y, radius)
    solid = len(corners) / cv2.contourArea(hull)
    roundish = not fills and solid > 0.95 and cv2.contourArea(hull) > 0.7 * np.pi * radius**2
    if not roundish and (retina_likeness(small, lit) < 0.6 or solid < 0.85):
        return RimFit(circle, box, 0.05, "no round rim, and it does not look like a fundus photograph")
    reason = "the eye fills the frame: no rim is visible" if fills else "the rim is not a clean circle"
    return RimFit(circle, box, 0.4, reason)


def _on_white(small: np.ndarray) -> RimFit:
    """The circle of an eye on a white surround: the colour that retina lacks, blue, sets it off from white."""
    colorful = 255 - small.min(axis=2)
    signal = cv2.GaussianBlur(colorful.astype(np.float32), (0, 0), 0.8)
    levels = measure_levels(signal)
    height, width = signal.shape
    if levels.surround > _WHITE:
        whole = Circle(width / 2, height / 2, width / 2), (0.0, 0.0, float(width), float(height))
        return RimFit(*whole, 0.0, "the surround is not white")
    found = _circular_rim(signal, levels)
    lit = _largest_region(signal > levels.above(_THRESHOLDS[1]))
    if not lit.any() or retina_likeness(small, lit) < 0.6:
        return found._replace(confidence=0.0)
    return found


def retina_likeness(image: np.ndarray, lit: np.ndarray) -> float:
    """How much the lit pixels of a uint8 RGB picture look like retina, 0..1: red over green over blue, and smooth."""
    pixels = image[lit].astype(np.float32)
    warm = float(((1.04 * pixels[:, 0] >= pixels[:, 1]) & (1.05 * pixels[:, 1] + 4 >= pixels[:, 2])).mean())
    red = float((pixels[:, 0] > 1.1 * pixels[:, 2]).mean())
    sigma = max(image.shape) / 256
    green = cv2.GaussianBlur(image[..., 1].astype(np.float32), (0, 0), sigma)
    slope = np.hypot(cv2.Sobel(green, -1, 1, 0, scale=0.125), cv2.Sobel(green, -1, 0, 1, scale=0.125)) * sigma
    inner = cv2.erode(lit.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    rough = float((slope[inner] > 0.06 * max(float(pixels[:, 1].mean()), 1.0)).mean()) if inner.any() else 1.0
    return float(np.clip(min(warm, red) - 3 * max(rough - 0.1, 0.0), 0, 1))


def _largest_region(lit: np.ndarray) -> np.ndarray:
    """The largest connected lit region, bool; specks and thin writing are opened away first."""
    lit = cv2.morphologyEx(lit.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    return labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]) if count > 1 else np.zeros(lit.shape, bool)


def _outline(region: np.ndarray) -> np.ndarray:
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


def _snapped(found: RimFit, shape: tuple[int, int]) -> RimFit:
    """The inscribed circle of a square frame instead of one that differs by less than what can be measured.

    So a picture that is standardised already goes through unchanged.
    """
    width, height = shape
    inscribed = Circle(width / 2, height / 2, width / 2)
    if width != height or max(abs(a - b) for a, b in zip(found.circle, inscribed, strict=True)) > _SNAP * width:
        return found
    return found._replace(circle=inscribed)


def _in_camera_pixels(found: RimFit, shape: tuple[int, int], camera: tuple[int, int]) -> FieldOfView:
    """Scale what was found in the small copy; the two axes may differ by the rounding of its size."""
    sx, sy = camera[0] / shape[0], camera[1] / shape[1]
    left, top, right, bottom = found.box
    box = (left * sx, top * sy, right * sx, bottom * sy)
    radius = found.circle.radius * (sx + sy) / 2
    return FieldOfView(found.circle.x * sx, found.circle.y * sy, radius, found.confidence, found.reason, box)
