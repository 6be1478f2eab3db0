"""How sure one may be: bootstrap intervals that resample patients and seeds, paired differences between arms, their
p-values corrected for being several, and the smallest difference that a test set could have shown.

The two eyes and all visits of a patient are not independent, so patients are resampled and take their images along.
Seeds (training runs) are resampled too, independently of the patients: the "pigeonhole" bootstrap of Owen (2007,
Annals of Applied Statistics 1), whose intervals are a little too wide rather than too narrow. With one seed its
chance cannot be seen, and the interval says nothing of it. Intervals are percentile intervals (Efron 1979).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import score

_BLOCK = 250  # resamples in memory at once: 250 x 5000 images are 10 MB
_CLAIM = 0.05
HELPS, HARMS, NO_EVIDENCE = "helps", "harms", "no evidence"


@dataclass(frozen=True)
class SeedPredictions:
    """What one trained model said about the held-out images.

    Attributes:
        true: int (n,).
        probabilities: float (n, k).
        patients: str (n,).
    """

    true: np.ndarray
    probabilities: np.ndarray
    patients: np.ndarray


@dataclass(frozen=True)
class Interval:
    """A metric, averaged over seeds, with its percentile interval; nan where the metric is not defined."""

    estimate: float
    low: float
    high: float
    resamples: int
    patients: int
    seeds: int

    def __str__(self) -> str:
        return self._told("")

    def _told(self, sign: str) -> str:
        if math.isnan(self.estimate):
            return "not known"
        known = not (math.isnan(self.low) or math.isnan(self.high))
        spread = f"{self.low:{sign}.3f} to {self.high:{sign}.3f}" if known else "interval not known"
        return f"{self.estimate:{sign}.3f} ({spread})"


@dataclass(frozen=True)
class Difference(Interval):
    """Arm minus reference on the same patients and seeds. `p` is the two-sided bootstrap p-value: twice the smaller
    share of resamples on one side of 0, each side counted with one resample more, at most 1. `spread` is the standard
    deviation of the difference over the resamples, which stands for its standard error."""

    p: float = float("nan")
    spread: float = float("nan")

    def __str__(self) -> str:
        return self._told("+")


def interval(
    runs: Sequence[SeedPredictions],
    metric: str,
    *,
    classes: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The metric of one arm, averaged over its seeds.

    Args:
        runs: one entry a seed. Their test images may differ; a patient is recognised across them.
        metric: as in `metrics.score`.
        classes: class names, for "metric:class".

    Raises:
        ValueError: no runs.
    """
    values = bootstrap(runs, metric, classes, resamples, seed)
    low, high = percentile_interval(values, confidence)
    return Interval(estimate(runs, metric, classes), low, high, resamples, len(_all_patients(runs)), len(runs))


