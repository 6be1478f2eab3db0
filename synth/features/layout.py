"""Where things are: the field of view, disc and fovea, how alike the two halves are."""

from __future__ import annotations

import cv2
import numpy as np

from .eye import SIDE, Eye, disc_mask, grid

_COARSE = 16


def field_features(eye: Eye) -> dict[str, float]:
    """Centre and radius of what is lit (fractions of the width), its roundness (overlap with the circle of the same area and
    centre, 0..1), and the mean light outside the inscribed circle (0..1)."""
    moments = cv2.moments(eye.lit, binaryImage=True)
    area = max(moments["m00"], 1.0)
    x, y = (moments["m10"] + 0.5) / area / SIDE, (moments["m01"] + 0.5) / area / SIDE
    radius = np.sqrt(area / np.pi) / SIDE
    circle = disc_mask(x, y, radius)
    both = cv2.countNonZero(circle & eye.lit)
    outside = cv2.bitwise_not(disc_mask(0.5, 0.5, 0.51))
    return {
        "field_x": x,
        "field_y": y,
        "field_radius": radius,
        "field_roundness": both / max(cv2.countNonZero(circle | eye.lit), 1),
        "surround_light": float(np.mean(cv2.mean(eye.image, outside)[:3])) / 255,
    }


def landmark_features(eye: Eye) -> dict[str, float]:
    """Disc and fovea: how surely they are there, where, how large, how far apart (in radii of the disc, logarithm) and at
    what angle; what other places look like a disc; and how they stand out from around them (ln green, ln red/green).

    Right and left eyes are folded onto each other: sides count as distances from the middle, and the angle is that below
    the horizontal.
    """
    found = eye.landmarks
    across, down = found.disc_x - found.fovea_x, found.fovea_y - found.disc_y
    stands_out = _contrast(eye, found.disc_x, found.disc_y, 0.9 * found.disc_r, 1.4 * found.disc_r, 2.2 * found.disc_r)
    macula = _contrast(eye, found.fovea_x, found.fovea_y, 0.5 * found.disc_r, found.disc_r, 2 * found.disc_r)
    return {
        "disc_confidence": found.disc_confidence,
        "disc_off_middle": abs(found.disc_x - 0.5),
        "disc_height": found.disc_y,
        "disc_radius": found.disc_r,
        "other_disc": _other_disc(eye),
        "fovea_confidence": found.fovea_confidence,
        "fovea_off_middle": abs(found.fovea_x - 0.5),
        "fovea_height": found.fovea_y,
        "disc_fovea_distance": float(np.log(max(np.hypot(across, down), 0.01) / found.disc_r)),
        "disc_fovea_angle": float(np.arctan2(down, max(abs(across), 1e-3))),
        "disc_contrast": stands_out[0],
        "disc_color_contrast": stands_out[1],
        "fovea_contrast": macula[0],
        "fovea_color_contrast": macula[1],
    }


def _other_disc(eye: Eye) -> float:
    """0..1: the most that any place further than three radii from the disc looks like one."""
    cells = len(eye.disc_heat)
    centre = (np.arange(cells) + 0.5) / cells
    far = np.hypot(centre[None, :] - eye.landmarks.disc_x, centre[:, None] - eye.landmarks.disc_y)
    elsewhere = np.where(far > max(3 * eye.landmarks.disc_r, 0.15), eye.disc_heat, 0).astype(np.float32)
    return float(25 * cv2.blur(elsewhere, (5, 5), borderType=cv2.BORDER_CONSTANT).max())


def _contrast(eye: Eye, x: float, y: float, radius: float, inner: float, outer: float) -> tuple[float, float]:
    """Mean of ln green and of ln red/green in a disc less that in a ring around it; 0 where either is out of the field."""
    core = disc_mask(x, y, radius) & eye.field
    ring = disc_mask(x, y, outer) & ~disc_mask(x, y, inner) & eye.field
    if cv2.countNonZero(core) < 4 or cv2.countNonZero(ring) < 4:
        return 0.0, 0.0
    difference = np.subtract(cv2.mean(eye.logs, core), cv2.mean(eye.logs, ring))
    return float(difference[0]), float(difference[1])


def symmetry_features(eye: Eye) -> dict[str, float]:
    """Correlation, -1..1, of ln green at 16 x 16 cells with its mirror image left to right, top to bottom, and turned by
    180 degrees: an eye has its disc on one side, and its vessels come from there."""
    coarse = cv2.resize(eye.logs[..., 0], (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    x, y = (np.arange(_COARSE) + 0.5) / _COARSE - 0.5, (np.arange(_COARSE) + 0.5) / _COARSE - 0.5
    values = np.where(np.hypot(x[None, :], y[:, None]) < 0.45, coarse, np.nan)
    values = np.nan_to_num(values - np.nanmean(values))
    power = float((values**2).sum()) + 1e-6
    turned = {"mirror": values[:, ::-1], "flip": values[::-1], "half_turn": values[::-1, ::-1]}
    return {f"{name}_symmetry": float((values * other).sum()) / power for name, other in turned.items()}


def ring_masks(eye: Eye) -> dict[str, np.ndarray]:
    """The field in three rings of equal width, uint8 (SIDE, SIDE), 0 or 255."""
    x, y = grid()
    far = np.sqrt(np.square(x - 0.5) + np.square(y - 0.5))
    third = np.minimum((far * 6).astype(np.uint8), 2)
    return {name: cv2.compare(third, i, cv2.CMP_EQ) & eye.field for i, name in enumerate(("centre", "middle", "edge"))}
