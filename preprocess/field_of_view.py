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

from .circle_fit import Circle
from .rim import RimFit, measure_levels, no_rim
from .rim_candidates import enclosing_circle, faint_rim, outlined_rim
from .rim_edges import sharpest_rim

HOPELESS = 0.25
"""Below this confidence the field of view is not to be used."""
UNSURE = 0.7
"""Below this confidence somebody should look."""

_SMALL_COPY, _SMALLEST = 512, 24
_TINY = "the picture is too small or too narrow"
_SNAP = 0.0075
_CUT = 0.01


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
    small, scale = _halved(image)
    if min(small.shape[:2]) < _SMALLEST:
        return _in_camera_pixels(no_rim(small, _TINY), scale, image.shape)
    red, green, blue = cv2.split(small)
    signal = cv2.GaussianBlur(cv2.max(cv2.max(red, green), blue), (3, 3), 0.8).astype(np.float32)
    levels = measure_levels(signal)
    found = outlined_rim(signal, levels)
    for candidate in (
        lambda: sharpest_rim(small, signal, levels),
        lambda: faint_rim(image, small.shape[1::-1]),
        lambda: enclosing_circle(small, signal, levels),
    ):
        if found.confidence < UNSURE:
            found = max(found, candidate(), key=lambda fit: fit.confidence)
    return _in_camera_pixels(_snapped(found, small.shape), scale, image.shape)


def _halved(image: np.ndarray) -> tuple[np.ndarray, int]:
    """A copy whose longer side is at most 512 pixels, and how many camera pixels one of its pixels is wide.

    It is halved as often as needed, an odd last line being left out: averaging over whole pixels is by far the fastest.
    """
    scale = 1
    while max(image.shape[:2]) > _SMALL_COPY:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        if min(height, width) == 0:
            break
        image = cv2.resize(image[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        scale *= 2
    return image, scale


def _snapped(found: RimFit, shape: tuple[int, ...]) -> RimFit:
    """The inscribed circle of a square frame instead of one that differs by less than what can be measured.

    So a picture that is standardised already goes through unchanged.
    """
    height, width = shape[:2]
    inscribed = Circle(width / 2, height / 2, width / 2)
    if width != height or max(abs(a - b) for a, b in zip(found.circle, inscribed, strict=True)) > _SNAP * width:
        return found
    return found._replace(circle=inscribed)


def _in_camera_pixels(found: RimFit, scale: int, camera: tuple[int, ...]) -> FieldOfView:
    """Scale what was found in the small copy."""
    left, top, right, bottom = (scale * value for value in found.box)
    # The small copy lacks the last lines that did not fill a pixel.
    right = float(camera[1]) if right > camera[1] - scale else right
    bottom = float(camera[0]) if bottom > camera[0] - scale else bottom
    x, y, radius = (scale * value for value in found.circle)
    return FieldOfView(x, y, radius, found.confidence, found.reason, (left, top, right, bottom))
