"""How near is too near: nearer to a training eye than the eyes of people who were not in the training are.

With m eyes of held-out patients and three measures, the limit of each is the r-th smallest distance of those eyes. An eye of
another held-out patient lies below any one limit with probability r / (m + 1) at most, whatever the distances are like (the
argument of conformal prediction; Vovk, Gammerman and Shafer 2005), so below one of three with 3 r / (m + 1). r is as large as
keeps that at half of 1 %, since it is an expectation and single sets come out higher; it is 1 at least, and with fewer than
299 eyes the bound is more than 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from ..distance_intervals import Estimate

FALSE_ALARMS = 0.01
"""The largest share of held-out eyes that may be called copies."""
FEWEST_EYES = 20
"""Held-out eyes below which "near" has no meaning."""

_AIM = FALSE_ALARMS / 2
_FOLDS = 5


@dataclass(frozen=True)
class Limits:
    """From where on a picture is too near.

    Attributes:
        values: float (measures,), relative distances.
        bound: the largest share of held-out eyes that would be called copies, in expectation.
    """

    values: np.ndarray
    bound: float

    def nearness(self, distance: np.ndarray) -> np.ndarray:
        """Distances (n, measures) in units of the limits, float (n, measures): below 1 is too near.

        A limit of 0 finds nothing: then all are infinitely far.
        """
        far = np.full(distance.shape, np.inf)
        return np.divide(distance, self.values, out=far, where=np.broadcast_to(self.values > 0, distance.shape))


def limits_of(held_out: np.ndarray) -> Limits:
    """The limits that distances of held-out eyes set, float (m, measures)."""
    eyes, measures = held_out.shape
    rank = max(1, int(_AIM * (eyes + 1) / measures))
    return Limits(np.sort(held_out, axis=0)[rank - 1], measures * rank / (eyes + 1))


def cross_fitted_alarms(held_out: np.ndarray, patients: Sequence[str], seed: int = 0) -> Estimate:
    """Share of held-out eyes that limits set by the other patients call copies, with its interval.

    Args:
        held_out: float (m, measures), distances.
        patients: of each eye; all eyes of a patient are in one of the five parts.
    """
    codes = np.unique(list(patients), return_inverse=True)[1]
    fold = np.random.default_rng(seed).permutation(codes.max() + 1)[codes] % _FOLDS
    alarms = 0
    for part in range(_FOLDS):
        inside = fold == part
        if inside.any() and not inside.all():
            alarms += int((limits_of(held_out[~inside]).nearness(held_out[inside]) < 1).any(axis=1).sum())
    return share(alarms, len(held_out))


def share(count: int, of: int) -> Estimate:
    """A share with its 95 % interval (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return Estimate(count / of, float(interval.low), float(interval.high))
