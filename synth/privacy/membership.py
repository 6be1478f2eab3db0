"""Membership inference: can someone tell from a generator's pictures, or from its discriminator, who was in the training?

Eyes of the training (members) and of held-out patients are given the same score, and the area under the ROC curve (AUC) is
the chance that a member scores higher. 0.5 says that nothing is given away. The control is members against members: two
random halves of their patients, which no score can tell apart, so it must be 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..distance_intervals import Estimate

FEWEST = 10
"""Patients of a kind below which no AUC is given."""
FEWEST_TELLING = 30
"""Patients of a kind below which an AUC is given, but nothing follows from it: a few patients differ by chance, in their
cameras if in nothing else, and a bootstrap of a few does not know how much."""

_MOST = 2000
"""Eyes of a kind that are taken, at most: the comparison of every two is kept in memory."""
_RESAMPLES = 1000


@dataclass(frozen=True)
class Membership:
    """How well one score tells members from held-out eyes.

    Attributes:
        auc: members against held-out eyes.
        control: one half of the members' patients against the other.
        members, held_out: eyes.
        patients: of members or of held-out eyes, whichever are fewer.
    """

    auc: Estimate
    control: Estimate
    members: int
    held_out: int
    patients: int

    def tells(self, auc: float) -> bool:
        """Whether the AUC is above this beyond doubt."""
        return self.auc.low > auc and self.patients >= FEWEST_TELLING

    @property
    def control_holds(self) -> bool:
        """Whether the interval of the control holds 0.5."""
        return self.control.low <= 0.5 <= self.control.high


def membership(
    members: np.ndarray, held_out: np.ndarray, member_patients: Sequence[str], other_patients: Sequence[str], seed: int = 0
) -> Membership | None:  # fmt: skip
    """Compare scores, float (n,) and (m,), the higher the more like a member; None with fewer than 10 patients of a kind.

    Args:
        member_patients, other_patients: of each eye; intervals resample patients, and halves are halves of patients.
    """
    random = np.random.default_rng(seed)
    members, of_member = _some(members, member_patients, random)
    held_out, of_other = _some(held_out, other_patients, random)
    patients = min(codes.max(initial=-1) + 1 for codes in (of_member, of_other))
    if patients < FEWEST:
        return None
    first = random.permutation(of_member.max() + 1)[of_member] % 2 == 0
    halves = [(members[half], np.unique(of_member[half], return_inverse=True)[1]) for half in (first, ~first)]
    auc = auc_interval(members, held_out, of_member, of_other, random)
    control = auc_interval(*(half for half, _ in halves), *(codes for _, codes in halves), random)
    return Membership(auc, control, len(members), len(held_out), int(patients))


def auc_interval(
    high: np.ndarray, low: np.ndarray, of_high: np.ndarray, of_low: np.ndarray, random: np.random.Generator
) -> Estimate:
    """AUC of scores that should be high against scores that should be low, ties half, with its 95 % interval.

    Args:
        of_high, of_low: int, the patient of each score, numbered from 0: the bootstrap draws patients.
    """
    wins = (high[:, None] > low).astype(np.float32) + (high[:, None] == low) / np.float32(2)
    draws = []
    for codes in (of_high, of_low):
        patients = codes.max() + 1
        draws.append(random.multinomial(patients, np.full(patients, 1 / patients), size=_RESAMPLES)[:, codes])
    drawn, against = (weights.astype(np.float32) for weights in draws)
    values = ((drawn @ wins) * against).sum(1) / (drawn.sum(1) * against.sum(1))
    return Estimate(float(wins.mean()), *map(float, np.percentile(values, [2.5, 97.5])))


def _some(scores: np.ndarray, patients: Sequence[str], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MOST` scores, and the number of the patient of each."""
    chosen = np.sort(random.permutation(len(scores))[:_MOST])
    names = np.asarray(list(patients), object)[chosen]
    return np.asarray(scores)[chosen], np.unique(names.astype(str), return_inverse=True)[1]