def paired_difference(
    arm: Sequence[SeedPredictions],
    reference: Sequence[SeedPredictions],
    metric: str,
    *,
    classes: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The metric of `arm` minus that of `reference`: the same resampled patients and seeds on both sides.

    Args:
        arm, reference: one entry a seed, in the same order, on the same images.

    Raises:
        ValueError: the arms are not paired.
    """
    _refuse_unpaired(arm, reference)
    values = bootstrap(arm, metric, classes, resamples, seed) - bootstrap(reference, metric, classes, resamples, seed)
    middle = estimate(arm, metric, classes) - estimate(reference, metric, classes)
    return difference_of(middle, values, confidence, len(_all_patients(arm)), len(arm))


def independent_difference(
    arm: Sequence[SeedPredictions],
    reference: Sequence[SeedPredictions],
    metric: str,
    *,
    classes: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The metric of `arm` minus that of `reference` on other test images.

    Nothing is paired, so patients and seeds of the two sides are resampled independently of each other: the spread is that
    of a difference between independent samples. Where a patient is tested on both sides, what makes patients easy or hard
    partly cancels in the true difference and not here, so the interval is too wide rather than too narrow.

    Returns:
        As `paired_difference`; `patients` are those of the smaller side.
    """
    ours, theirs = (
        bootstrap(arm, metric, classes, resamples, seed + 1),
        bootstrap(reference, metric, classes, resamples, seed),
    )
    middle = estimate(arm, metric, classes) - estimate(reference, metric, classes)
    patients = min(len(_all_patients(arm)), len(_all_patients(reference)))
    return difference_of(middle, ours - theirs, confidence, patients, len(arm))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values corrected for being several: claiming those below 0.05 makes one false claim or more in at most 5 % of
    such families of tests, however the tests depend on each other (Holm 1979, Scandinavian Journal of Statistics 6).

    Args:
        p_values: (m,), 0..1; nan marks a test that could not be made, is not counted, and stays nan.

    Returns:
        float64 (m,): in ascending order p times (m, m - 1, ..., 1), never below the one before, at most 1.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def adjusted_p_values(differences: Mapping[str, Difference]) -> dict[str, float]:
    """{name: Holm-adjusted p-value} of differences that are one family."""
    adjusted = holm([one.p for one in differences.values()])
    return dict(zip(differences, adjusted.tolist(), strict=True))


def smallest_detectable_difference(difference: Difference, power: float = 0.8, alpha: float = 0.05) -> float:
    """How large a true difference must be for this test set to show it with the chance `power`.

    By the normal approximation, (z[1 - alpha/2] + z[power]) x standard error, with the bootstrap's spread as the standard
    error: it takes the spread to be the same whatever the true difference, and does not look at the one found.

    Args:
        difference: of two arms on the test set in question.
        power: chance of showing it, 0..1.
        alpha: of the two-sided test, 0..1; divide it by the number of tests when they are corrected for being several.

    Returns:
        In units of the metric; nan when the difference is not defined.
    """
    from scipy.special import ndtri

    return float((ndtri(1 - alpha / 2) + ndtri(power)) * difference.spread)


def claim(difference: Difference, adjusted_p: float | None = None) -> str:
    """ "helps" or "harms" when the p-value is below 0.05 and the interval leaves out 0, else "no evidence".

    Args:
        adjusted_p: see `holm`, when this difference is one of several; None takes that of the difference itself.
    """
    p = difference.p if adjusted_p is None else adjusted_p
    if not np.isfinite([difference.low, difference.high, p]).all() or not p < _CLAIM:
        return NO_EVIDENCE
    return HELPS if difference.low > 0 else HARMS if difference.high < 0 else NO_EVIDENCE


def verdict(difference: Difference, metric: str, arm: str, reference: str, adjusted_p: float | None = None) -> str:
    """One plain sentence, which claims what `claim` allows.

    Args:
        metric: as the reader should see it, e.g. "F1 of diabetes"; larger is taken to be better.
        adjusted_p: as in `claim`.
    """
    p, named = (difference.p, "p") if adjusted_p is None else (adjusted_p, "Holm-adjusted p")
    # A hyphen-minus would be read as a dash between the two ends.
    told = f"{difference.estimate:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}, {named} {p:.3f}"
    basis = f"{difference.patients} held-out patients, {difference.seeds} seed{'s' if difference.seeds != 1 else ''}"
    if not np.isfinite([difference.low, difference.high, p]).all():
        return f"No evidence: {metric} of {arm} and {reference} cannot be compared on {basis}."
    found = claim(difference, adjusted_p)
    if found == NO_EVIDENCE:
        return f"No evidence that {arm} changes {metric} against {reference} ({told}; {basis})."
    than = "higher" if found == HELPS else "lower"
    return f"{arm} {found}: {metric} is {than} than with {reference} ({told}; {basis})."


def estimate(runs: Sequence[SeedPredictions], metric: str, classes: Sequence[str] | None = None) -> float:
    """The metric averaged over seeds; nan when it is undefined for one of them."""
    return float(np.mean([score(metric, run.true, run.probabilities, classes=classes) for run in runs]))


def bootstrap(
    runs: Sequence[SeedPredictions], metric: str, classes: Sequence[str] | None, resamples: int, seed: int
) -> np.ndarray:
    """The metric, averaged over resampled seeds, on each of `resamples` resampled sets of patients: float (resamples,).

    The draws depend only on `seed` and on how many patients and seeds there are, so two arms with the same ones are
    paired. A resample in which the metric is undefined (e.g. a rare class was not drawn) is nan.

    Raises:
        ValueError: no runs.
    """
    if not runs:
        raise ValueError("no predictions to resample")
    names = _all_patients(runs)
    rows = [np.searchsorted(names, run.patients) for run in runs]
    random = np.random.default_rng(seed)
    blocks = []
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        shares = random.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=size) / len(runs)
        values = [
            score(metric, run.true, run.probabilities, times[:, row], classes)
            for run, row in zip(runs, rows, strict=True)
        ]
        # A seed that was not drawn must not make the mean nan.
        blocks.append(np.where(shares > 0, np.stack(values, axis=1) * shares, 0).sum(axis=1))
    return np.concatenate(blocks)


def _all_patients(runs: Sequence[SeedPredictions]) -> np.ndarray:
    return np.unique(np.concatenate([np.asarray(run.patients, dtype=str) for run in runs]))


def _refuse_unpaired(arm: Sequence[SeedPredictions], reference: Sequence[SeedPredictions]) -> None:
    if len(arm) != len(reference):
        raise ValueError(f"{len(arm)} seeds cannot be paired with {len(reference)}")
    for one, other in zip(arm, reference, strict=True):
        if not (np.array_equal(one.true, other.true) and np.array_equal(one.patients, other.patients)):
            raise ValueError("the arms were not tested on the same images in the same order")


def percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The middle `confidence` of the values on resampled patients, float (resamples,); nan when more than 5 % of them are nan."""
    defined = values[~np.isnan(values)]
    # When the metric is undefined in more than a few resamples, its percentiles would describe only the lucky ones.
    if len(defined) < 0.95 * len(values):
        return float("nan"), float("nan")
    tail = 50 * (1 - confidence)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return float(low), float(high)


def difference_of(middle: float, values: np.ndarray, confidence: float, patients: int, seeds: int) -> Difference:
    """A difference and what its values on resampled patients, float (resamples,), say of it."""
    low, high = percentile_interval(values, confidence)
    p = float("nan") if np.isnan(low) else _two_sided_p(values)
    return Difference(middle, low, high, len(values), patients, seeds, p, _spread(values))


def _spread(values: np.ndarray) -> float:
    return float("nan") if np.isnan(percentile_interval(values, 0.95)[0]) else float(np.nanstd(values, ddof=1))


def _two_sided_p(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    sides = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (sides + 1) / (len(defined) + 1)))
