"""The regions of one eye that an explanation is measured in: disc, macula, vessels, lesions, centre, rim and what is left.

From masks where the dataset has them, else from the landmarks: the optic disc is then a circle; the macula always is one, of one
disc diameter around the fovea (the distance within which the ETDRS calls macular oedema clinically significant). Centre and
rim are the inner and the outer quarter of the field's area. Vessels and lesions are known from masks only.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from ...preprocess.dataset_masks import ANATOMY, whole_field
from ...preprocess.landmark_columns import landmarks_of, unusable

STRUCTURES = ("disc", "macula", "vessels", "lesions")
CENTRE, RIM = ZONES = ("centre", "rim")
BACKGROUND, OUTSIDE = "background", "outside the field"
_INNER, _OUTER = 0.5, float(np.sqrt(0.75))  # of the field's radius: a quarter of the area each
_MACULA = 2.0  # disc radii
_FINE = 4


def region_masks(row: Mapping[str, object], masks: Mapping[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """How much of each pixel belongs to each region: {region: float32 (size, size), 0..1}.

    Regions that are not known of this eye are missing: disc and macula without landmarks or mask, vessels and lesions without masks
    (an eye with masks of lesions, all of them empty, has lesions that are nowhere). "field" is always there. A blood vessel in the
    disc belongs to the disc. Masks of several values say how sure each pixel is, as DIARETDB1's do: it counts from half on.

    Args:
        row: of the table of a dataset `with_landmarks`.
        masks: of `read_masks`, uint8, square.
    """
    fine = max((len(mask) for mask in masks.values()), default=_FINE * size)
    given = {kind: (_square(mask, fine) > 127).astype(np.float32) for kind, mask in masks.items()}
    field = (
        given["fov"]
        if given.get("fov") is not None and given["fov"].any()
        else (whole_field(fine) > 127).astype(np.float32)
    )
    landmarks = None if unusable(row) else landmarks_of(row)
    found: dict[str, np.ndarray] = {"field": field, **_zones(fine, field)}
    if given.get("optic_disc") is not None and given["optic_disc"].any():
        found["disc"] = given["optic_disc"] * field
    elif landmarks is not None:
        found["disc"] = _circle(fine, landmarks.disc_x, landmarks.disc_y, landmarks.disc_r) * field
    if landmarks is not None:
        found["macula"] = _circle(fine, landmarks.fovea_x, landmarks.fovea_y, _MACULA * landmarks.disc_r) * field
    if "vessels" in given:
        found["vessels"] = given["vessels"] * field * (1 - found.get("disc", 0))
    lesions = [mask for kind, mask in given.items() if kind not in ANATOMY]
    if lesions:
        found["lesions"] = np.maximum.reduce(lesions) * field
    taken = [found[name] for name in STRUCTURES if name in found]
    found[BACKGROUND] = field * (1 - np.maximum.reduce(taken)) if taken else field
    found[OUTSIDE] = 1 - field
    return {name: _shrunk(mask, size) for name, mask in found.items()}


def _zones(side: int, field: np.ndarray) -> dict[str, np.ndarray]:
    far = 2 * _far(side, 0.5, 0.5)
    return {CENTRE: (far <= _INNER) * field, RIM: (far >= _OUTER) * field}


def _circle(side: int, x: float, y: float, radius: float) -> np.ndarray:
    return (_far(side, x, y) <= radius).astype(np.float32)


def _far(side: int, x: float, y: float) -> np.ndarray:
    """Distance of each pixel's middle from a place, fractions of the width: float32 (side, side)."""
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.hypot(steps[None, :] - x, steps[:, None] - y)


def _square(mask: np.ndarray, side: int) -> np.ndarray:
    return mask if mask.shape == (side, side) else cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)


def _shrunk(mask: np.ndarray, size: int) -> np.ndarray:
    if len(mask) == size:
        return mask.astype(np.float32)
    way = cv2.INTER_AREA if len(mask) > size else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=way)
