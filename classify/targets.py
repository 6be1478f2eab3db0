"""What is to be predicted: a column of the dataset turned into class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.dataset import FundusDataset
from ..runtime.errors import UserError, counts

TARGETS = ("label", "grade")


@dataclass(frozen=True)
class Target:
    """A column as classes.

    Attributes:
        column: "label" or "grade".
        classes: names; of two, the second is the positive one.
    """

    column: str
    classes: tuple[str, ...]

    def names(self, dataset: FundusDataset) -> np.ndarray:
        """Class name of each image, "" where it has none of these classes: object (n,)."""
        names = _names(dataset, self.column)
        return np.where(np.isin(names, self.classes), names, "")

    def labels(self, dataset: FundusDataset) -> np.ndarray:
        """Class number of each image, -1 where it has none of these classes: int (n,)."""
        numbers = {name: k for k, name in enumerate(self.classes)}
        return np.array([numbers.get(name, -1) for name in _names(dataset, self.column)])

    def of(self, dataset: FundusDataset) -> FundusDataset:
        """The images that have one of these classes."""
        return dataset.subset(self.labels(dataset) >= 0)


def choose_target(dataset: FundusDataset, column: str, classes: Sequence[str] | None = None) -> Target:
    """The target `column`, restricted to `classes` in that order, or all classes: "normal" first and the rest from
    the most to the least frequent, grades ascending.

    Raises:
        UserError: a column that is no target or that is empty, fewer than two classes, or a class that is not there;
            the message lists what there is.
    """
    if column not in TARGETS:
        raise UserError(f"target {column!r} is not known", hint=f"Use {' or '.join(TARGETS)}.")
    names = _names(dataset, column)
    there = dict(zip(*np.unique(names[names != ""], return_counts=True), strict=True))
    there = {str(name): int(n) for name, n in sorted(there.items(), key=lambda item: _order(column, *item))}
    chosen = tuple(dict.fromkeys(classes)) if classes else tuple(there)
    for name in chosen:
        if name not in there:
            raise UserError(f"has no class {name!r} in column {column}; it has {counts(there)}", path=dataset.path)
    if len(chosen) < 2:
        raise UserError(f"column {column} has {counts(there)}, at least two classes were expected", path=dataset.path)
    return Target(column, chosen)


def _names(dataset: FundusDataset, column: str) -> np.ndarray:
    values = dataset.column(column)
    if column == "grade":
        return np.array(["" if np.isnan(value) else str(int(value)) for value in values.astype(float)], dtype=object)
    return values.to_numpy(dtype=object)


def _order(column: str, name: str, number: int) -> tuple:
    return (name,) if column == "grade" else (name != "normal", -number, name)
