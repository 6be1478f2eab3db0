"""Sets of answers that hold the right one with a stated probability, whatever the network is worth: split conformal prediction.

A class belongs to the set of an image when its probability is at least `least`, the level-quantile of what images *of that
class* got that the network did not learn from. So for every class (Vovk, Gammerman and Shafer 2005, section 4.5: Mondrian), not
only on average over the frequent ones, the set of a new patient holds the right class with probability `level` or more. The
score 1 - p is that of Sadinle, Lei and Wasserman (2019, Journal of the American Statistical Association 114, "least
ambiguous sets"): of all sets with that coverage per class the smallest, one comparison a class, and empty where nothing
fits. Adaptive scores (APS, RAPS) never leave a set empty and want random numbers: both are wrong for "say nothing".

The images of one patient are not exchangeable with those of others, patients are. Each patient weighs one, shared among the
patient's images of the class: the hierarchical quantile of Dunn, Wasserman and Ramdas (2023, JASA 118) and Lee, Barber and
Willett (arXiv 2306.06342). With one image a patient it is the value of rank ceil((n + 1) level).

What n patients can show has an end: n / (n + 1). A class with fewer than level / (1 - level) patients is held to that level,
its smallest probability seen, and says so in `levels`. Keeping it in every set instead would let one rare class forbid every
answer; a class without any patient is in every set, because nothing can be said of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.9
"""Share of the patients of each class whose set holds the right answer."""

_ROUNDING = 1e-6  # a phone computes in float32: what is as likely as the limit must not fall below it


@dataclass(frozen=True)
class ClassSets:
    """From which probability on each class belongs to the set, one entry a class.

    Attributes:
        least: calibrated probabilities, 0..1; 0 puts the class into every set.
        levels: coverage that is guaranteed for the class, 0..1.
        patients: how many it rests on.
    """

    least: tuple[float, ...]
    levels: tuple[float, ...]
    patients: tuple[int, ...]

    def members(self, probabilities: np.ndarray) -> np.ndarray:
        """Which classes are in the set: float (..., k) -> bool (..., k). What is not a number is in none."""
        return np.asarray(probabilities) >= np.asarray(self.least)


def fit_class_sets(
    true: np.ndarray, probabilities: np.ndarray, patients: Sequence[str] | np.ndarray, level: float = LEVEL
) -> ClassSets:
    """The sets that images of one class each ask for.

    Args:
        true: int (n,), 0..k-1.
        probabilities: float (n, k), of patients that the network did not learn from.
        patients: (n,).
        level: 0..1.
    """
    true, patients = np.asarray(true), np.asarray(patients)
    told = [np.asarray(probabilities, dtype=np.float64)[true == k, k] for k in range(probabilities.shape[1])]
    return _sets(told, [patients[true == k] for k in range(len(told))], level)


def fit_presence(
    labels: np.ndarray, probabilities: np.ndarray, patients: Sequence[str] | np.ndarray, level: float = LEVEL
) -> tuple[ClassSets, ClassSets]:
    """The same for several labels an image, each on its own: sets of "present" and "absent".

    Args:
        labels: 0/1 (n, k).
        probabilities: float (n, k), that the label is present.

    Returns:
        From which probability of presence "present", and from which probability of absence "absent" is possible.
    """
    labels, patients = np.asarray(labels) > 0, np.asarray(patients)
    there = np.asarray(probabilities, dtype=np.float64)
    return tuple(
        _sets(
            [column[chosen] for column, chosen in zip(told.T, where.T, strict=True)],
            [patients[chosen] for chosen in where.T],
            level,
        )
        for told, where in ((there, labels), (1 - there, ~labels))
    )


def fit_half_width(
    errors: np.ndarray, patients: Sequence[str] | np.ndarray, level: float = LEVEL
) -> tuple[float, float]:
    """How far a number may be off: value +- half width holds the true one (Lei et al. 2018, JASA 113, section 2.2).

    Args:
        errors: float (n,), told minus true, of patients that the network did not learn from.
        patients: (n,).

    Returns:
        Half width in units of the errors, infinite without patients; guaranteed coverage, 0..1.
    """
    reached = attainable(level, len(np.unique(patients)))
    return patient_quantile(np.abs(np.asarray(errors, dtype=np.float64)), patients, reached), reached


def attainable(level: float, patients: int) -> float:
    """The level, or what so many patients can show at most: n / (n + 1)."""
    return min(level, patients / (patients + 1))


def patient_quantile(scores: np.ndarray, patients: Sequence[str] | np.ndarray, level: float) -> float:
    """The smallest score that bounds the share `level` of patients, one more patient of unknown score counted with them.

    Args:
        scores: float (n,).
        patients: (n,); a patient's scores share the patient's weight.
        level: 0..1.

    Returns:
        Infinite when there are too few patients, see `attainable`.
    """
    scores = np.asarray(scores, dtype=np.float64)
    names, row, images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum((1 / images[row])[order])
    # Sums of fractions such as 1/3 are off in the last digits.
    found = int(np.searchsorted(reached, level * (len(names) + 1) - 1e-9))
    return float(scores[order[found]]) if found < len(scores) else float("inf")


def _sets(told: Sequence[np.ndarray], patients: Sequence[np.ndarray], level: float) -> ClassSets:
    counts = [len(np.unique(names)) for names in patients]
    levels = [attainable(level, count) for count in counts]
    limits = [patient_quantile(-p, names, at) for p, names, at in zip(told, patients, levels, strict=True)]
    least = [max(0.0, -limit * (1 - _ROUNDING)) for limit in limits]
    return ClassSets(tuple(least), tuple(levels), tuple(counts))
