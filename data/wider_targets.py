"""Targets that are not one class an image: ODIR's labels, of which an eye can have several, and haemoglobin, a number.

They answer what `targets.Target` answers: column, classes, labels, known, of, counts, balance, left_out_line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime.errors import UserError, counts
from .binary_views import number_column
from .dataset import FundusDataset
from .schema import ODIR_CODES, ODIR_LABELS
from .targets import HEMOGLOBIN, MULTILABEL, Target, choose_target

HEMOGLOBIN_COLUMN = "hemoglobin_g_dl"
_CODES = {ODIR_LABELS[code]: code for code in ODIR_CODES}
_BINS = 5


@dataclass(frozen=True)
class LabelTarget:
    """Some of ODIR's labels, the columns N..O.

    Attributes:
        classes: names, as in `schema.ODIR_LABELS`.
    """

    classes: tuple[str, ...]
    column = MULTILABEL

    def labels(self, dataset: FundusDataset) -> np.ndarray:
        """1 where the image has the label, 0 where not: float (n, k); nan where the table does not say.

        Raises:
            UserError: a value that is neither 0 nor 1.
        """
        columns = [number_column(dataset, _CODES[name]) for name in self.classes]
        values = np.stack(columns, axis=1)
        wrong = np.argwhere(~(np.isnan(values) | (values == 0) | (values == 1)))
        if len(wrong):
            row, k = wrong[0]
            told = f"{_CODES[self.classes[k]]} is {values[row, k]:g} for {dataset.table['file_name'][row]}; expected 0 or 1"
            raise UserError(told, path=dataset.path / "metadata.csv")
        return values

    def known(self, dataset: FundusDataset) -> np.ndarray:
        """The images of which every label is known: bool (n,)."""
        return ~np.isnan(self.labels(dataset)).any(axis=1)

    def of(self, dataset: FundusDataset) -> FundusDataset:
        """Those images."""
        return dataset.subset(self.known(dataset))

    def counts(self, dataset: FundusDataset) -> dict[str, int]:
        """{label: images that have it}."""
        found = np.nansum(self.labels(dataset), axis=0)
        return {name: int(number) for name, number in zip(self.classes, found, strict=True)}

    def balance(self, dataset: FundusDataset) -> None:
        """What a split balances: None, because `splits.split_by_patient` looks at N..O by itself."""
        return

    def left_out_line(self, dataset: FundusDataset) -> str:
        """How many images are left out, for people; "" when none is."""
        return _left_out(self.known(dataset), f"a label of {', '.join(self.classes)} is not known")


@dataclass(frozen=True)
class HemoglobinTarget:
    """Haemoglobin in g/dL, the column hemoglobin_g_dl."""

    column = HEMOGLOBIN
    classes = (HEMOGLOBIN_COLUMN,)

    def labels(self, dataset: FundusDataset) -> np.ndarray:
        """g/dL, float (n,); nan where it was not measured."""
        return number_column(dataset, HEMOGLOBIN_COLUMN)

    def known(self, dataset: FundusDataset) -> np.ndarray:
        """The images with a measurement: bool (n,)."""
        return ~np.isnan(self.labels(dataset))

    def of(self, dataset: FundusDataset) -> FundusDataset:
        """Those images."""
        return dataset.subset(self.known(dataset))

    def counts(self, dataset: FundusDataset) -> dict[str, int]:
        """{"hemoglobin_g_dl": images with a measurement}."""
        return {HEMOGLOBIN_COLUMN: int(self.known(dataset).sum())}

    def balance(self, dataset: FundusDataset) -> np.ndarray:
        """What a split balances: fifths of the measurements, "0" (the lowest) to "4", "" where there is none; object (n,)."""
        values = self.labels(dataset)
        edges = np.nanquantile(values, np.arange(1, _BINS) / _BINS)
        fifths = np.searchsorted(edges, values, side="right").astype(str)
        return np.where(np.isnan(values), "", fifths).astype(object)

    def left_out_line(self, dataset: FundusDataset) -> str:
        """How many images are left out, for people; "" when none is."""
        return _left_out(self.known(dataset), "their haemoglobin is not known")


AnyTarget = Target | LabelTarget | HemoglobinTarget


def choose_any_target(dataset: FundusDataset, column: str, classes: Sequence[str] | None = None) -> AnyTarget:
    """`choose_target`, and "multilabel" (of `classes`, or of all labels that an image has) and "hemoglobin".

    Raises:
        UserError: as `choose_target`; no measurement of haemoglobin, or classes for it.
    """
    if column == MULTILABEL:
        return _choose_labels(dataset, classes)
    if column != HEMOGLOBIN:
        return choose_target(dataset, column, classes)
    if classes:
        raise UserError("target hemoglobin is a number and has no classes", hint="Leave --classes out.")
    if not HemoglobinTarget().known(dataset).any():
        raise UserError(f"column {HEMOGLOBIN_COLUMN} is empty; target hemoglobin needs measurements", path=dataset.path)
    return HemoglobinTarget()


def target_of(column: str, classes: tuple[str, ...]) -> AnyTarget:
    """The target that a classifier says it was trained on."""
    if column == MULTILABEL:
        return LabelTarget(classes)
    return HemoglobinTarget() if column == HEMOGLOBIN else Target(column, classes)


def _choose_labels(dataset: FundusDataset, classes: Sequence[str] | None) -> LabelTarget:
    there = LabelTarget(tuple(_CODES)).counts(dataset)
    chosen = tuple(dict.fromkeys(classes)) if classes else tuple(name for name in _CODES if there[name])
    for name in chosen:
        if not there.get(name):
            raise UserError(
                f"no image has the label {name!r} in the columns N..O; there are {counts(there)}", path=dataset.path
            )
    if len(chosen) < 2:
        raise UserError(
            f"columns N..O have {counts(there)}, at least two labels were expected", path=dataset.path,
            hint="Target multilabel is for datasets with ODIR's columns of 0 and 1.",
        )  # fmt: skip
    return LabelTarget(chosen)


def _left_out(known: np.ndarray, why: str) -> str:
    number = int((~known).sum())
    return f"{number} of {len(known)} images are left out: {why}" if number else ""
