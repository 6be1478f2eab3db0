"""Means over images with percentile intervals that resample patients (see `evidence`): the images of a patient are not
independent, and a patient is drawn with all of them."""

from __future__ import annotations

import numpy as np

from ..evidence import Difference, Interval


def mean_interval(
    values: np.ndarray, patients: np.ndarray, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean of the values that are not nan.

    Args:
        values: float (n,), one an image.
        patients: str (n,).
    """
    known, names = _known(values, patients)
    low, high, _ = _spread(_resampled(known, names, resamples, seed), confidence)
    return Interval(_mean(known), low, high, resamples, len(np.unique(names)), 1)


def mean_difference(
    values: np.ndarray, reference: np.ndarray, patients: np.ndarray, *, resamples: int = 2000,
    confidence: float = 0.95, seed: int = 0,
) -> Difference:  # fmt: skip
    """The mean of `values` minus that of `reference` on the same images, where both are not nan.

    `p` is the two-sided bootstrap p-value, as in `evidence.Difference`; nan with fewer than two patients.
    """
    known, names = _known(np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64), patients)
    means = _resampled(known, names, resamples, seed)
    low, high, deviation = _spread(means, confidence)
    p = float("nan") if np.isnan(low) else _two_sided_p(means)
    return Difference(_mean(known), low, high, resamples, len(np.unique(names)), 1, p, deviation)


def _known(values: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, there = np.asarray(values, dtype=np.float64), ~np.isnan(np.asarray(values, dtype=np.float64))
    return values[there], np.asarray(patients, dtype=str)[there]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _resampled(values: np.ndarray, patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means of `resamples` draws of patients; the draws depend only on the seed and on how many patients there are."""
    names, rows = np.unique(patients, return_inverse=True)
    if len(names) < 2:  # nothing to resample: one patient says nothing of others
        return np.full(resamples, np.nan)
    sums, counts = np.bincount(rows, values), np.bincount(rows)
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return times @ sums / (times @ counts)


def _spread(means: np.ndarray, confidence: float) -> tuple[float, float, float]:
    if np.isnan(means).any():
        return (float("nan"),) * 3
    tail = 50 * (1 - confidence)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high), float(means.std(ddof=1))


def _two_sided_p(means: np.ndarray) -> float:
    sides = min((means <= 0).sum(), (means >= 0).sum())
    return float(min(1.0, 2 * (sides + 1) / (len(means) + 1)))
