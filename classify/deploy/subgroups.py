"""Is a classifier worse for some people? Metrics of subgroups of the test patients against all others.

A subgroup is compared with all other test images whose column is known. Patients are resampled, and take their images along
to whichever side they are on: an eye's fellow on the other side is no independent witness. The p-values of all differences of
a card are one family, corrected by Holm's method. Macro AUC is averaged over the classes that have enough images on both sides:
else a group without a rare class would be compared on easier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..evidence import NO_EVIDENCE, Difference, SeedPredictions, claim, difference_of, holm
from ..metrics import score
from ..predictions import decided_predictions, seed_predictions

COLUMNS = ("sex", "age", "eye", "camera")
METRICS = ("macro AUC", "accuracy")
FEWEST_PATIENTS = 20
FEWEST_IMAGES = 10
"""Of a class, on each side."""
_BANDS = (
    (0, 40, "under 40"),
    (40, 50, "40 to 49"),
    (50, 60, "50 to 59"),
    (60, 70, "60 to 69"),
    (70, 200, "70 and over"),
)
_RESAMPLES = 2000  # at least
_RESAMPLES_EACH = 200  # for each difference of the card: a p-value is at least 2 / resamples, and Holm multiplies it
_BLOCK = 250


@dataclass(frozen=True)
class Subgroup:
    """One subgroup of the test images.

    Attributes:
        column: one of `COLUMNS`.
        name: e.g. "female".
        images, patients: how many.
        estimates: {metric: value in the subgroup}.
        differences: {metric: subgroup minus all others whose column is known}; {} where `note` says why.
        note: why there is no difference; else "".
        p_values: {metric: corrected for all differences of the card}.
    """

    column: str
    name: str
    images: int
    patients: int
    estimates: Mapping[str, float]
    differences: Mapping[str, Difference]
    note: str
    p_values: Mapping[str, float]

    def verdict(self, metric: str) -> str:
        """ "lower", "higher" or "no evidence"; the note where there is no difference."""
        if metric not in self.differences:
            return self.note
        found = claim(self.differences[metric], self.p_values[metric])
        if found == NO_EVIDENCE:
            return found
        return "higher" if self.differences[metric].estimate > 0 else "lower"


def age_band(age: float) -> str:
    """ "50 to 59"; "" when the age is not known."""
    return next((name for low, high, name in _BANDS if low <= age < high), "")


def subgroups(table: pd.DataFrame, classes: tuple[str, ...], people: pd.DataFrame) -> list[Subgroup]:
    """Every subgroup of the test images, in the order of `COLUMNS`.

    Args:
        table: predictions of the test images, see `predictions.prediction_table`.
        people: the columns of `COLUMNS` that are known, words, "" where missing; rows as in the table. A column with fewer
            than two values is left out: there is nobody to compare with.
    """
    columns = {column: people[column].to_numpy(dtype=str) for column in filter(people.__contains__, COLUMNS)}
    names = {column: _ordered(column, set(values) - {""}) for column, values in columns.items()}
    names = {column: ordered for column, ordered in names.items() if len(ordered) > 1}
    resamples = max(_RESAMPLES, _RESAMPLES_EACH * len(METRICS) * sum(map(len, names.values())))
    found = []
    for column, ordered in names.items():
        values, known = columns[column], columns[column] != ""
        sides = ((name, values[known] == name) for name in ordered)
        found += [_subgroup(table[known], classes, column, name, inside, resamples) for name, inside in sides]
        if len(ordered) == 2:  # the second difference is the first one's negative
            found[-1] = replace(found[-1], differences={}, note=f"the reverse of {ordered[0]}")
    return _corrected(found)


def _ordered(column: str, names: set[str]) -> list[str]:
    return [name for *_, name in _BANDS if name in names] if column == "age" else sorted(names)


def _subgroup(
    table: pd.DataFrame, classes: tuple[str, ...], column: str, name: str, inside: np.ndarray, resamples: int
) -> Subgroup:
    sides = [_Side.of(table, classes, rows) for rows in (inside, ~inside)]
    compared = _compared(sides, classes)
    ones = np.ones((1, len(table)))
    here, there = ({m: float(side.value(m, ones, classes, compared)[0]) for m in METRICS} for side in sides)
    fewest, note, differences = (
        min(side.patients for side in sides),
        f"too few patients (fewer than {FEWEST_PATIENTS})",
        {},
    )
    if fewest >= FEWEST_PATIENTS:
        draws, note = _draws(table, sides, classes, compared, resamples), ""
        patients = sum(side.patients for side in sides)
        differences = {m: difference_of(here[m] - there[m], draws[m], 0.95, patients, 1) for m in METRICS}
    return Subgroup(column, name, int(inside.sum()), sides[0].patients, here, differences, note, {})


@dataclass(frozen=True)
class _Side:
    """The images of one side: their rows bool (n,) in the table, probabilities, decisions."""

    rows: np.ndarray
    told: SeedPredictions
    decided: SeedPredictions

    @classmethod
    def of(cls, table: pd.DataFrame, classes: tuple[str, ...], rows: np.ndarray) -> _Side:
        return cls(rows, seed_predictions(table[rows], classes), decided_predictions(table[rows], classes))

    @property
    def patients(self) -> int:
        return len(set(self.told.patients))

    def value(self, metric: str, weights: np.ndarray, classes: tuple[str, ...], compared: list[str]) -> np.ndarray:
        """A metric for weights (b, n) of all images of the table: float (b,); nan where it is not defined."""
        weights = weights[:, self.rows]
        if metric == "accuracy":
            return score("accuracy", self.decided.true, self.decided.probabilities, weights)
        told = self.told
        values = [score(f"auroc:{name}", told.true, told.probabilities, weights, classes) for name in compared]
        return np.mean(values, axis=0) if values else np.full(len(weights), np.nan)


def _compared(sides: list[_Side], classes: tuple[str, ...]) -> list[str]:
    counts = [np.bincount(side.told.true, minlength=len(classes)) for side in sides]
    return [name for name, *there in zip(classes, *counts, strict=True) if min(there) >= FEWEST_IMAGES]


def _draws(
    table: pd.DataFrame, sides: list[_Side], classes: tuple[str, ...], compared: list[str], resamples: int
) -> dict[str, np.ndarray]:
    """{metric: subgroup minus the others on resampled patients, float (resamples,)}."""
    names, row = np.unique(table["patient_id"].to_numpy(dtype=str), return_inverse=True)
    random, parts = np.random.default_rng(0), {metric: [] for metric in METRICS}
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)[:, row]
        for metric in METRICS:
            ours, theirs = (side.value(metric, times, classes, compared) for side in sides)
            parts[metric].append(ours - theirs)
    return {metric: np.concatenate(values) for metric, values in parts.items()}


def _corrected(found: list[Subgroup]) -> list[Subgroup]:
    """With p-values of all differences together."""
    places = [(i, metric) for i, group in enumerate(found) for metric in group.differences]
    adjusted = dict(zip(places, holm([found[i].differences[m].p for i, m in places]).tolist(), strict=True))
    return [replace(g, p_values={m: adjusted[i, m] for m in g.differences}) for i, g in enumerate(found)]
