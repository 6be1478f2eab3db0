"""Every picture of one set against every picture of another, as small maps that may be shifted or mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

_BLOCK = 512
_SHIFTS = [(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)]


@dataclass(frozen=True)
class Likeness:
    """What a search found.

    Attributes:
        nearest: int (n, count), numbers of the most alike of the pool for each query, the best first.
        view: int (n, count), in which view of the query; see `view_of`.
        distance: float32 (n, count), 0..2.
        around: float32 (n,), mean distance of the query to its nearest of the pool: how near is usual for it.
        nearest_query: float32 (m,), the distance of each of the pool to its nearest query.
    """

    nearest: np.ndarray
    view: np.ndarray
    distance: np.ndarray
    around: np.ndarray
    nearest_query: np.ndarray


def search_maps(queries: np.ndarray, pool: np.ndarray, count: int, common: np.ndarray, mirror: bool) -> Likeness:
    """The pictures of the pool that are most alike to each query, over shifts by one pixel and, if wanted, mirrored.

    The distance of two maps is that of the maps scaled to length 1, sqrt(2 - 2 r) where r is their correlation.

    Args:
        queries, pool: float32 (n, side, side) and (m, side, side); one that is 0 everywhere is like no other.
        common: float32 (side, side), taken away from each.
        mirror: whether to look at the queries mirrored, too.
    """
    views = list(_views(len(_SHIFTS) * (2 if mirror else 1)))
    vectors = _vectors(pool, common)
    rows: list[tuple[np.ndarray, ...]] = []
    nearest_query = np.full(len(pool), -np.inf, np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        best = np.full((len(block), len(pool)), -np.inf, np.float32)
        seen_as = np.zeros(best.shape, np.int8)
        for view in views:
            likeness = _vectors(np.stack([seen(one, view) for one in block]), common) @ vectors.T
            better = likeness > best
            best[better], seen_as[better] = likeness[better], view
        nearest_query = np.maximum(nearest_query, best.max(0))
        rows.append(_nearest(best, seen_as, count))
    nearest, view, distance, around = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Likeness(nearest, view, distance, around, _distance(nearest_query))


def search_vectors(queries: np.ndarray, pool: np.ndarray) -> Likeness:
    """The nearest of the pool to each query by Euclidean distance; float32 (n, d) and (m, d). The view is 0."""
    rows, nearest_query = [], np.full(len(pool), np.inf)
    squares = (pool.astype(np.float64) ** 2).sum(1)
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK].astype(np.float64)
        distance = (block**2).sum(1)[:, None] + squares - 2 * block @ pool.T.astype(np.float64)
        distance = np.sqrt(np.maximum(distance, 0))
        nearest_query = np.minimum(nearest_query, distance.min(0))
        nearest = distance.argmin(1)
        near = np.sort(np.partition(distance, neighbors(len(pool)) - 1, axis=1)[:, : neighbors(len(pool))])
        rows.append((nearest[:, None], near[:, :1], near.mean(1)))
    nearest, distance, around = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Likeness(nearest, np.zeros_like(nearest), distance, around, nearest_query)


def neighbors(pool: int) -> int:
    """How many nearest pictures say how near is usual: 50, as in Carlini et al. 2023, or a quarter of a small pool."""
    return max(1, min(50, pool // 4))


def view_of(view: int) -> tuple[int, int, bool]:
    """Shift to the right and down in pixels of the map, and whether the map was mirrored before."""
    return *_SHIFTS[view % len(_SHIFTS)], view >= len(_SHIFTS)


def seen(map_: np.ndarray, view: int) -> np.ndarray:
    """A map in a view; 0 where a shift brings in what was not there."""
    x, y, mirrored = view_of(view)
    map_ = cv2.flip(map_, 1) if mirrored else map_
    if not x and not y:
        return map_
    return cv2.warpAffine(map_, np.array([[1, 0, x], [0, 1, y]], np.float32), map_.shape[::-1])


def _views(count: int) -> Iterator[int]:
    # The plain views first: of equals, they win.
    yield from sorted(range(count), key=lambda view: (view_of(view) != (0, 0, False), view))


def _nearest(best: np.ndarray, seen_as: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """`nearest`, `view`, `distance` and `around` of a block."""
    near = neighbors(best.shape[1])
    wanted = min(max(count, near), best.shape[1])
    chosen = np.argpartition(-best, wanted - 1, axis=1)[:, :wanted]
    order = np.argsort(-np.take_along_axis(best, chosen, 1), axis=1, kind="stable")
    chosen = np.take_along_axis(chosen, order, 1)
    distance = _distance(np.take_along_axis(best, chosen, 1))
    first = chosen[:, :count]
    return first, np.take_along_axis(seen_as, first, 1), distance[:, :count], distance[:, :near].mean(1)


def _distance(likeness: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * likeness, 0))


def _vectors(maps: np.ndarray, common: np.ndarray) -> np.ndarray:
    """As vectors of length 1 without what is common; a map without anything stays without."""
    vectors = (maps - common).reshape(len(maps), -1).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    return vectors * maps.any(axis=(1, 2))[:, None]
