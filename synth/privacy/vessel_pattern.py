"""The vessels of an eye on the canonical eye: what identifies a person, whatever light and framing did to the picture.

Vessels are the dark lines of `features.vessels`; disc and fovea of each eye are laid on the same two points, left eyes
mirrored, so that mirrored, turned and shifted pictures of one eye have the same pattern.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

import cv2
import numpy as np

from ...preprocess.landmarks import Landmarks, find_landmarks_batch
from ...preprocess.registration import canonical_map, warp
from ...runtime.progress import Progress
from ...runtime.workers import map_in_order
from ..features.base import resized
from ..features.eye import SIDE, Eye
from ..features.vessels import curvature, find_lines

GRID = 64
_SCALES = (1.0, 1.8, 3.2)  # pixels of 256
_STRONG = 0.15  # stronger lines are no more vessel than this
_FAINT = 0.008  # mean strength: 2 in 100 real eyes have less, and what they have is hardly vessels
_SOFT = 0.7
_APART = 0.12  # of the width: disc and fovea nearer than this are one guess, and there is nothing to register by
_AT_ONCE = 32
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 1e-4)
_LEAST_SCALE, _MOST_SCALE = 0.85, 1.18


def vessel_patterns(images: np.ndarray, workers: int | None = None, quiet: bool = True) -> np.ndarray:
    """The vessel pattern of each image.

    Args:
        images: uint8 (n, side, side, 3) RGB, standardised, side 64 or more.
        workers: processes; None = one a core, 0 = this one.

    Returns:
        float32 (n, GRID, GRID), how much of a line each place of the canonical eye is, as a vector of length 1 (faint
        vessels count as clear ones do); all 0 where hardly any line is seen or disc and fovea were not told apart.

    Raises:
        UserError: images of another shape or type, or smaller.
    """
    parts = [np.asarray(images[start : start + _AT_ONCE]) for start in range(0, len(images), _AT_ONCE)]
    found = []
    with Progress(len(images), "tracing vessels", quiet=quiet) as progress:
        for part in map_in_order(_of_part, parts, workers):
            found += part
            progress.advance(len(part))
    return np.array(found, np.float32).reshape(len(images), GRID, GRID)


def pattern_agreement(a: np.ndarray, b: np.ndarray, common: np.ndarray) -> float:
    """Correlation of two patterns, -1..1, after a small affine correction of where disc and fovea were seen.

    Args:
        a, b: float32 (GRID, GRID).
        common: float32 (GRID, GRID), what all eyes have in common; it says nothing, and is taken away.
    """
    matrix = np.eye(2, 3, dtype=np.float32)
    try:
        matrix = cv2.findTransformECC(b, a, matrix, cv2.MOTION_AFFINE, _STOP, None, 3)[1]
    except cv2.error:  # did not converge: the two have nothing in common
        return _correlation(a - common, b - common)
    scales = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if scales.min() < _LEAST_SCALE or scales.max() > _MOST_SCALE:
        return _correlation(a - common, b - common)
    moved = cv2.warpAffine(a, matrix, a.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return _correlation(moved - common, b - common)


def _of_part(images: np.ndarray) -> list[np.ndarray]:
    if multiprocessing.parent_process() is not None:
        import torch

        # The processes are the parallelism.
        torch.set_num_threads(1)
    return _patterns(resized(images, SIDE))


def _patterns(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [_pattern(image, found) for image, found in zip(images, find_landmarks_batch(images), strict=True)]


def _pattern(image: np.ndarray, found: Landmarks) -> np.ndarray:
    if np.hypot(found.disc_x - found.fovea_x, found.disc_y - found.fovea_y) < _APART:
        return np.zeros((GRID, GRID), np.float32)
    # Nothing here asks where else the disc might be.
    eye = Eye(image, found, np.empty((0, 0)))
    lines = find_lines(eye, [curvature(eye.flat, scale) for scale in _SCALES])
    strength = np.minimum(lines.strength / np.float32(_STRONG), 1)
    pattern = warp(strength, canonical_map(found, SIDE, GRID), GRID)
    if pattern.mean() < _FAINT:
        return np.zeros_like(pattern)
    pattern = cv2.GaussianBlur(pattern, (0, 0), _SOFT)
    return pattern / np.linalg.norm(pattern)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = (v.ravel() - v.mean() for v in (x, y))
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-6))
