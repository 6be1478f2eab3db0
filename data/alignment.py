"""Is one photograph a copy of another? Lay one over the other and compare structure, tones and the field of view.

Two photographs of one eye agree in structure (the vessels are the same) but not in the rest: the eye has moved behind the
field of view, and the light falls differently. A copy agrees in all three.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.stats import rankdata

from .appearance import ANGLES, COARSE_SIDE, FINE, SIDE, Appearance, normalized

_BLACK = 4  # grey levels
_SOFT_RIM = 0.25  # of a pixel: by so much the rim spreads when a copy is resampled
_ITERATIONS = {COARSE_SIDE: 6, SIDE: 25}


@dataclass(frozen=True)
class Overlay:
    """How well photograph A, moved onto photograph B, agrees with it.

    Attributes:
        matrix: float32 (2, 3), pixels of B -> pixels of A, of maps of side `SIDE`.
        structure: correlation of the normalised maps where both are known, -1..1.
        tone: Spearman's rank correlation of the grey levels, -1..1. A change of brightness, contrast or gamma keeps it.
        field: share of the picture where the fields of view disagree both ways (the smaller of "only A" and "only B"),
            0..1. A crop takes away from one side only; an eye that moved shows something new as well.
    """

    matrix: np.ndarray
    structure: float
    tone: float
    field: float

    @property
    def mirrored(self) -> bool:
        return bool(np.linalg.det(self.matrix[:, :2]) < 0)

    @property
    def angle(self) -> float:
        """Degrees from the nearest copy that was not turned (nor mirrored, or mirrored along an axis), 0..180."""
        (a, b), (c, d) = self.matrix[:, :2]
        if not self.mirrored:
            return float(abs(np.degrees(np.arctan2(c - b, a + d))))
        turned = abs(np.degrees(np.arctan2(c + b, a - d)))
        return float(min(turned, 180 - turned))

    @property
    def shift(self) -> float:
        """How far the centre moved, as a share of the width."""
        centre = np.full(2, (SIDE - 1) / 2)
        return float(np.linalg.norm(self.matrix[:, :2] @ centre + self.matrix[:, 2] - centre) / SIDE)

    @property
    def scale(self) -> tuple[float, float]:
        """Smallest and largest magnification of the map."""
        largest, smallest = np.linalg.svd(self.matrix[:, :2], compute_uv=False)
        return float(smallest), float(largest)


def turn(step: int, mirrored: bool) -> np.ndarray:
    """The matrix that turns about the centre by `step` of `ANGLES` steps, after a reflection if `mirrored`."""
    angle, centre = 2 * np.pi * step / ANGLES, np.full(2, (SIDE - 1) / 2)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        linear = linear @ np.diag([1.0, -1.0])
    return np.hstack([linear, (centre - linear @ centre)[:, None]]).astype(np.float32)


def tone_after(a: Appearance, b: Appearance, matrix: np.ndarray) -> float:
    """Linear correlation of the grey levels after a given map, at a quarter of the resolution: a cheap first look."""
    side = SIDE // 4
    x, y = _tones(a, b, _resized(matrix, 0.25), side)
    return _correlation(x, y)


def align_roughly(a: Appearance, b: Appearance, start: np.ndarray) -> tuple[np.ndarray, float]:
    """Refine `start` on the coarse maps (an affine map by maximal correlation; Evangelidis and Psarakis 2008, IEEE
    Trans. Pattern Anal. Mach. Intell. 30:1858); returns the map and the correlation of structure it reaches."""
    one, other = a.coarse.astype(np.float32), b.coarse.astype(np.float32)
    matrix = _refine(one, other, _resized(start, 0.5))
    return _resized(matrix, 2.0), _structure(one, one != 0, other, other != 0, matrix)


def overlay(a: Appearance, b: Appearance, start: np.ndarray) -> Overlay:
    """Refine `start` on the fine maps and judge."""
    (map_a, known_a), (map_b, known_b) = normalized(a.grey, FINE), normalized(b.grey, FINE)
    matrix = _refine(map_a, map_b, start)
    half = _resized(matrix, 0.5)
    structure = _structure(map_a, known_a, map_b, known_b, matrix)
    tone = _correlation(*map(rankdata, _tones(a, b, half, COARSE_SIDE)))
    return Overlay(matrix, structure, tone, _field(a, b, half))


def _refine(a: np.ndarray, b: np.ndarray, start: np.ndarray) -> np.ndarray:
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS[len(a)], 1e-4)
    try:
        return cv2.findTransformECC(b, a, start.copy(), cv2.MOTION_AFFINE, stop, None, 1)[1]
    except cv2.error:  # did not converge: the two have nothing in common
        return start


def _resized(matrix: np.ndarray, factor: float) -> np.ndarray:
    """The same map between pictures `factor` times as large; pixel i covers i - 0.5 .. i + 0.5."""
    shift = np.full(2, (factor - 1) / 2, np.float32)
    offset = matrix[:, 2] * factor + shift - matrix[:, :2] @ shift
    return np.hstack([matrix[:, :2], offset[:, None]]).astype(np.float32)


def _moved(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return cv2.warpAffine(values, matrix, values.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _structure(a: np.ndarray, known_a: np.ndarray, b: np.ndarray, known_b: np.ndarray, matrix: np.ndarray) -> float:
    common = (_moved(known_a, matrix) > 0.99) & known_b
    if common.sum() < 0.5 * known_b.sum():
        return 0.0
    return _correlation(_moved(a, matrix)[common], b[common])


def _tones(a: Appearance, b: Appearance, matrix: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The grey levels of both where both are known, at maps of `side`; none when that is too little."""
    one, other = (cv2.resize(x.grey, (side, side), interpolation=cv2.INTER_AREA) for x in (a, b))
    moved = _moved(one, matrix)
    # Within 0.9 of the radius: the rim mixes with the black around it.
    common = (moved > _BLACK) & (other > _BLACK) & _DISCS[side]
    if common.sum() < 0.25 * common.size:
        return np.zeros(2), np.zeros(2)
    return moved[common], other[common].astype(np.float32)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-6))


def _field(a: Appearance, b: Appearance, matrix: np.ndarray) -> float:
    one, other = _moved(a.field, matrix) / 255, b.field / np.float32(255)
    recorded = _moved(np.ones_like(one), matrix) > 0.99
    difference = (one - other)[recorded]
    only = (np.maximum(sign * difference - _SOFT_RIM, 0).sum() for sign in (1, -1))
    return float(min(only) / recorded.size)


def _disc(side: int) -> np.ndarray:
    return np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) < 0.45 * side


_DISCS = {side: _disc(side) for side in (COARSE_SIDE, SIDE // 4)}
