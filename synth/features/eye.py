"""One eye as the biomarkers see it: 256 x 256 pixels, its field, its logarithmic channels, its disc and fovea."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import cv2
import numpy as np

from ...preprocess.landmarks import Landmarks

SIDE = 256
RADIUS = SIDE / 2

_FLARE = 8.0  # grey levels added before the logarithm, so that the noise of black is not detail
_LIT = 12
_INNER = 0.92  # of the radius: further out the rim itself would be texture


@dataclass(frozen=True)
class Eye:
    """Attributes:
    image: uint8 (SIDE, SIDE, 3) RGB, the field of view as inscribed circle.
    landmarks: disc and fovea.
    disc_heat: float (grid, grid), how likely each place is the disc's centre; sums to 1.
    """

    image: np.ndarray
    landmarks: Landmarks
    disc_heat: np.ndarray

    @cached_property
    def lit(self) -> np.ndarray:
        """uint8 (SIDE, SIDE), 255 where the brightest channel is not black."""
        red, green, blue = cv2.split(self.image)
        return cv2.compare(cv2.max(cv2.max(red, green), blue), _LIT, cv2.CMP_GT)

    @cached_property
    def field(self) -> np.ndarray:
        """uint8 (SIDE, SIDE), 255 inside the circle where the picture is lit; the whole circle when hardly any is."""
        field = cv2.bitwise_and(disc_mask(0.5, 0.5, 0.495), self.lit)
        return field if cv2.countNonZero(field) > 0.05 * SIDE**2 else disc_mask(0.5, 0.5, 0.495)

    @cached_property
    def inner(self) -> np.ndarray:
        """uint8 (SIDE, SIDE), 255 in the field and off its rim."""
        inner = cv2.erode(self.field, np.ones((7, 7), np.uint8)) & disc_mask(0.5, 0.5, 0.5 * _INNER)
        return inner if cv2.countNonZero(inner) > 0.02 * SIDE**2 else disc_mask(0.5, 0.5, 0.5 * _INNER)

    @cached_property
    def inside(self) -> np.ndarray:
        """`inner` as bool."""
        return self.inner > 0

    @cached_property
    def logs(self) -> np.ndarray:
        """float32 (SIDE, SIDE, 3): ln green, ln red/green, ln green/blue. Outside the field, their mean inside.

        Vessels, haze and exposure are multiplications of light, so sums here.
        """
        red, green, blue = cv2.split(cv2.log(self.image.astype(np.float32) + np.float32(_FLARE)))
        logs = cv2.merge([green, red - green, green - blue])
        mean = np.float32(cv2.mean(logs, self.field)[:3])
        return np.where(self.field[..., None] > 0, logs, mean)

    @cached_property
    def flat(self) -> np.ndarray:
        """float32 (SIDE, SIDE): ln green less its average over about an eighth of the field; 0 outside."""
        small = (SIDE // 8, SIDE // 8)
        weight = cv2.resize((self.field > 0).astype(np.float32), small, interpolation=cv2.INTER_AREA)
        total = cv2.resize(self.logs[..., 0], small, interpolation=cv2.INTER_AREA)
        total, share = (cv2.GaussianBlur(v, (0, 0), 2.0) for v in (total * weight, weight))
        background = cv2.resize(total / cv2.max(share, 0.02), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        return np.where(self.field > 0, self.logs[..., 0] - background, np.float32(0))


def disc_mask(x: float, y: float, radius: float) -> np.ndarray:
    """uint8 (SIDE, SIDE), 255 inside a circle; centre and radius as fractions of the width."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    # Sub-pixel places: OpenCV takes fixed-point coordinates, here in sixteenths.
    centre = (round((x * SIDE - 0.5) * 16), round((y * SIDE - 0.5) * 16))
    return cv2.circle(mask, centre, max(round(radius * SIDE * 16), 8), 255, -1, cv2.LINE_8, 4)


@cache
def grid() -> tuple[np.ndarray, np.ndarray]:
    """x and y of each pixel's centre as fractions of the width, float32 (1, SIDE) and (SIDE, 1)."""
    line = ((np.arange(SIDE) + 0.5) / SIDE).astype(np.float32)
    return line[None, :], line[:, None]
