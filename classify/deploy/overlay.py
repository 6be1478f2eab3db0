"""Where a model file looked: a map for one class, laid over the camera frame."""

from __future__ import annotations

import cv2
import numpy as np

from ...preprocess.field_of_view import FieldOfView
from .model_file import ModelFile, Seen

_GRID = 9
_PATCH = 1 / 6  # of the picture's width
_OPACITY = 0.6


def class_map(model: ModelFile, image: np.ndarray, seen: Seen, chosen: int) -> np.ndarray:
    """What speaks for a class, place by place: the model's own class activation map, or, where it has none, by how much the
    answer falls when a patch is covered with the mean colour (Zeiler and Fergus, ECCV 2014, section 4.2).
    The page's heat.js does the same.

    Args:
        image: uint8 (side, side, 3), standardised.
        seen: what the model sees in it.
        chosen: number of the class; 0 for haemoglobin.

    Returns:
        float32 (h, w), 0..1: what speaks against it is 0, the strongest place 1 (all 0 when nothing speaks for it).
    """
    found = seen.maps[0, chosen] if seen.maps is not None else _occlusion(model, image, seen.told[0, chosen], chosen)
    found = np.maximum(found, 0)
    return (found / max(float(found.max()), 1e-12)).astype(np.float32)


def _occlusion(model: ModelFile, image: np.ndarray, told: float, chosen: int) -> np.ndarray:
    """By how much it falls, float32 (grid, grid); patches overlap, those centred outside the field of view stay 0."""
    side, inside = len(image), image.any(axis=2)
    color = np.rint(image[inside].mean(axis=0)) if inside.any() else 0
    falls = np.zeros((_GRID, _GRID), np.float32)
    for row, column in np.ndindex(falls.shape):
        center = (np.array([row, column]) + 0.5) / _GRID * side
        if np.hypot(*(center - side / 2)) > side / 2:
            continue
        edges = (np.floor(center + sign * _PATCH * side / 2 + 0.5) for sign in (-1, 1))
        (top, left), (bottom, right) = (edge.clip(0, side).astype(int) for edge in edges)
        covered = image.copy()
        covered[top:bottom, left:right][inside[top:bottom, left:right]] = color
        falls[row, column] = told - model.look(covered[None]).told[0, chosen]
    return falls


def overlay(frame: np.ndarray, fov: FieldOfView, found: np.ndarray) -> np.ndarray:
    """The camera frame with the map in colours over its field of view: red where it is strongest.

    Args:
        frame: uint8 (height, width, 3) RGB.
        fov: in pixels of the frame.
        found: float32 (h, w), 0..1, of the square around the field of view.

    Returns:
        uint8 (height, width, 3).
    """
    height, width = frame.shape[:2]
    side = max(2, round(2 * fov.radius))
    square = np.clip(cv2.resize(found, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
    # `from_square` speaks of pixels' edges, warpAffine of their centres.
    move = fov.from_square(side)
    move[:, 2] += move[:, :2].sum(axis=1) / 2 - 0.5
    strength = cv2.warpAffine(square, move, (width, height)) * (fov.mask(height, width) > 0)
    colors = cv2.applyColorMap(np.rint(255 * strength).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    share = (_OPACITY * strength)[..., None]
    return np.rint(frame * (1 - share) + colors * share).astype(np.uint8)
