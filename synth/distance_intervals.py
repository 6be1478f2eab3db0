"""How sure one may be of a distance: bootstrap intervals that resample patients, and the floor that real eyes set.

Rows are drawn with replacement (Efron 1979), all images of a patient together. A drawn set holds copies, and each
measure would take them for something they are not, so:

- KID: two copies of an image would count as a pair that is very alike, and lift it. Copies, and the images of one
  patient, are never paired, so its mean over resamples is about the estimate itself.
- Frechet distance: fewer different rows lift it, as fewer rows do. The mean lift is taken off both ends.
- Precision, recall, density, coverage: copies would shrink the balls. The balls stay as they are, and only what is
  counted in them is resampled; so the interval says nothing of the chance in the balls.

Intervals are percentile intervals; that of a KID near 0 is too wide rather than too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runtime.errors import UserError
from .distances import (
    checked,
    density_coverage,
    frechet_distance,
    frechet_of,
    group_codes,
    kid,
    mean_across,
    mean_within,
    moments,
    neighborhoods,
    precision_recall,
)  # fmt: skip

if TYPE_CHECKING:
    from .distances import Features

MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "kid": kid,
    "frechet": frechet_distance,
    "precision": lambda real, other: precision_recall(real, other).precision,
    "recall": lambda real, other: precision_recall(real, other).recall,
    "density": lambda real, other: density_coverage(real, other).density,
    "coverage": lambda real, other: density_coverage(real, other).coverage,
}
"""Every measure as a function of real and other features; precision and recall with 3 neighbours, the others with 5."""


@dataclass(frozen=True)
class Estimate:
    """A measure and the ends of its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


def kid_interval(
    x: Features, y: Features, x_groups: Sequence | None = None, y_groups: Sequence | None = None, *,
    resamples: int = 1000, confidence: float = 0.95, seed: int = 0,
) -> Estimate:  # fmt: skip
    """`kid` with its interval over resampled patients of both sets; arguments and errors as there."""
    x, y = checked(x, y)
    x_codes, y_codes = group_codes(x, x_groups), group_codes(y, y_groups)
    value = kid(x, y, x_codes, y_codes)
    random = np.random.default_rng(seed)
    draws_x, draws_y = (_draws(codes, resamples, random).astype(np.float32) for codes in (x_codes, y_codes))
    # A constant in the kernel cancels in KID; without its mean the float32 sums lose nothing that matters.
    shift = float(
        mean_across(x, x_codes, np.ones((1, draws_x.shape[1])), y, y_codes, np.ones((1, draws_y.shape[1])))[0]
    )
    values = mean_within(x, x_codes, draws_x, shift) + mean_within(y, y_codes, draws_y, shift)
    values -= 2 * mean_across(x, x_codes, draws_x, y, y_codes, draws_y, shift)
    return Estimate(value, *_percentiles(values, confidence))


def frechet_interval(
    x: Features, y: Features, x_groups: Sequence | None = None, y_groups: Sequence | None = None, *,
    resamples: int = 100, confidence: float = 0.95, seed: int = 0,
) -> Estimate:  # fmt: skip
    """`frechet_distance` with its interval; arguments and errors as in `kid_interval`.

    Each resample costs as much as the distance itself, so the default is a tenth of that of `kid_interval`.
    """
    x, y = checked(x, y)
    value, random = frechet_distance(x, y), np.random.default_rng(seed)
    x_codes, y_codes = group_codes(x, x_groups), group_codes(y, y_groups)
    draws = zip(_draws(x_codes, resamples, random), _draws(y_codes, resamples, random), strict=True)
    values = np.array([frechet_of(moments(x, a[x_codes]), moments(y, b[y_codes])) for a, b in draws])
    low, high = _percentiles(values - values.mean() + value, confidence)
    return Estimate(value, max(low, 0.0), high)


def neighbor_intervals(
    real: Features, generated: Features, real_groups: Sequence | None = None, generated_groups: Sequence | None = None, *,
    k_precision: int = 3, k_density: int = 5, resamples: int = 1000, confidence: float = 0.95, seed: int = 0,
) -> dict[str, Estimate]:  # fmt: skip
    """`precision` and `recall` with `k_precision` neighbours, `density` and `coverage` with `k_density`, each with its
    interval over resampled patients of the set that is counted; errors as in `distances.precision_recall`."""
    real, generated = checked(real, generated, max(k_precision, k_density) + 1)
    of_real, of_generated = group_codes(real, real_groups), group_codes(generated, generated_groups)
    near, wide = (neighborhoods(real, generated, k) for k in (k_precision, k_density))
    counted = {
        "precision": (near.balls > 0, of_generated),
        "recall": (near.recalled, of_real),
        "density": (wide.balls / k_density, of_generated),
        "coverage": (wide.covered, of_real),
    }
    random = np.random.default_rng(seed)
    return {name: _mean_interval(*what, resamples, confidence, random) for name, what in counted.items()}


