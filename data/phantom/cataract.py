"""A clouded lens: it absorbs blue light, scatters a veil over the whole field and blurs what remains.

Severity runs from 0 (clear) to 1 (hardly a glow of the disc); like the LOCS III scale (Chylack et al., Archives of
Ophthalmology 1993) it stands for opalescence and colour of the nucleus together.
"""

from __future__ import annotations

import cv2
import numpy as np

from .anatomy import Eye
from .background import field_grid, smooth_field

# Tints of the scattered light in grey levels, from brown over yellow and olive to a bluish white.
_TINTS = np.array([[150, 82, 20], [176, 108, 45], [190, 150, 70], [130, 118, 62], [205, 196, 130], [150, 150, 158]])
_COARSE = 128


def clouded(image: np.ndarray, eye: Eye) -> np.ndarray:
    """The photograph through a cataract: float32 (size, size, 3) in grey levels 0..255, before sensor noise."""
    size = image.shape[0]
    severity = eye.cataract
    rng = eye.generator(62)
    seen = _blurred(image, (0.0012 + 0.015 * severity**1.5) * size)
    small = cv2.resize(image, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    x, y = field_grid(_COARSE)
    lit = (np.hypot(x, y) < 0.5).astype(np.float32)
    share = cv2.GaussianBlur(lit, (0, 0), 14)[..., None]
    glow = cv2.GaussianBlur(small * lit[..., None], (0, 0), 14) / np.maximum(share, 0.05)
    patches = 1 + 0.25 * smooth_field(rng, 4, _COARSE) + 0.05 * smooth_field(rng, 9, _COARSE)
    # Light scattered at the edge of the pupil brightens the rim.
    edge = np.clip((np.hypot(x, y) - 0.28) / 0.22, 0, 1) ** 2 * rng.uniform(0, 0.5)
    level = rng.uniform(0.6, 1.1)
    slope = rng.normal(0, 0.45, 2)
    light = np.clip(1 + slope[0] * x + slope[1] * y + 1.1 * severity * edge, 0.4, 1.8)[..., None]
    scattered = (0.45 * glow + 0.55 * level * _tint(eye.cataract_color)) * light
    through = (0.90 - 0.82 * severity) * np.clip(patches, 0.3, 1.7) * (1 - edge * severity)
    cover = np.clip(1 - through, 0, 1)[..., None]
    layer = np.dstack([scattered * cover, cover]).astype(np.float32)
    red, green, blue, hidden = cv2.split(cv2.resize(layer, (size, size), interpolation=cv2.INTER_LINEAR))
    return seen * cv2.merge([1 - hidden] * 3) + cv2.merge([red, green, blue])


def _tint(where: float) -> np.ndarray:
    """The colour of the scattered light, float64 (3,), for a position 0..1 along the scale of tints."""
    steps = np.linspace(0, 1, len(_TINTS))
    return np.array([np.interp(where, steps, _TINTS[:, channel]) for channel in range(3)])


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur; a wide one is done on a coarser grid."""
    if sigma < 3:
        return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))
    size, shrink = image.shape[0], int(sigma // 1.5)
    small = cv2.resize(image, (size // shrink, size // shrink), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
