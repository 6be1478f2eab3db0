"""A blur that knows the field: what lies outside it is black, and must not darken its rim."""

from __future__ import annotations

import cv2
import numpy as np


def blurred_inside(image: np.ndarray, field: np.ndarray, width: float) -> np.ndarray:
    """Blurred with a Gaussian of the pixels in the field only: float32 (s, s, 3), of meaning inside the field.

    Args:
        image: uint8 or float32 (s, s, 3).
        field: bool (s, s).
        width: standard deviation in pixels.
    """
    inside = field.astype(np.float32)
    colors = cv2.GaussianBlur(image * inside[..., None], (0, 0), width)
    return colors / np.maximum(cv2.GaussianBlur(inside, (0, 0), width), 1e-6)[..., None]
