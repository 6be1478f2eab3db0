"""Synthetic eyes against real ones: every measure with its interval, beside what real eyes get from other real eyes.

The real patients are halved at random. One half is the reference. The synthetic eyes are measured against it, and so is the
other half, which is what a perfect generator would make: the floor. Always equal numbers of images, and as many of each
class on both sides, because all measures but KID depend on the number and every one on the mix of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import numpy as np

from ...runtime.workers import available_cores
from ..distance_intervals import (
    MEASURES,
    Estimate,
    frechet_interval,
    kid_interval,
    neighbor_intervals,
    real_floor,
)
from ..distances import density_coverage, frechet_distance, precision_recall

TOGETHER = "together"
"""The group of all classes."""
DISTANCES = ("kid", "frechet")
"""Measures that are better when lower; the others are better when higher."""
FEWEST = 12
"""Images a side below which nothing is said."""
WORSE, ALIKE, BEYOND = "worse", "as real eyes", "beyond real eyes"

_SPLITS = 20
_T = 2.093  # 97.5th percentile of Student's t with 19 degrees of freedom
_NEIGHBORS = 6  # rows that the measures with the most neighbours need
_WIDE = 256  # columns beyond which a Frechet distance takes seconds
_MANY, _FEW = 100, 20


@dataclass(frozen=True)
class Measured:
    """Images as vectors: `features` float (n, d), and of each row whose eye it is and its class, str (n,)."""

    features: np.ndarray
    patients: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, chosen: np.ndarray) -> Measured:
        """Those rows, by number or mask."""
        return Measured(self.features[chosen], self.patients[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Judgement:
    """One measure of synthetic eyes.

    Attributes:
        value: of the synthetic eyes, with its 95 % bootstrap interval.
        floor: of real eyes: the mean over random halves, and the ends between which other real eyes would lie in about 95
            of 100 cases.
    """

    measure: str
    value: Estimate
    floor: Estimate

    @property
    def ratio(self) -> float | None:
        """`value` over the floor's mean; of KID, whose floor has the mean 0, over the floor's upper end. None over 0."""
        under = self.floor.high if self.measure == "kid" else self.floor.value
        return self.value.value / under if under > 0 else None

    @property
    def verdict(self) -> str:
        """`WORSE` or `BEYOND` where the value lies outside the floor's ends, else `ALIKE`.

        Beyond real eyes is no praise: copies of the reference are, and sets of nothing but typical eyes.
        """
        if self.floor.low <= self.value.value <= self.floor.high:
            return ALIKE
        return WORSE if (self.value.value > self.floor.high) == (self.measure in DISTANCES) else BEYOND

    def plain_values(self) -> dict:
        """For JSON."""
        return {**asdict(self.value), "floor": asdict(self.floor), "ratio": self.ratio, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """All measures of one group of images.

    Attributes:
        images: how many on each side were compared; 0 when there were too few.
        judgements: one for each of `distance_intervals.MEASURES`; none when there were too few.
    """

    images: int
    judgements: tuple[Judgement, ...] = ()

    def __getitem__(self, measure: str) -> Judgement:
        return next(one for one in self.judgements if one.measure == measure)

    def plain_values(self) -> dict:
        """For JSON."""
        return {"images": self.images, "measures": {one.measure: one.plain_values() for one in self.judgements}}


def compare(real: Measured, made: Measured, seed: int = 0) -> Comparison:
    """Judge synthetic eyes by real ones.

    From each class as many synthetic images are drawn as half of its real ones, or fewer where there are fewer, and twice as
    many real ones, which are halved by patient.

    Args:
        real, made: features in the same units, see `feature_spaces.comparable`.
        seed: of the draws, the halves and the intervals.

    Returns:
        an empty comparison where fewer than 12 images a side, or 4 real patients, are left.
    """
    random = np.random.default_rng(seed)
    chosen = _equal_numbers(real.labels, made.labels, random)
    real, made = real.rows(chosen[0]), made.rows(chosen[1])
    if len(made) < FEWEST or len(set(real.patients)) < 4:
        return Comparison(0)
    halves = [_halves(real.patients, len(made), random) for _ in range(_SPLITS)]
    if min(len(one) for one, _ in halves) < _NEIGHBORS:
        return Comparison(0)
    reference, _ = halves[0]
    made = made.rows(np.sort(random.permutation(len(made))[: len(reference)]))
    values = _values(real.rows(reference), made, seed)
    floors = _floors(real, halves, seed)
    return Comparison(len(made), tuple(Judgement(name, values[name], floors[name]) for name in MEASURES))


def _equal_numbers(real: np.ndarray, made: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of real and of synthetic images, of each class twice as many real ones."""
    rows: tuple[list, list] = ([], [])
    for label in np.unique(made):
        of_real, of_made = (random.permutation(np.flatnonzero(labels == label)) for labels in (real, made))
        count = min(len(of_made), len(of_real) // 2)
        rows[0].append(of_real[: 2 * count])
        rows[1].append(of_made[:count])
    return tuple(np.sort(np.concatenate(part)).astype(int) for part in rows)


def _halves(patients: np.ndarray, most: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two random halves of the patients, equally many, at most `most`."""
    names, codes = np.unique(patients, return_inverse=True)
    first = (random.permutation(len(names)) < len(names) // 2)[codes]
    sides = [random.permutation(np.flatnonzero(side)) for side in (first, ~first)]
    count = min(*map(len, sides), most)
    return np.sort(sides[0][:count]), np.sort(sides[1][:count])


def _values(reference: Measured, made: Measured, seed: int) -> dict[str, Estimate]:
    sides = (reference.features, made.features, reference.patients, made.patients)
    return {
        "kid": kid_interval(*sides, seed=seed),
        "frechet": _frechet(reference, made, seed),
        **neighbor_intervals(*sides, seed=seed),
    }


def _floors(real: Measured, halves: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> dict[str, Estimate]:
    # Threads are enough: NumPy releases the interpreter's lock in all that takes time here.
    with ThreadPoolExecutor(available_cores()) as pool:
        measured = list(pool.map(lambda half: _without_kid(*(real.features[side] for side in half)), halves))
    floors = {name: _foreseen([values[name] for values in measured], name) for name in measured[0]}
    # An odd eye lifts the Frechet distance in whichever half it is, so random halves differ less than other eyes would.
    drawn = _frechet(*(real.rows(side) for side in halves[0]), seed)
    mean = floors["frechet"].value
    floors["frechet"] = Estimate(mean, max(mean + drawn.low - drawn.value, 0.0), mean + drawn.high - drawn.value)
    return {"kid": real_floor(real.features, real.patients, "kid", seed=seed), **floors}


def _frechet(reference: Measured, other: Measured, seed: int) -> Estimate:
    resamples = _MANY if other.features.shape[1] <= _WIDE else _FEW
    return frechet_interval(
        reference.features, other.features, reference.patients, other.patients, resamples=resamples, seed=seed
    )


def _without_kid(real: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """All measures but KID, whose halves `real_floor` takes in one pass."""
    near, wide = precision_recall(real, other), density_coverage(real, other)
    return {"frechet": frechet_distance(real, other), **near._asdict(), **wide._asdict()}


def _foreseen(values: Sequence[float], measure: str) -> Estimate:
    """Mean, and the interval in which one more such value is foreseen with 95 %: twenty values have no 2.5th percentile."""
    mean, spread = np.mean(values), np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))
    most = np.inf if measure in (*DISTANCES, "density") else 1.0
    return Estimate(float(mean), float(max(mean - _T * spread, 0)), float(min(mean + _T * spread, most)))
