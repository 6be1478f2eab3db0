"""What is to be predicted: a column of the dataset, or an expression over its columns, turned into class numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.errors import UserError, counts
from .dataset import FundusDataset
from .expressions import parse

COLUMNS = ("label", "grade")
_EXPECTED = 'label or grade, or an expression such as "dr: grade >= 1", anemic, glaucoma'
# Names that mean something else than one class an image, see `wider_targets`.
MULTILABEL, HEMOGLOBIN = _RESERVED = ("multilabel", "hemoglobin")


@dataclass(frozen=True)
class Target:
    """A column or an expression as classes.

    Attributes:
        column: "label", "grade", or an expression (see `expressions`).
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
        return np.array([numbers.get(name, -1) for name in _names(dataset, self.column)], dtype=int)

    def known(self, dataset: FundusDataset) -> np.ndarray:
        """The images that have one of these classes: bool (n,)."""
        return self.labels(dataset) >= 0

    def of(self, dataset: FundusDataset) -> FundusDataset:
        """Those images."""
        return dataset.subset(self.known(dataset))

    def counts(self, dataset: FundusDataset) -> dict[str, int]:
        """{class: images}."""
        labels = self.labels(dataset)
        return {name: int((labels == k).sum()) for k, name in enumerate(self.classes)}

    def balance(self, dataset: FundusDataset) -> np.ndarray:
        """What a split balances: `names`."""
        return self.names(dataset)

    def left_out_line(self, dataset: FundusDataset) -> str:
        """How many images have none of these classes, for people; "" when all have one."""
        number = int((~self.known(dataset)).sum())
        classes = ", ".join(self.classes)
        return (
            f"{number} of {len(dataset)} images are left out: they have none of the classes {classes}" if number else ""
        )


def choose_target(dataset: FundusDataset, column: str, classes: Sequence[str] | None = None) -> Target:
    """The target `column`, restricted to `classes` in that order, or all classes: "normal" first and the rest from
    the most to the least frequent, grades ascending, of an expression the negative class first.

    Raises:
        UserError: a target that cannot be read, a column that is empty or not there, fewer than two classes, or a class
            that is not there; the message lists what there is.
    """
    names = _names(dataset, column)
    there = dict(zip(*np.unique(names[names != ""], return_counts=True), strict=True))
    there = {str(name): int(n) for name, n in sorted(there.items(), key=lambda item: _order(column, *item))}
    chosen = tuple(dict.fromkeys(classes)) if classes else tuple(there)
    what = f"column {column}" if column in COLUMNS else f"target {column!r}"
    for name in chosen:
        if name not in there:
            raise UserError(f"has no class {name!r} in {what}; it has {counts(there)}", path=dataset.path)
    if len(chosen) < 2:
        hint = None if column in COLUMNS else f"Its labels are {counts(dataset.class_counts())}."
        raise UserError(f"{what} has {counts(there)}, at least two classes were expected", path=dataset.path, hint=hint)
    return Target(column, chosen)


def _names(dataset: FundusDataset, column: str) -> np.ndarray:
    if column in _RESERVED:
        raise UserError(f"target {column!r} is not one class an image; expected {_EXPECTED}")
    if column == "label":
        return dataset.column("label").to_numpy(dtype=object)
    if column == "grade":
        grades = dataset.column("grade").astype(float)
        return np.array(["" if np.isnan(value) else str(int(value)) for value in grades], dtype=object)
    expression = parse(column)
    truth = expression.truth(dataset)
    return np.where(np.isnan(truth), "", np.where(truth == 1, expression.classes[1], expression.classes[0])).astype(
        object
    )


def _order(column: str, name: str, number: int) -> tuple:
    if column == "grade":
        return (name,)
    if column == "label":
        return (name != "normal", -number, name)
    return (name != parse(column).classes[0],)