def recall_interval(
    real: Features, generated: Features, count: int, real_groups: Sequence | None = None, *, k: int = 3, draws: int = 50,
    resamples: int = 1000, confidence: float = 0.95, seed: int = 0,
) -> Estimate:  # fmt: skip
    """Recall (see `distances.precision_recall`) of `count` of the generated images: the mean over random draws of so many,
    with its interval over resampled patients of `real`.

    More images have more but smaller balls, and in many dimensions a lower recall, so sets are compared by equal numbers.

    Raises:
        UserError: fewer generated images than `count`, `count` not above `k`, or as in `distances.precision_recall`.
    """
    real, generated = checked(real, generated, k + 1)
    if not k < count <= len(generated):
        raise UserError(f"recall of {count} out of {len(generated)} images; expected {k + 1} to {len(generated)}")
    random = np.random.default_rng(seed)
    drawn = (generated[random.permutation(len(generated))[:count]] for _ in range(draws))
    recalled = np.mean([neighborhoods(real, some, k).recalled for some in drawn], axis=0)
    return _mean_interval(recalled, group_codes(real, real_groups), resamples, confidence, random)


def real_floor(
    real: Features, groups: Sequence | None = None, measure: str = "kid", *, splits: int | None = None,
    confidence: float = 0.95, seed: int = 0,
) -> Estimate:  # fmt: skip
    """What a measure says of real eyes against other real eyes: two random halves of the patients, many times.

    A generator whose value lies within this interval cannot be told from real eyes by this measure at this number of
    images. Every measure but KID depends on the number of images: compare it with sets of half the size of `real`.

    Args:
        real: float (n, d).
        groups: the patient of each row; a patient is never in both halves.
        measure: one of `MEASURES`.
        splits: how many; by default 1000 for KID, whose halves share one pass over the pairs, and 20 for the others.

    Returns:
        the mean over splits, and the interval that holds `confidence` of them.

    Raises:
        UserError: no such measure, fewer than four patients, or as in `kid`.
    """
    if measure not in MEASURES:
        raise UserError(f"no measure is called {measure!r}; expected one of {', '.join(MEASURES)}")
    real, _ = checked(real, real, 4)
    codes = group_codes(real, groups)
    parts = codes.max() + 1
    if parts < 4:
        raise UserError(f"{parts} patients; expected at least 4, two for each half")
    random = np.random.default_rng(seed)
    splits = splits or (1000 if measure == "kid" else 20)
    halves = np.stack([random.permutation(parts) < parts // 2 for _ in range(splits)])
    if measure == "kid":
        values = _kid_of_halves(real, codes, halves)
    else:
        values = np.array([MEASURES[measure](real[half[codes]], real[~half[codes]]) for half in halves])
    return Estimate(float(np.mean(values)), *_percentiles(values, confidence))


def _kid_of_halves(x: np.ndarray, codes: np.ndarray, halves: np.ndarray) -> np.ndarray:
    one, other = halves.astype(np.float32), (~halves).astype(np.float32)
    shift = float(mean_within(x, codes, np.ones((1, halves.shape[1])))[0])
    values = mean_within(x, codes, one, shift) + mean_within(x, codes, other, shift)
    return values - 2 * mean_across(x, codes, one, x, codes, other, shift)


def _draws(codes: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """How often each group is drawn, int (resamples, groups)."""
    groups = codes.max() + 1
    return random.multinomial(groups, np.full(groups, 1 / groups), size=resamples)


def _mean_interval(
    values: np.ndarray, codes: np.ndarray, resamples: int, confidence: float, random: np.random.Generator
) -> Estimate:
    draws, sizes = _draws(codes, resamples, random), np.bincount(codes)
    totals = np.bincount(codes, weights=values.astype(np.float64))
    return Estimate(float(values.mean()), *_percentiles((draws @ totals) / (draws @ sizes), confidence))


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)
