"""Camera frame -> standardised image: the field of view as the inscribed circle of a square, outside exactly black."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .dataset_masks import whole_field
from .field_of_view import FieldOfView, find_field_of_view
from .illumination import correct_illumination

STANDARD_SIZE = 512
"""Side at which camera files are standardised before a classifier's own size, as datasets are, pixels."""


@dataclass(frozen=True)
class Standardized:
    """A standardised image.

    Attributes:
        image: uint8 (size, size, 3) RGB, exactly 0 where the mask is.
        fov: the circle of the camera file that fills the square, moved to whole pixels.
        mask: uint8 (size, size), 255 inside the field of view and 0 outside.
    """

    image: np.ndarray
    fov: FieldOfView
    mask: np.ndarray


def standardize(
    image: np.ndarray, size: int, illumination: str = "none", fov: FieldOfView | None = None
) -> Standardized:
    """Crop to the field of view, resample to `size` x `size`, correct the illumination and blacken the outside.

    Args:
        image: uint8 (height, width, 3) RGB camera frame.
        size: side of the result in pixels.
        illumination: one of `ILLUMINATIONS`; see `illumination.py` for what each does to colour.
        fov: where the field of view is; found when not given. How sure it is, is for the caller to judge.

    Raises:
        UserError: `illumination` is not known.
    """
    fov = on_whole_pixels(fov if fov is not None else find_field_of_view(image))
    square, mask = correct_illumination(
        resample(image, fov, size), field_mask(fov, image.shape[:2], size), illumination
    )
    return Standardized(cv2.copyTo(square, mask), fov, mask)


def on_whole_pixels(fov: FieldOfView) -> FieldOfView:
    """The same circle moved by at most half a pixel, so that its bounding square is made of whole pixels.

    Then the crop is exact, the map back is exact, and a picture that is standardised already stays as it is.
    """
    side = max(1, round(2 * fov.radius))
    left, top = round(fov.x - side / 2), round(fov.y - side / 2)
    return replace(fov, x=left + side / 2, y=top + side / 2, radius=side / 2)


def resample(image: np.ndarray, fov: FieldOfView, size: int) -> np.ndarray:
    """The bounding square of the circle as `size` x `size` pixels; what lies beyond the frame is 0.

    Shrinking averages over areas (a pixel of the result is the mean of what it covers), enlarging is bicubic.

    Args:
        image: uint8 (height, width) or (height, width, channels).
        fov: on whole pixels.
    """
    height, width = image.shape[:2]
    side = round(2 * fov.radius)
    left, top = round(fov.x - fov.radius), round(fov.y - fov.radius)
    crop = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    before = (max(-top, 0), max(-left, 0))
    after = (max(top + side - height, 0), max(left + side - width, 0))
    if any(before + after):
        crop = cv2.copyMakeBorder(crop, before[0], after[0], before[1], after[1], cv2.BORDER_CONSTANT, value=0)
    if side == size:
        return crop.copy()
    return cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def resample_mask(mask: np.ndarray, fov: FieldOfView, size: int) -> np.ndarray:
    """A mask of the camera frame, moved like its image.

    A binary mask stays binary: 255 where at least half of a pixel's area is marked. A soft one (shares of experts) is
    averaged over areas.

    Args:
        mask: uint8 (height, width). fov: on whole pixels.
    """
    values = np.unique(mask)
    if values.size > 2 or (values.size == 2 and values[0] != 0):
        return resample(mask, fov, size)
    return np.where(resample((mask > 0).astype(np.uint8) * 255, fov, size) >= 128, 255, 0).astype(np.uint8)


def field_mask(fov: FieldOfView, shape: tuple[int, int], size: int) -> np.ndarray:
    """uint8 (size, size): 255 where a pixel of the standardised image shows a recorded part of the circle.

    Args:
        fov: in the camera frame. shape: height and width of that frame.
    """
    left, top, right, bottom = fov.box
    box = np.array([[max(left, 0), max(top, 0)], [min(right, shape[1]), min(bottom, shape[0])]])
    matrix = fov.to_square(size)
    (left, top), (right, bottom) = box @ matrix[:, :2].T + matrix[:, 2]
    mask, center = whole_field(size).copy(), np.arange(size) + 0.5
    mask[:, (center <= left) | (center >= right)] = 0
    mask[(center <= top) | (center >= bottom)] = 0
    return mask


def map_landmarks(row: Mapping[str, object], fov: FieldOfView, camera_width: int) -> dict[str, float]:
    """disc_x, disc_y, disc_r, fovea_x, fovea_y of the camera frame as fractions of the standardised image's width.

    Args:
        row: fractions of the camera frame's *width* (also for y); missing or empty values are left out.
    """
    moved = {}
    for name, origin in (
        ("disc_x", fov.x - fov.radius),
        ("disc_y", fov.y - fov.radius),
        ("disc_r", 0.0),
        ("fovea_x", fov.x - fov.radius),
        ("fovea_y", fov.y - fov.radius),
    ):
        value = row.get(name)
        if value not in (None, ""):
            moved[name] = round((float(value) * camera_width - origin) / (2 * fov.radius), 6)
    return moved
