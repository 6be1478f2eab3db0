"""Maps of many eyes in one retinal frame: the canonical right eye of `preprocess.registration`.

There the same pixel is the same place of every retina, as far as optic disc and fovea fix it: between them and near them
within a fraction of the disc, further away less well, because vessels run differently in every eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...preprocess.dataset_masks import whole_field
from ...preprocess.landmark_columns import landmarks_of, unusable
from ...preprocess.orientation import is_mirrored
from ...preprocess.registration import canonical_map, scaled, warp


def frame_matrices(table: pd.DataFrame) -> np.ndarray:
    """The way of each image into the retinal frame, in fractions of the width: float64 (n, 2, 3), nan where disc or fovea
    was not found, lies outside the picture, or is less than 0.05 of the width from the other.

    Left eyes are mirrored, so that the optic disc lies on the same side in all.

    Args:
        table: of a dataset `with_landmarks`.
    """
    return np.stack([_matrix(row) for row in table.to_dict("records")]) if len(table) else np.zeros((0, 2, 3))


def to_frame(maps: np.ndarray, matrices: np.ndarray, size: int) -> np.ndarray:
    """Lay maps on the retinal frame.

    Args:
        maps: float32 (n, side, side) or uint8 (n, side, side, 3).
        matrices: float64 (n, 2, 3) of `frame_matrices`, none of them nan.
        size: side of the frame in pixels.

    Returns:
        As `maps`, with `size` instead of `side`; 0 where an eye was not photographed.
    """
    side = maps.shape[1]
    moved = [warp(one, scaled(matrix, side, size), size) for one, matrix in zip(maps, matrices, strict=True)]
    return np.stack(moved) if moved else np.zeros((0, size, size, *maps.shape[3:]), maps.dtype)


def fields_in_frame(matrices: np.ndarray, size: int, fields: Sequence[np.ndarray] | None = None) -> np.ndarray:
    """Where in the frame each eye was photographed: bool (n, size, size).

    Args:
        fields: masks `fov`, uint8 (side, side); by default the circle inscribed in each image.
    """
    fields = [whole_field(2 * size)] * len(matrices) if fields is None else fields
    moved = [warp(f, scaled(m, len(f), size), size) > 127 for f, m in zip(fields, matrices, strict=True)]
    return np.stack(moved) if moved else np.zeros((0, size, size), bool)


def _matrix(row: dict) -> np.ndarray:
    if unusable(row):
        return np.full((2, 3), np.nan)
    found = landmarks_of(row)
    return canonical_map(found, 1, 1, is_mirrored(found, row["orientation"]))
