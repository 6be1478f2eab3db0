"""Ensembles: several trained runs on the same images, read from their predictions.csv and averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.errors import UserError
from .predictions import PREFIX, read_predictions

_SPLITS = ("val", "test")


@dataclass(frozen=True)
class Members:
    """What several runs said of the same images.

    Attributes:
        table: file_name, patient_id, split and true of each image.
        classes: in the order of the first run.
        probabilities: {run: float64 (n, k)}.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    probabilities: dict[str, np.ndarray]

    @property
    def true(self) -> np.ndarray:
        """Class number of each image, int (n,)."""
        return self.table["true"].map({name: k for k, name in enumerate(self.classes)}).to_numpy(dtype=int)


def read_members(runs: Sequence[Path | str]) -> Members:
    """The runs' predictions on val and test, in one order of images and classes.

    Raises:
        UserError: no predictions.csv with val and test rows, the same run twice, or runs that were not tested on the
            same images.
    """
    first, classes = _read(Path(runs[0]))
    names = _names(runs)
    found = {}
    for name, run in zip(names, runs, strict=True):
        table, its_classes = _read(Path(run))
        _refuse_others(table, its_classes, first, classes, Path(run), names[0])
        found[name] = _probabilities(table.loc[first.index], classes)
    base = first.reset_index()[["file_name", "patient_id", "split", "true"]]
    return Members(base, classes, found)


def average(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """The arithmetic mean of the members' probabilities, float64 (n, k).

    Its log loss is never above the mean of the members' (Jensen), and no member can veto a class by a probability near
    0, as it could in a geometric mean; that the mean is less sure of itself than its members is mended by a temperature.

    Args:
        probabilities: one float (n, k) a member.
    """
    return np.mean(np.stack(probabilities), axis=0)


def _names(runs: Sequence[Path | str]) -> list[str]:
    """The folders' names, with as many parents as it takes to tell them apart.

    Raises:
        UserError: a run that is given twice.
    """
    parts = [Path(run).resolve().parts for run in runs]
    for index, one in enumerate(parts):
        if one in parts[:index]:
            raise UserError("is given twice", path=runs[index])
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _read(run: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A run's predictions on val and test, indexed by file_name."""
    path = run / "predictions.csv"
    if not path.is_file():
        raise UserError("holds no predictions.csv; expected a run of fundus-classify train", path=run)
    table, classes = read_predictions(path)
    there = set(table["split"]) if "split" in table else set()
    for split in _SPLITS:
        if split not in there:
            raise UserError(f"has no rows of split {split}; expected those of val and test", path=path)
    table = table[table["split"].isin(_SPLITS)]
    repeated = table["file_name"].duplicated()
    if repeated.any():
        raise UserError(f"names {table['file_name'][repeated].iloc[0]!r} twice", path=path)
    wrong = ~np.isfinite(_probabilities(table, classes)).all(axis=1)
    if wrong.any():
        raise UserError("a probability is missing", path=path, row=int(table.index[wrong][0]) + 2)
    return table.set_index("file_name"), classes


def _probabilities(table: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    return table[[PREFIX + name for name in classes]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)


def _refuse_others(
    table: pd.DataFrame, classes: tuple[str, ...], first: pd.DataFrame, expected: tuple[str, ...], run: Path, name: str
) -> None:
    if set(classes) != set(expected):
        raise UserError(f"has the classes {', '.join(classes)}, {name} has {', '.join(expected)}", path=run)
    said = ["patient_id", "split", "true"]
    joined = first[said].join(table[said], how="outer", rsuffix="_other")
    same = np.logical_and.reduce([joined[column] == joined[f"{column}_other"] for column in said])
    if not same.all():
        raise UserError(
            f"was not tested on the same images as {name}: {int((~same).sum())} of {len(same)} files are in one only, or differ in "
            "patient, split or class", path=run, hint="Split the dataset with fundus-preprocess split before training.",
        )  # fmt: skip
