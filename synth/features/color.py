"""Colours of disc, macula and background."""

from __future__ import annotations

import cv2
import numpy as np

from .eye import SIDE, Eye, disc_mask
from .layout import ring_masks

_DARK, _BRIGHT = 50, 215


def color_features(eye: Eye) -> dict[str, float]:
    """Mean and standard deviation of CIE L*, a* and b* (8-bit scale, over 255; at half the size) in the disc, the macula
    (two radii of the disc about the fovea) and three rings of the field; shares of the field that are dark and overexposed;
    haze, ln of blue over the brightest channel."""
    half = (SIDE // 2, SIDE // 2)
    lab = cv2.cvtColor(cv2.resize(eye.image, half, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    field = eye.field[1::2, 1::2].copy()
    found = eye.landmarks
    regions = {
        "disc": disc_mask(found.disc_x, found.disc_y, found.disc_r) & eye.field,
        "macula": disc_mask(found.fovea_x, found.fovea_y, 2 * found.disc_r) & eye.field,
        **ring_masks(eye),
    }
    features: dict[str, float] = {}
    for name, whole in regions.items():
        mask = whole[1::2, 1::2].copy()
        # A place out of the field has no colour of its own; it gets that of the field.
        mean, spread = cv2.meanStdDev(lab, mask=mask if cv2.countNonZero(mask) >= 4 else field)
        for channel, label in enumerate("Lab"):
            features[f"{name}_{label}_mean"] = float(mean[channel, 0]) / 255
            features[f"{name}_{label}_sd"] = float(spread[channel, 0]) / 255
    return features | _exposure(eye)


def _exposure(eye: Eye) -> dict[str, float]:
    red, green, blue = cv2.split(eye.image)
    brightest, area = cv2.max(cv2.max(red, green), blue), max(cv2.countNonZero(eye.field), 1)
    dark = cv2.countNonZero(cv2.compare(brightest, _DARK, cv2.CMP_LT) & eye.field)
    bright = cv2.countNonZero(cv2.compare(green, _BRIGHT, cv2.CMP_GT) & eye.field)
    haze = float(np.log((cv2.mean(blue, eye.field)[0] + 2) / (cv2.mean(brightest, eye.field)[0] + 2)))
    return {"dark_share": dark / area, "bright_share": bright / area, "haze": haze}
