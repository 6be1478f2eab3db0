"""Texture: how much structure each scale holds, in light and in colour, and of what kind it is."""

from __future__ import annotations

import cv2
import numpy as np

from .eye import SIDE, Eye

_LEVELS = 5
_NOTHING = 1e-3
_CHANNELS = ("light", "red_green", "green_blue")


def texture_features(eye: Eye) -> dict[str, float]:
    """ln of the rms of five octaves of a Laplacian pyramid (Burt and Adelson 1983), the finest first, of each channel of
    `Eye.logs`; skewness and kurtosis (signed cube and fourth roots) of the three finest octaves of light, which tell
    noise from vessels; correlation of neighbouring pixels of the finest octave across and down, the contrast of a
    grey-level co-occurrence matrix (Haralick et al. 1973) in one number; and ln of the ratio of slopes across and down.
    """
    bands = _bands(eye.logs, eye.inside.astype(np.float32))
    features = {}
    for level, (band, mask) in enumerate(bands):
        power = cv2.mean(cv2.multiply(band, band), mask)
        for channel, name in enumerate(_CHANNELS):
            features[f"{name}_octave_{level}"] = float(np.log(np.sqrt(power[channel]) + _NOTHING))
        if level < 3:
            features |= _shape(level, band[..., 0][mask > 0], power[0])
    return features | _neighbors(bands[0][0][..., 0], eye)


def _bands(values: np.ndarray, inside: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Octaves of the channels, float32 (side, side, 3), and where they are of the inner field, uint8 (side, side)."""
    bands, side = [], SIDE
    for _ in range(_LEVELS):
        half = cv2.resize(values, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
        coarse = cv2.resize(half, (side, side), interpolation=cv2.INTER_LINEAR)
        bands.append((cv2.subtract(values, coarse), cv2.compare(inside, 0.5, cv2.CMP_GT)))
        inside = cv2.resize(inside, (side // 2, side // 2), interpolation=cv2.INTER_AREA)
        values, side = half, side // 2
    return bands


def _shape(level: int, band: np.ndarray, power: float) -> dict[str, float]:
    scaled = band / np.float32(np.sqrt(power) + _NOTHING)
    square = scaled * scaled
    return {
        f"skewness_{level}": float(np.cbrt((square * scaled).mean())),
        f"kurtosis_{level}": float((square * square).mean() ** 0.25),
    }


def _neighbors(fine: np.ndarray, eye: Eye) -> dict[str, float]:
    inside = eye.inside.astype(np.float32)
    fine = cv2.multiply(fine, inside)
    power = cv2.norm(fine) ** 2 + SIDE**2 * _NOTHING**2
    light = eye.logs[..., 0]
    slopes = [
        cv2.norm(cv2.Sobel(light, cv2.CV_32F, *way), cv2.NORM_L2, eye.inner) + _NOTHING for way in ((1, 0), (0, 1))
    ]
    return {
        "correlation_across": float(np.vdot(fine[:, 1:], fine[:, :-1])) / power,
        "correlation_down": float(np.vdot(fine[1:], fine[:-1])) / power,
        "slope_ratio": float(np.log(slopes[0] / slopes[1])),
    }
