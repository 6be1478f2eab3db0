"""The masks of a dataset's images, for what moves image and masks together."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..data.image_file import read_image
from ..runtime.errors import UserError
from .field_of_view import FieldOfView

# A prediction asks for `whole_field`, and must not wait for pandas.
if TYPE_CHECKING:
    from ..data.dataset import FundusDataset


ANATOMY = ("fov", "optic_disc", "optic_cup", "fovea", "macula", "vessels", "arteries", "veins")
"""Kinds of masks that show what every eye has; all others show lesions."""


def read_masks(dataset: FundusDataset, index: int, side: int | None = None) -> dict[str, np.ndarray]:
    """{kind: uint8 (height, width)} of the masks of image `index`; with `side`, of this width and height.

    Raises:
        UserError: a mask cannot be read, or is not `side` pixels wide and high.
    """
    masks = {}
    for kind in dataset.mask_kinds:
        path = dataset.mask_path(index, kind)
        if path is None:
            continue
        mask = read_image(path).max(axis=2)
        if side is not None and mask.shape != (side, side):
            found = f"{mask.shape[1]} x {mask.shape[0]}"
            raise UserError(f"the mask is {found} pixels, its image {side} x {side}", path=path)
        masks[kind] = mask
    return masks


@lru_cache(4)
def whole_field(side: int) -> np.ndarray:
    """The field of view of a standardised image without a mask `fov`: the inscribed circle, uint8 (side, side), read-only."""
    half = side / 2
    mask = FieldOfView(half, half, half, 1.0, "", (0.0, 0.0, float(side), float(side))).mask(side, side)
    mask.flags.writeable = False
    return mask
