"""Splits by patient: both eyes and all visits of a patient stay together, classes keep their proportions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.errors import UserError, counts
from .dataset import FundusDataset
from .duplicates import COPIES, SAME_EYE, find_duplicates
from .schema import SPLITS
from .stratification import place, strata
from .targets import choose_target

NO_PATIENTS = (
    "WARNING: this dataset names no patients (column patient_id). Copies of a photograph are kept on one side of a split that "
    "is made here, but two different pictures of one person may still stand on both sides and every figure may be too good."
)


def split(
    dataset: FundusDataset, *, ratios: Sequence[float] | None = None, seed: int = 0, target: str | None = None,
    folds: int | None = None, fold: int = 0, groups: Sequence[int] | np.ndarray | None = None,
) -> FundusDataset:  # fmt: skip
    """The dataset with a new column `split`, and `fold` when it is divided into folds; nothing is saved.

    Args:
        ratios: shares of train, val and test, 0.8, 0.1 and 0.1 by default; not together with `folds`.
        target: what is balanced, as in `targets.choose_target`; by default see `split_by_patient`.
        folds: divide into so many folds by `k_folds` instead; number `fold` becomes test, see `split_of_folds`.
        groups: see `split_by_patient`.

    Raises:
        UserError: see `split_by_patient`, `k_folds`, `choose_target`; or ratios and folds together.
    """
    labels = None if target is None else choose_target(dataset, target).names(dataset)
    how = {"seed": seed, "path": dataset.path, "labels": labels, "groups": groups}
    table = dataset.table.drop(columns="fold", errors="ignore")
    if folds is None:
        sides = split_by_patient(table, ratios or (0.8, 0.1, 0.1), **how)
    elif ratios is not None:
        raise UserError("both ratios and folds were given; folds are of equal size", hint="Give one.")
    else:
        numbers = k_folds(table, folds, **how)
        table, sides = table.assign(fold=numbers), split_of_folds(numbers, fold)
    return FundusDataset(dataset.path, dataset.info, table).with_split(sides)


def split_by_patient(
    table: pd.DataFrame, ratios: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0, path: Path | str | None = None, *,
    labels: Sequence[str] | np.ndarray | None = None, groups: Sequence[int] | np.ndarray | None = None,
) -> pd.Series:  # fmt: skip
    """Assign every image to train, val or test so that no patient is in two of them.

    How patients are placed: see `stratification.place`. The same patients get the same side whatever the row order.
    Images without a patient id are patients of their own.

    Args:
        table: metadata table. What is balanced, where `labels` is not given: the columns N..O, so that eyes with several
            diseases count for each; for images without them `label`, else `grade`. With two cameras or more, the
            cameras' share of each class too, with a smaller weight.
        ratios: shares of train, val and test; they must sum to 1, zero is allowed.
        seed: another seed gives another split of the same quality.
        path: named in errors.
        labels: class name of each image to balance instead, "" where it has none (`targets.Target.names`).
        groups: group number of each image, from near-duplicates; images of a group stay together, and with them all
            images of their patients.

    Returns:
        Series of "train", "val" or "test", indexed like `table`.

    Raises:
        UserError: ratios that are not three shares summing to 1, or fewer patients than splits.
    """
    side = _assign(table, _check_ratios(ratios), seed, path, labels, groups)
    return pd.Series(np.asarray(SPLITS, dtype=object)[side], index=table.index, name="split")


def k_folds(
    table: pd.DataFrame, k: int = 5, seed: int = 0, path: Path | str | None = None, *,
    labels: Sequence[str] | np.ndarray | None = None, groups: Sequence[int] | np.ndarray | None = None,
) -> pd.Series:  # fmt: skip
    """Assign every image to one of `k` folds of equal size by patient; arguments as in `split_by_patient`.

    Returns:
        Series of 0 to k - 1, indexed like `table`.

    Raises:
        UserError: fewer than three folds (a fold each for train, val and test), or fewer patients than folds.
    """
    if k < 3:
        raise UserError(
            f"{k} folds were asked for; expected at least 3: one to test, one to validate, the rest to train"
        )
    return pd.Series(_assign(table, np.full(k, 1 / k), seed, path, labels, groups), index=table.index, name="fold")


def split_of_folds(folds: pd.Series, fold: int) -> pd.Series:
    """Fold number `fold` becomes test, the next one (the first after the last) val, all others train.

    Raises:
        UserError: there is no such fold.
    """
    k = int(folds.max()) + 1
    if not 0 <= fold < k:
        raise UserError(f"there is no fold {fold}; expected 0 to {k - 1}")
    split = np.where(folds == fold, "test", np.where(folds == (fold + 1) % k, "val", "train"))
    return pd.Series(split.astype(object), index=folds.index, name="split")


def parse_ratios(text: str) -> tuple[float, ...]:
    """ "0.8,0.1,0.1" -> (0.8, 0.1, 0.1).

    Raises:
        UserError: not numbers (whether they sum to 1 is checked where they are used).
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"ratios {text!r} are not numbers", hint="Try 0.8,0.1,0.1.") from error


