"""The class of every image, whichever way the dataset states it: label, ODIR codes or grade."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...data.schema import ODIR_CODES, ODIR_LABELS

SEVERAL, UNLABELLED = "several labels", "no label"


@dataclass(frozen=True)
class Classes:
    """What the images are compared by.

    Attributes:
        of_image: class name of each image, indexed like the table; SEVERAL or UNLABELLED where there is no single one.
        names: the classes: labels by number of images, the largest first; grades in their order.
        column: "label" or "grade": where they come from; "" when nothing is labelled.
    """

    of_image: pd.Series
    names: list[str]
    column: str

    @property
    def groups(self) -> list[str]:
        """The classes, then SEVERAL and UNLABELLED where they occur."""
        return [*self.names, *(g for g in (SEVERAL, UNLABELLED) if (self.of_image == g).any())]

    @property
    def labelled(self) -> pd.Series:
        """True for images of a single class."""
        return self.of_image.isin(self.names)


def find_classes(dataset: FundusDataset) -> Classes:
    """The column `label`, completed by the codes N..O; without any of these, the grade."""
    label = _labels(dataset)
    if label.isin(("", SEVERAL)).all() and dataset.column("grade").notna().any():
        grade = dataset.column("grade")
        of_image = pd.Series([UNLABELLED if np.isnan(g) else f"grade {g:.0f}" for g in grade], index=grade.index)
        return Classes(of_image, sorted(set(of_image) - {UNLABELLED}), "grade")
    of_image = label.where(label != "", UNLABELLED)
    counted = of_image[~of_image.isin((SEVERAL, UNLABELLED))].value_counts()
    names = sorted(counted.index, key=lambda name: (-counted[name], name))
    return Classes(of_image, names, "label" if names else "")


def odir_table(dataset: FundusDataset) -> pd.DataFrame | None:
    """The 0/1 columns N..O as booleans, or None when the dataset has none of them filled."""
    codes = [c for c in ODIR_CODES if dataset.column(c).notna().any()]
    return pd.DataFrame({c: dataset.column(c) == 1 for c in codes}) if codes else None


def _labels(dataset: FundusDataset) -> pd.Series:
    label, codes = dataset.column("label").astype(str), odir_table(dataset)
    if codes is None:
        return label
    count = codes.sum(axis=1)
    single = codes.idxmax(axis=1).map(ODIR_LABELS).where(count == 1, "")
    return label.where(label != "", single.where(count < 2, SEVERAL))
