"""Mean maps of groups of patients, and where two groups differ.

The two eyes of a patient are not independent, so a patient's maps of one group are averaged first and patients are what is
counted. Each place of the frame has its own number of patients: those of whom it was photographed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_BLOCK = 100  # permutations at once
_SEEN = 0.5


@dataclass(frozen=True)
class GroupMap:
    """One group.

    Attributes:
        mean, spread: float32 (s, s), mean and standard deviation over patients; nan where less than half of them were
            photographed, or, for the spread, fewer than two.
        seen: int (s, s), patients of whom the place was photographed.
        images, patients: how many.
    """

    mean: np.ndarray
    spread: np.ndarray
    seen: np.ndarray
    images: int
    patients: int


@dataclass(frozen=True)
class MapDifference:
    """The first group minus the second.

    Attributes:
        difference: float32 (s, s), of the mean maps; nan where fewer than half of either group were photographed.
        p: that no place differs (at least that there is no place as different as the most different one).
        adjusted: float32 (s, s), the p-value of each place, corrected for all places; nan as above.
        permutations: how many were drawn.
        patients: of the first and of the second group.
    """

    difference: np.ndarray
    p: float
    adjusted: np.ndarray
    permutations: int
    patients: tuple[int, int]

    def where(self, alpha: float = 0.05) -> np.ndarray:
        """Where the groups differ: bool (s, s)."""
        return np.nan_to_num(self.adjusted, nan=1.0) <= alpha


def group_map(maps: np.ndarray, fields: np.ndarray, patients: np.ndarray) -> GroupMap:
    """Mean and spread of maps over patients.

    Args:
        maps: float32 (n, s, s), n at least 1.
        fields: bool (n, s, s), where each was photographed.
        patients: str (n,).
    """
    means, seen = _patient_means(maps, fields, patients)
    count = seen.sum(0)
    enough = count >= max(_SEEN * len(means), 1)
    mean = np.divide(means.sum(0), count, out=np.full(count.shape, np.nan, np.float32), where=enough)
    squares = np.where(seen, (means - np.nan_to_num(mean)) ** 2, 0).sum(0)
    spread = np.sqrt(
        np.divide(squares, count - 1, out=np.full(count.shape, np.nan, np.float32), where=enough & (count > 1))
    )
    return GroupMap(mean.astype(np.float32), spread.astype(np.float32), count, len(maps), len(means))


def permutation_test(
    first: tuple[np.ndarray, np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray, np.ndarray], *,
    permutations: int = 2000, seed: int = 0,
) -> MapDifference:  # fmt: skip
    """Whether, and where, the mean maps of two groups differ.

    Of each place the difference of the means over its standard error (Welch's t; Chung and Romano 2013, Annals of Statistics
    41, show that it keeps a permutation test right when the groups spread differently). Patients are dealt anew to the groups;
    one who is in both has the two maps swapped or not. The largest |t| over all places, over the permutations, says what
    chance alone does anywhere in the map, so the chance of one false place or more is held
    (Westfall and Young 1993; Nichols and Holmes 2002, Human Brain Mapping 15).

    Args:
        first, second: of each group maps float32 (n, s, s), fields bool (n, s, s), patients str (n,).
        permutations: the smallest p-value is 1 / (permutations + 1).

    Raises:
        ValueError: a group with fewer than two patients.
    """
    (a, a_seen), (b, b_seen) = _patient_means(*first), _patient_means(*second)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"groups of {len(a)} and {len(b)} patients; expected at least 2 in each")
    enough = (a_seen.mean(0) >= _SEEN) & (b_seen.mean(0) >= _SEEN) & (a_seen.sum(0) > 1) & (b_seen.sum(0) > 1)
    values, seen = np.concatenate([a, b])[:, enough], np.concatenate([a_seen, b_seen])[:, enough]
    # Differences of the order of rounding must not become large t where all maps are the same.
    floor = 1e-6 * float(np.abs(values).max(initial=0)) + 1e-30
    observed = np.abs(_welch(values, seen, (np.arange(len(values)) < len(a))[None], floor))[0]
    ids = np.concatenate([np.unique(first[2]), np.unique(second[2])])
    largest = np.concatenate([
        np.abs(_welch(values, seen, block, floor)).max(1, initial=0) for block in _dealt(ids, len(a), permutations, seed)
    ])  # fmt: skip
    # The deal that was found counts as one of them.
    above = len(largest) - np.searchsorted(np.sort(largest), observed * (1 - 1e-6), side="left")
    p = (above + 1) / (len(largest) + 1)
    difference, adjusted = np.full(enough.shape, np.nan, np.float32), np.full(enough.shape, np.nan, np.float32)
    means = [part.sum(0) / np.maximum(there.sum(0), 1) for part, there in ((a, a_seen), (b, b_seen))]
    difference[enough], adjusted[enough] = (means[0] - means[1])[enough], p
    return MapDifference(difference, float(p.min(initial=1.0)), adjusted, permutations, (len(a), len(b)))


def _patient_means(maps: np.ndarray, fields: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean map of each patient, float32 (p, s, s) with 0 where nothing was seen, and where something was, bool."""
    names, which = np.unique(patients, return_inverse=True)
    total, seen = (
        np.zeros((len(names), *maps.shape[1:]), np.float32),
        np.zeros((len(names), *maps.shape[1:]), np.float32),
    )
    np.add.at(total, which, np.where(fields, maps, 0))
    np.add.at(seen, which, fields)
    return total / np.maximum(seen, 1), seen > 0


def _dealt(ids: np.ndarray, first: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Blocks of permutations, bool (block, len(ids)): who is in the first group. The first `first` of `ids` are by right."""
    random = np.random.default_rng(seed)
    names, index, times = np.unique(ids, return_inverse=True, return_counts=True)
    in_both = times[index] == 2
    alone = np.flatnonzero(~in_both)
    size = int((alone < first).sum())
    ours, theirs = np.flatnonzero(in_both[:first]), first + np.flatnonzero(in_both[first:])
    for start in range(0, permutations, _BLOCK):
        block = min(_BLOCK, permutations - start)
        member = np.zeros((block, len(ids)), bool)
        for row in member:
            row[random.permutation(alone)[:size]] = True
        # Both lists are in the order of the names, so that they pair up.
        member[:, ours] = random.random((block, len(ours))) < 0.5
        member[:, theirs] = ~member[:, ours]
        yield member


def _welch(values: np.ndarray, seen: np.ndarray, member: np.ndarray, floor: float) -> np.ndarray:
    """Welch's t of every place for every deal: float64 (deals, places); 0 where a side has fewer than two.

    Args:
        values: float (units, places), 0 where not seen.
        member: bool (deals, units), the first side.
    """
    values = values.astype(np.float64)
    sums = [part.sum(0) for part in (seen.astype(np.float64), values, values**2)]
    ours = [member.astype(np.float64) @ part for part in (seen.astype(np.float64), values, values**2)]
    top, error, usable = 0.0, floor**2, True
    for sign, (count, total, squares) in (
        (1, ours),
        (-1, [whole - part for whole, part in zip(sums, ours, strict=True)]),
    ):
        mean = total / np.maximum(count, 1)
        variance = np.maximum(squares - count * mean**2, 0) / np.maximum(count - 1, 1)
        top, error, usable = top + sign * mean, error + variance / np.maximum(count, 1), usable & (count > 1.5)
    return np.where(usable, top / np.sqrt(error), 0)