def same_photographs(dataset: FundusDataset, workers: int | None = None, quiet: bool = True) -> np.ndarray:
    """Group number of each image, int (n,): copies of a photograph, and photographs of one eye, share it.

    The `groups` of `split`; the search reads every image, about two minutes for 20 000. Errors as in `find_duplicates`.
    """
    return find_duplicates([dataset], workers, quiet).groups(*COPIES, SAME_EYE)


def groups_without_patients(
    dataset: FundusDataset, workers: int | None = None, quiet: bool = True
) -> np.ndarray | None:
    """`same_photographs` for a dataset that names no patients, else None: patients are enough."""
    return None if dataset.patients else same_photographs(dataset, workers, quiet)


def split_lines(dataset: FundusDataset) -> list[str]:
    """What a split holds, a line each, and a warning when no patients are known."""
    lines = []
    for name in SPLITS:
        part = dataset.split(name)
        lines.append(f"{name}: {len(part)} images of {len(part.patients)} patients: {counts(part.class_counts())}")
    if not dataset.patients:
        lines.append(NO_PATIENTS)
    return lines


def patient_groups(table: pd.DataFrame, groups: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
    """Who each image belongs to, as text: its patient, or itself where it has none; str (n,).

    With `groups`, all that is connected by a patient or by a group has one name, the first in alphabetical order.
    """
    names = table["patient_id"].astype(str) if "patient_id" in table else pd.Series("", index=table.index)
    files = table["file_name"] if "file_name" in table else range(len(table))
    # The mark keeps a file's name apart from a patient's.
    own = np.asarray([name or f"\0image {file}" for name, file in zip(names, files, strict=True)], dtype=str)
    if groups is None:
        return own
    names, patients = np.unique(own, return_inverse=True)
    groups, joined = np.asarray(groups), patients
    while True:  # the first name spreads from patients to groups and back until nothing changes
        spread = _smallest(_smallest(joined, groups), patients)
        if (spread == joined).all():
            return names[joined]
        joined = spread


def _smallest(numbers: np.ndarray, within: np.ndarray) -> np.ndarray:
    return pd.Series(numbers).groupby(within).transform("min").to_numpy()


def _assign(
    table: pd.DataFrame, shares: np.ndarray, seed: int, path: Path | str | None, labels: Sequence[str] | np.ndarray | None,
    groups: Sequence[int] | np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """The part of each image, int (n,)."""
    patients, of_image = np.unique(patient_groups(table, groups), return_inverse=True)
    wanted = int((shares > 0).sum())
    if len(patients) < wanted:
        raise UserError(f"has {len(patients)} patients; expected at least {wanted}, one for each split", path=path)
    membership, weight = strata(table, labels)
    holdings = np.zeros((len(patients), membership.shape[1]))
    np.add.at(holdings, of_image, membership)
    return place(holdings, weight, shares, np.random.default_rng(seed))[of_image]


def _check_ratios(ratios: Sequence[float]) -> np.ndarray:
    shares = np.asarray(ratios, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1) or shares[0] == 0:
        raise UserError(
            f"ratios {','.join(map(str, ratios))} are not three shares that sum to 1", hint="Try 0.8,0.1,0.1."
        )
    return shares
