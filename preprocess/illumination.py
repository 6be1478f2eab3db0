"""Illumination correction of a standardised image.

`none` leaves every pixel as it is. The others trade colour for evenness, and colour carries meaning: in anaemia the
pallor of disc and vessels *is* the label, so keep `none` there.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..runtime.errors import UserError

ILLUMINATIONS = ("none", "graham", "clahe", "gray-world", "percentile")

_GRAHAM_SIGMA = 1 / 30
_GRAHAM_FIELD = 0.9
_CLAHE_CLIP, _CLAHE_TILES = 2.0, 8
_PERCENTILES = (0.2, 99.8)


def check_illumination(name: str) -> None:
    """Raise UserError unless `name` is an illumination correction."""
    if name not in ILLUMINATIONS:
        raise UserError(f"--illumination {name} is not known", hint=f"Use {', '.join(ILLUMINATIONS)}.")


def correct_illumination(image: np.ndarray, mask: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Apply the correction called `name`.

    Args:
        image: uint8 (size, size, 3) RGB, the field of view as inscribed circle.
        mask: uint8 (size, size), 255 inside the field.

    Returns:
        The corrected image (outside is undefined) and the mask of what is valid in it.

    Raises:
        UserError: no such correction.
    """
    check_illumination(name)
    if name == "graham":
        return graham(image, mask)
    corrections = {"clahe": clahe, "gray-world": gray_world, "percentile": percentile}
    return (corrections[name](image, mask) if name in corrections else image), mask


def graham(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Local average subtracted: 4 (I - G * I) + 128, sigma = radius / 30 (B. Graham, Kaggle diabetic retinopathy 2015).

    Colour: overall hue, brightness and pallor are gone; everything is grey 128 plus local contrast, four times as
    strong, so vessels and lesions stand out alike at any exposure. The local average is taken over the field only, and
    as in the original the field shrinks to 90 % of its radius.
    """
    size = image.shape[0]
    sigma = size / 2 * _GRAHAM_SIGMA
    inside = (mask > 0).astype(np.float32)
    pixels = image.astype(np.float32)
    weight = cv2.GaussianBlur(inside, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    average = cv2.GaussianBlur(pixels * inside[..., None], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    average /= np.maximum(weight, 1e-3)[..., None]
    corrected = np.clip(np.rint(4 * (pixels - average) + 128), 0, 255).astype(np.uint8)
    center = np.square(np.arange(size) + 0.5 - size / 2)
    core = center[None, :] + center[:, None] <= (_GRAHAM_FIELD * size / 2) ** 2
    return corrected, np.where(core, mask, 0).astype(np.uint8)


def clahe(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Contrast-limited adaptive histogram equalisation of lightness, L of CIE Lab (Zuiderveld 1994); 8 x 8 tiles.

    Colour: a and b, so hue and chroma, stay as they are (up to rounding and the limits of RGB); lightness becomes
    relative to its surroundings, so a pale fundus no longer looks pale. Clip limit 2.
    """
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    inside = mask > 0
    lightness = lab[..., 0].copy()
    if inside.any():
        # The black surround would fill the histograms of the tiles at the rim.
        lightness[~inside] = np.median(lightness[inside])
    lab[..., 0] = cv2.createCLAHE(_CLAHE_CLIP, (_CLAHE_TILES, _CLAHE_TILES)).apply(lightness)
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def gray_world(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Each channel scaled so that all have the same mean over the field (Buchsbaum 1980).

    Colour: the mean colour of the eye becomes grey of the same brightness, so the tint of the lamp goes, and with it the
    tint of the eye: what tells a pale fundus from a red one is lost, only differences within the picture stay.
    """
    means = np.array(cv2.mean(image, mask)[:3])
    gains = means.mean() / np.maximum(means, 1)
    table = np.rint(np.arange(256)[:, None] * gains).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table[None])


def percentile(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Grey levels stretched so that the 0.2nd percentile of the field becomes 0 and the 99.8th 255; one range for all
    three channels.

    Colour: exposure is evened out and contrast is full; one map for all channels keeps their order, but subtracting
    the darkest level makes colours more saturated.
    """
    values = image[mask > 0]
    if values.size == 0:
        return image
    low, high = np.percentile(values, _PERCENTILES)
    table = np.rint((np.arange(256) - low) * (255 / max(high - low, 1.0))).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table)
