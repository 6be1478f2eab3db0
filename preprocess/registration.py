"""Every eye laid on one canonical eye: a right eye with optic disc and fovea at fixed points.

Two points determine a similarity map (turn, scale, shift); left eyes are mirrored first. Coordinates are continuous
pixels: the upper left corner of an image is (0, 0), and pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..runtime.errors import UserError
from .landmarks import Landmarks

DISC, FOVEA = (0.70, 0.48), (0.38, 0.52)
"""Where the landmarks of the canonical eye are, fractions of the width: about a macula-centred field of 45 degrees."""

_DISC_POINTS = 400


@dataclass(frozen=True)
class Registered:
    """An eye on the canonical grid.

    Attributes:
        image: uint8 (size, size, channels) or (size, size); 0 where the eye was not photographed.
        matrix: float64 (2, 3), from the pixels of the original to those of `image`.
        inverse: float64 (2, 3), the way back.
    """

    image: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray


def register(image: np.ndarray, landmarks: Landmarks, size: int) -> Registered:
    """Lay a standardised image on the canonical eye.

    Args:
        image: uint8 (side, side, 3) RGB.
        size: side of the result in pixels.

    Raises:
        UserError: disc or fovea is not visible, so that there is nothing to go by.
    """
    if not (landmarks.disc_visible and landmarks.fovea_visible):
        missing = "the fovea" if landmarks.disc_visible else "the optic disc"
        raise UserError(f"{missing} was not found, so the eye cannot be registered; expected both in the picture")
    matrix = canonical_map(landmarks, len(image), size)
    return Registered(warp(image, matrix, size), matrix, inverted(matrix))


def canonical_map(landmarks: Landmarks, side: int, size: int, mirror: bool | None = None) -> np.ndarray:
    """The similarity, float64 (2, 3), from a picture `side` pixels wide to the canonical eye of `size` pixels.

    Args:
        mirror: whether the picture is mirrored; by default when its disc lies to the left of its fovea, which is right for
            an upright picture.
    """
    disc = side * complex(landmarks.disc_x, landmarks.disc_y)
    fovea = side * complex(landmarks.fovea_x, landmarks.fovea_y)
    mirror = disc.real < fovea.real if mirror is None else mirror
    if mirror:
        disc, fovea = complex(-disc.real, disc.imag), complex(-fovea.real, fovea.imag)
    turn = size * (complex(*DISC) - complex(*FOVEA)) / (disc - fovea)
    shift = size * complex(*FOVEA) - turn * fovea
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    if mirror:
        matrix[:, 0] *= -1
    return matrix


def inverted(matrix: np.ndarray) -> np.ndarray:
    """The inverse of an affine map, float64 (2, 3)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def scaled(matrix: np.ndarray, side: int, size: int) -> np.ndarray:
    """A map between fractions of the width as one from a picture `side` pixels wide to one of `size`, float64 (2, 3)."""
    return matrix * np.array([size / side, size / side, size])


def warp(image: np.ndarray, matrix: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """A picture, mask or heat map moved by an affine map onto `size` x `size` pixels, 0 where it has nothing.

    Bilinear, after averaging over areas where the map shrinks; `nearest` keeps the values of a mask as they are.

    Args:
        image: (height, width) or (height, width, channels), uint8 or float32.
        matrix: float64 (2, 3), from the image's pixels to those of the result.
    """
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale < 0.7 and not nearest:
        height, width = image.shape[:2]
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        matrix = matrix * np.array([width / small[0], height / small[1], 1.0])
    # OpenCV counts from the centre of the first pixel.
    centred = matrix.copy()
    centred[:, 2] += 0.5 * matrix[:, :2].sum(1) - 0.5
    return cv2.warpAffine(image, centred, (size, size), flags=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)


def disc_survives(matrix: np.ndarray, disc_x: float, disc_y: float, disc_r: float, size: int) -> bool:
    """Whether at least half of the optic disc is still in the picture after an affine map.

    Study A augmented copies and dropped those that had lost their disc; this is that rule as a number. What lies outside
    the field of the original was never in the picture.

    Args:
        matrix: (2, 3), from the pixels of the standardised image to those of the altered one, both `size` wide.
        disc_x, disc_y, disc_r: fractions of the standardised image's width.
    """
    rank = np.arange(_DISC_POINTS) + 0.5
    # A sunflower: every point stands for the same area (Vogel 1979).
    far, angle = disc_r * np.sqrt(rank / _DISC_POINTS), rank * np.pi * (3 - np.sqrt(5))
    points = np.stack([disc_x + far * np.cos(angle), disc_y + far * np.sin(angle)], axis=1)
    recorded = np.hypot(*(points - 0.5).T) <= 0.5
    moved = size * points @ matrix[:, :2].T + matrix[:, 2]
    kept = recorded & ((moved >= 0) & (moved <= size)).all(1)
    return bool(kept.mean() >= 0.5)
