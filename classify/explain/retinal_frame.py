"""Maps of many eyes in one retinal frame: the canonical right eye of `preprocess.registration`.

There the same pixel is the same place of every retina, as far as optic disc and fovea fix it: between them and near them
within a fraction of the disc, further away less well, because vessels run differently in every eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ...data.schema import is_missing
from ...preprocess.dataset_masks import whole_field
from ...preprocess.landmarks import VISIBLE, Landmarks
from ...preprocess.orientation import is_mirrored
from ...preprocess.registration import canonical_map, scaled, warp

_APART = 0.05  # of the width; nearer landmarks would blow up whatever error they have


def frame_matrices(table: pd.DataFrame) -> np.ndarray:
    """The way of each image into the retinal frame, in fractions of the width: float64 (n, 2, 3), nan where disc or fovea
    was not found, lies outside the picture, or is less than 0.05 of the width from the other.

    Left eyes are mirrored, so that the optic disc lies on the same side in all.

    Args:
        table: of a dataset `with_landmarks`.
    """
    return np.stack([_matrix(row) for row in table.to_dict("records")]) if len(table) else np.zeros((0, 2, 3))


def landmarks_of(row: dict) -> Landmarks | None:
    """What a row of a dataset `with_landmarks` says of disc and fovea; None when one was not found.

    An unknown radius is taken to be a fifth of the way between disc and fovea (see `preprocess.landmarks`).
    """
    for name in ("disc", "fovea"):
        place = row[f"{name}_x"], row[f"{name}_y"]
        if any(is_missing(value) or not 0 <= value <= 1 for value in place) or row[f"{name}_confidence"] < VISIBLE:
            return None
    apart = float(np.hypot(row["disc_x"] - row["fovea_x"], row["disc_y"] - row["fovea_y"]))
    if apart < _APART:
        return None
    radius = apart / 5 if is_missing(row["disc_r"]) else row["disc_r"]
    return Landmarks(row["disc_x"], row["disc_y"], radius, row["fovea_x"], row["fovea_y"], row["disc_confidence"],
                     row["fovea_confidence"], row["eye"], 1.0, row["centred"])  # fmt: skip


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
    found = landmarks_of(row)
    return (
        np.full((2, 3), np.nan) if found is None else canonical_map(found, 1, 1, is_mirrored(found, row["orientation"]))
    )
