"""Means over images with percentile intervals that resample patients (see `evidence`): the images of a patient are not
independent, and a patient is drawn with all of them."""

from __future__ import annotations

import numpy as np

from ..evidence import Difference, Interval, difference_of, percentile_interval


def mean_interval(
    values: np.ndarray, patients: np.ndarray, *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean of the values that are not nan.

    Args:
        values: float (n,), one an image.
        patients: str (n,).
    """
    known, names = _known(values, patients)
    low, high = percentile_interval(_resampled(known, names, resamples, seed), confidence)
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
    return difference_of(_mean(known), means, confidence, len(np.unique(names)), 1)


def resampled_sums(patients: np.ndarray, *columns: np.ndarray, resamples: int, seed: int) -> list[np.ndarray]:
    """The sum of each column, float (n,), over `resamples` draws of patients with all their images: float64 (resamples,) each,
    nan with fewer than two patients, as one says nothing of others.

    The draws depend only on the seed and on how many patients there are.
    """
    names, rows = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        return [np.full(resamples, np.nan) for _ in columns]
    times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return [times @ np.bincount(rows, column) for column in columns]


def _known(values: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, there = np.asarray(values, dtype=np.float64), ~np.isnan(np.asarray(values, dtype=np.float64))
    return values[there], np.asarray(patients, dtype=str)[there]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _resampled(values: np.ndarray, patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    sums, counts = resampled_sums(patients, values, np.ones(len(values)), resamples=resamples, seed=seed)
    return sums / counts
