"""The same region somewhere else: what an explanation would find in it by chance."""

from __future__ import annotations

import cv2
import numpy as np

_TRIES, _FREE = 12, 4
_KEPT = 0.98


def random_place(mask: np.ndarray, field: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A region turned by any angle about the middle of the picture, mirrored every other time, and moved so that its centre of
    mass is anywhere in the field, but with at least 98 % of its area still in it: float32 (s, s).

    After four places that leave too much outside, it is moved a shorter way with every try. So a small region goes anywhere,
    and one that spreads over the whole field, as vessels do, is turned only. When no place keeps 98 %, the one of twelve that
    keeps most is taken; the part that lies outside is lost.

    Args:
        mask: float32 (s, s), 0..1.
        field: float32 (s, s), 0..1.
    """
    area, best = float(mask.sum()), np.zeros_like(mask)
    for attempt in range(_TRIES):
        reach = min(1.0, (_TRIES - 1 - attempt) / (_TRIES - _FREE))
        moved = _moved(mask, random, reach) * field
        if moved.sum() >= _KEPT * area:
            return moved
        best = moved if moved.sum() > best.sum() else best
    return best


def random_circle(area: float, field: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A full circle with this area, in pixels, anywhere inside the circle inscribed in the picture: float32 (s, s).

    What it loses where `field` is cut is not made up for.
    """
    side = len(field)
    radius = min(float(np.sqrt(area / np.pi)), side / 2)
    far, angle = (side / 2 - radius) * np.sqrt(random.random()), random.random() * 2 * np.pi
    steps = np.arange(side) + 0.5
    distance = np.hypot(steps[None] - side / 2 - far * np.cos(angle), steps[:, None] - side / 2 - far * np.sin(angle))
    return np.clip(radius - distance + 0.5, 0, 1).astype(np.float32) * field


def random_sector(area: float, free: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """All of `free` between a random angle about the middle of the picture and the one at which this area, in pixels, is
    reached: float32 (s, s); all of it when it has no more.

    Args:
        free: float32 (s, s), 0..1.
    """
    steps = np.arange(len(free)) + 0.5 - len(free) / 2
    angles = (np.arctan2(steps[:, None], steps[None]) - random.random() * 2 * np.pi) % (2 * np.pi)
    order = np.argsort(angles, axis=None)
    taken = np.zeros(free.size, np.float32)
    taken[order] = np.cumsum(free.ravel()[order], dtype=np.float64) <= area
    return taken.reshape(free.shape) * free


def _moved(mask: np.ndarray, random: np.random.Generator, reach: float) -> np.ndarray:
    """Turned, mirrored or not, and moved by the share `reach` of the way to a random place in the inscribed circle."""
    side, middle = len(mask), np.full(2, (len(mask) - 1) / 2)
    angle, steps = random.random() * 2 * np.pi, np.arange(len(mask))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if random.random() < 0.5:
        turn = turn @ np.diag([-1.0, 1.0])
    total = max(float(mask.sum()), 1e-6)
    centre = middle + turn @ (np.array([mask.sum(0) @ steps, mask.sum(1) @ steps]) / total - middle)
    far, way = side / 2 * np.sqrt(random.random()), random.random() * 2 * np.pi
    place = middle + far * np.array([np.cos(way), np.sin(way)])
    shift = middle - turn @ middle + reach * (place - centre)
    return cv2.warpAffine(mask, np.column_stack([turn, shift]), (side, side), flags=cv2.INTER_LINEAR)
