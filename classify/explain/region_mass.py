"""How much of a map lies in each region: against the area that the region covers, and against the same region elsewhere.

A map that knows nothing has as much in a region as the region has area. One that only prefers the middle of the picture, as coarse
maps do, has more than that in whatever lies there; so the same mask is also laid at random places (`random_regions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..evidence import Difference, Interval, holm, percentile_interval
from .patient_means import mean_difference, resampled_sums
from .random_regions import random_place
from .region_masks import BACKGROUND, OUTSIDE, STRUCTURES

MEASURED = (*STRUCTURES, BACKGROUND, OUTSIDE)
_DRAWS = 10
_RESAMPLES = 2000


@dataclass(frozen=True)
class Shares:
    """Of one region, float64 (n,) each, nan where the region is not in the image or the map is zero.

    Attributes:
        mass: share of the map's absolute values that lie in the region: of those in the field, or, for "outside the field", of all.
        area: share of the field, or of the picture, that the region covers.
        chance: `mass` of the same region at random places, the mean of 10; nan for "outside the field", which has no other place.
    """

    mass: np.ndarray
    area: np.ndarray
    chance: np.ndarray


@dataclass(frozen=True)
class RegionMass:
    """What the maps have in one region.

    Attributes:
        images: how many have the region and a map that is not zero.
        mass, area, chance: means of `Shares`.
        ratio: mass over area, with its interval over patients; 1 is what a map without any preference has.
        beyond: mass minus chance, with its interval over patients.
        adjusted_p: of `beyond`, corrected for the number of regions (Holm).
    """

    region: str
    images: int
    mass: float
    area: float
    chance: float
    ratio: Interval
    beyond: Difference
    adjusted_p: float


def map_shares(
    maps: np.ndarray, regions: Sequence[Mapping[str, np.ndarray]], seed: int = 0, first: int = 0
) -> dict[str, Shares]:
    """Shares of each region of MEASURED that an image has.

    Args:
        maps: float32 (n, s, s), of either sign.
        regions: of `region_masks`, one an image.
        first: number of the first image; an image's random places depend on its number and the seed.
    """
    rows = [
        _of_image(np.abs(one).astype(np.float64), masks, np.random.default_rng([seed, first + number]))
        for number, (one, masks) in enumerate(zip(maps, regions, strict=True))
    ]
    nothing = (np.nan,) * 3
    columns = {name: np.array([row.get(name, nothing) for row in rows]).reshape(-1, 3).T for name in MEASURED}
    return {name: Shares(*values) for name, values in columns.items()}


def joined(parts: Sequence[Mapping[str, Shares]]) -> dict[str, Shares]:
    """The shares of several lots of images, one after another."""
    fields = Shares.__dataclass_fields__
    return {
        name: Shares(*(np.concatenate([getattr(part[name], field) for part in parts]) for field in fields))
        for name in MEASURED
    }


def region_mass(shares: Mapping[str, Shares], patients: np.ndarray, seed: int = 0) -> list[RegionMass]:
    """Means, ratios and tests of every region that at least one image has.

    Args:
        patients: str (n,).
    """
    there = {name: one for name, one in shares.items() if np.isfinite(one.mass).any()}
    beyond = {
        name: mean_difference(one.mass, one.chance, patients, resamples=_RESAMPLES, seed=seed)
        for name, one in there.items()
    }
    adjusted = holm([one.p for one in beyond.values()])
    return [
        RegionMass(name, int(np.isfinite(one.mass).sum()), *(float(np.nanmean(v)) if np.isfinite(v).any() else float("nan")
                   for v in (one.mass, one.area, one.chance)), _ratio(one, patients, seed), beyond[name], float(p))
        for (name, one), p in zip(there.items(), adjusted, strict=True)
    ]  # fmt: skip


def _of_image(strength: np.ndarray, masks: Mapping[str, np.ndarray], random: np.random.Generator) -> dict[str, tuple]:
    field, found = masks["field"], {}
    whole, inside = strength.sum(), float((strength * field).sum())
    for name in MEASURED:
        mask = masks.get(name)
        total, of = (whole, mask.size) if name == OUTSIDE else (inside, float(field.sum()))
        if mask is None or not mask.any() or not total > 0:
            continue
        chance = np.nan
        if name != OUTSIDE:
            chance = _elsewhere(strength, mask, field, random) / total
        found[name] = (float((strength * mask).sum()) / total, float(mask.sum()) / of, chance)
    return found


def _elsewhere(strength: np.ndarray, mask: np.ndarray, field: np.ndarray, random: np.random.Generator) -> float:
    """What lies in the same region at random places, the mean of 10, made up for what a place loses outside the field."""
    placed = [random_place(mask, field, random) for _ in range(_DRAWS)]
    area = float(mask.sum())
    return float(np.mean([(strength * one).sum() * area / max(float(one.sum()), 1e-6) for one in placed]))


def _ratio(shares: Shares, patients: np.ndarray, seed: int) -> Interval:
    """Mean mass over mean area: a mean of ratios would be ruled by the images in which the region is tiny."""
    known = np.isfinite(shares.mass)
    mass, area, people = shares.mass[known], shares.area[known], patients[known]
    masses, areas = resampled_sums(people, mass, area, resamples=_RESAMPLES, seed=seed)
    low, high = percentile_interval(masses / areas, 0.95)
    return Interval(float(mass.sum() / area.sum()), low, high, _RESAMPLES, len(np.unique(people)), 1)
