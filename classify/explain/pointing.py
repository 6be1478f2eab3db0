"""Does a map point at what is known to be there? Pointing game (Zhang et al. 2018, IJCV 126), relevance mass and rank
accuracy (Arras, Osman and Samek 2022, Information Fusion 81), each against chance.

Chance has two measures. The share of the field that the mask covers is what a map without knowledge gets. The same map turned
about the centre of the field, mirrored every other time, is what a map of the same shape gets that may still know that lesions
are rare at the rim (`turned_maps`).

A classifier may look elsewhere than where a person would: a low score is no proof of a bad map, and a high one says that both
the classifier and the map are where they should be.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_TOLERANCE = 0.03  # of the width: Zhang et al. allow 15 pixels in pictures of about 500
_TURNS = 12
SCORES = ("pointing", "mass", "rank")


@dataclass(frozen=True)
class Location:
    """Scores of maps against masks, each float64 (n,), 0..1; nan where the mask or the map is empty.

    Attributes:
        pointing: whether the map's maximum lies in the mask or within 3 % of the width of it; of several equal maxima the
            share that does.
        mass: the share of the map's positive mass that lies in the mask.
        rank: of as many of the highest pixels as the mask has, the share that lies in it.
        area: the share of the field that the mask covers: what `mass` and `rank` are by chance.
        near: the same for the mask with its margin: what `pointing` is by chance.
    """

    pointing: np.ndarray
    mass: np.ndarray
    rank: np.ndarray
    area: np.ndarray
    near: np.ndarray


def locate(maps: np.ndarray, masks: np.ndarray, fields: np.ndarray) -> Location:
    """Score maps against masks, inside the field only.

    Args:
        maps: float (n, s, s); what speaks against the class, below 0, counts as 0.
        masks: bool (n, s, s).
        fields: bool (n, s, s).

    Raises:
        ValueError: shapes that do not fit.
    """
    if not maps.shape == masks.shape == fields.shape:
        raise ValueError(f"maps {maps.shape}, masks {masks.shape} and fields {fields.shape} do not fit")
    rows = [_locate_one(*one) for one in zip(maps, masks, fields, strict=True)]
    return Location(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)


def _locate_one(attribution: np.ndarray, mask: np.ndarray, field: np.ndarray) -> tuple[float, ...]:
    inside, near = (mask & field)[field], with_margin(mask)[field]
    values = np.maximum(attribution[field], 0).astype(np.float64)
    if not inside.any():
        return (np.nan,) * 5
    area, margin = inside.mean(), near.mean()
    if not values.any():
        return (np.nan, np.nan, np.nan, area, margin)
    pointing = near[values == values.max()].mean()
    return pointing, values[inside].sum() / values.sum(), _rank_accuracy(values, inside), area, margin


def _rank_accuracy(values: np.ndarray, inside: np.ndarray) -> float:
    wanted = int(inside.sum())
    last = np.partition(values, -wanted)[-wanted]
    above, level = values > last, values == last
    # Of equal values at the end of the list, as many count as are expected when they come in random order.
    return ((inside & above).sum() + (wanted - above.sum()) * inside[level].mean()) / wanted


def with_margin(mask: np.ndarray) -> np.ndarray:
    """The mask and what lies within 3 % of the width of it: bool (s, s)."""
    radius = max(1, round(_TOLERANCE * mask.shape[1]))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return cv2.dilate(mask.astype(np.uint8), (x**2 + y**2 <= radius**2).astype(np.uint8)) > 0


def located_by_chance(maps: np.ndarray, masks: np.ndarray, fields: np.ndarray, seed: int = 0) -> Location:
    """The scores of the same maps in the wrong place: means over the turns of `turned_maps`."""
    turns = [locate(turned, masks, fields) for turned in turned_maps(maps, seed)]
    return Location(*(np.mean([getattr(one, name) for one in turns], axis=0) for name in Location.__dataclass_fields__))


def turned_maps(maps: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each map turned about the centre by 12 angles, evenly spread from 45 to 315 degrees with a random start, every other one
    mirrored as well: float (12, n, s, s). Values are moved, not blended, so that maxima stay as high; corners are 0."""
    random = np.random.default_rng(seed)
    side = maps.shape[-1]
    made = np.zeros((_TURNS, *maps.shape), maps.dtype)
    for i, attribution in enumerate(maps):
        angles = 45 + 270 * (np.arange(_TURNS) + random.random()) / _TURNS
        for turn, angle in enumerate(angles):
            matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), angle, 1)
            source = attribution[:, ::-1] if turn % 2 else attribution
            made[turn, i] = cv2.warpAffine(np.ascontiguousarray(source), matrix, (side, side), flags=cv2.INTER_NEAREST)
    return made
