"""How well a haemoglobin told from a photograph agrees with the one measured in blood, and the WHO's class by it.

Source: Bland and Altman, "Statistical methods for assessing agreement between two methods of clinical measurement",
Lancet 327 (1986): bias and limits of agreement. Intervals resample patients, as in evidence.py, instead of the paper's
formulas, which take every photograph for a patient of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.labels import who_anemia
from .evidence import Interval

MEASURES = ("mae", "bias", "lower_limit", "upper_limit")
_LIMIT = 1.96  # standard deviations either side of the bias: 95 % of normal differences
_BLOCK = 250


def agreement(
    measured: np.ndarray, told: np.ndarray, patients: np.ndarray, *, resamples: int = 2000, confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:  # fmt: skip
    """Mean absolute error, bias (told minus measured) and the limits of agreement (bias -+ 1.96 standard deviations).

    Args:
        measured, told: haemoglobin, g/dL, float (n,).
        patients: str (n,); several photographs of a patient are resampled together.

    Returns:
        {one of MEASURES: its value in g/dL with a percentile interval over resampled patients}.

    Raises:
        ValueError: shapes that do not fit, a value that is not finite, or fewer than two patients.
    """
    differences = np.asarray(told, dtype=np.float64) - np.asarray(measured, dtype=np.float64)
    names, rows = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if differences.ndim != 1 or differences.shape != rows.shape:
        raise ValueError(f"{np.shape(measured)}, {np.shape(told)} and {np.shape(patients)} do not fit")
    if not np.isfinite(differences).all() or len(names) < 2:
        raise ValueError(f"expected finite values of two patients or more, got {len(names)} patients")
    estimates = _measures(differences, np.ones((1, len(rows))))[0]
    random, blocks = np.random.default_rng(seed), []
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        blocks.append(_measures(differences, times[:, rows]))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(blocks), [tail, 100 - tail], axis=0)
    return {
        name: Interval(float(estimates[i]), float(low[i]), float(high[i]), resamples, len(names), 1)
        for i, name in enumerate(MEASURES)
    }


def who_labels(hemoglobin: np.ndarray, sex: Sequence[str], age_years: np.ndarray | None = None) -> np.ndarray:
    """1 where the WHO's cut-off for the person calls the haemoglobin (g/dL, measured or told) anaemic: int (n,).

    Args:
        hemoglobin: float (n,).
        sex: "male" or "female", (n,).
        age_years: float (n,), nan where unknown; None takes all for adults.

    Raises:
        UserError: see `data.labels.who_cutoffs`.
    """
    ages = np.full(len(hemoglobin), np.nan) if age_years is None else age_years
    found = [who_anemia(*person) for person in zip(sex, hemoglobin, ages, strict=True)]
    return np.array(found, dtype=int)


def _measures(differences: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float (b, measures) for weights (b, n); a whole weight counts the image that often."""
    total = weights.sum(axis=1)
    bias = weights @ differences / total
    squares = np.maximum(weights @ np.square(differences) - total * np.square(bias), 0)
    deviation = np.sqrt(squares / np.maximum(total - 1, 1))
    return np.stack(
        [weights @ np.abs(differences) / total, bias, bias - _LIMIT * deviation, bias + _LIMIT * deviation], axis=1
    )
