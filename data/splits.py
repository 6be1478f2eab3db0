"""Splits by patient: both eyes and all visits of a patient stay together, classes keep their proportions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.errors import UserError, counts
from .dataset import FundusDataset
from .schema import SPLITS

NO_PATIENTS = (
    "WARNING: this dataset names no patients (column patient_id). Each image is taken for a patient of its own, so two "
    "pictures of one person may stand on both sides of the split and every figure may be too good."
)


def split_by_patient(
    table: pd.DataFrame, ratios: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0, path: Path | str | None = None
) -> pd.Series:
    """Assign every image to train, val or test so that no patient is in two of them.

    Patients are placed one after another, those with the most images first and in random order among equals, each into
    the split that is furthest below its share of the classes that patient has; this is the greedy stratification of
    Sechidis et al. 2011 ("On the stratification of multi-label data") applied to whole patients. Images without a
    patient id are patients of their own.

    Args:
        table: metadata table; `label` (where missing: `grade`) is what is balanced.
        ratios: shares of train, val and test; they must sum to 1, zero is allowed.
        seed: another seed gives another split of the same quality.
        path: named in errors.

    Returns:
        Series of "train", "val" or "test", indexed like `table`.

    Raises:
        UserError: ratios that are not three shares summing to 1, or fewer patients than splits.
    """
    shares = _check_ratios(ratios)
    patients, of_image = np.unique(patient_groups(table), return_inverse=True)
    wanted = int((shares > 0).sum())
    if len(patients) < wanted:
        raise UserError(f"has {len(patients)} patients; expected at least {wanted}, one for each split", path=path)
    classes, label_of_image = np.unique(_strata(table), return_inverse=True)
    holdings = np.zeros((len(patients), len(classes)))
    np.add.at(holdings, (of_image, label_of_image), 1)
    side = _place(holdings, shares, np.random.default_rng(seed))
    return pd.Series(np.asarray(SPLITS, dtype=object)[side[of_image]], index=table.index, name="split")


def parse_ratios(text: str) -> tuple[float, ...]:
    """ "0.8,0.1,0.1" -> (0.8, 0.1, 0.1).

    Raises:
        UserError: not numbers (whether they sum to 1 is checked where they are used).
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"ratios {text!r} are not numbers", hint="Try 0.8,0.1,0.1.") from error


def split_lines(dataset: FundusDataset) -> list[str]:
    """What a split holds, a line each, and a warning when no patients are known."""
    lines = []
    for name in SPLITS:
        part = dataset.split(name)
        lines.append(f"{name}: {len(part)} images of {len(part.patients)} patients: {counts(part.class_counts())}")
    if not dataset.patients:
        lines.append(NO_PATIENTS)
    return lines


def patient_groups(table: pd.DataFrame) -> np.ndarray:
    """The patient of each image as text; images without one get a group of their own."""
    names = table["patient_id"].astype(str) if "patient_id" in table else pd.Series("", index=table.index)
    return np.asarray([name or f"\0image {i}" for i, name in enumerate(names)], dtype=object).astype(str)


def _strata(table: pd.DataFrame) -> np.ndarray:
    label = table["label"].astype(str) if "label" in table else pd.Series("", index=table.index)
    if "grade" in table:
        label = label.where(label != "", table["grade"].astype(str))
    return label.to_numpy(str)


def _check_ratios(ratios: Sequence[float]) -> np.ndarray:
    shares = np.asarray(ratios, dtype=float)
    if shares.shape != (3,) or (shares < 0).any() or not np.isclose(shares.sum(), 1) or shares[0] == 0:
        raise UserError(
            f"ratios {','.join(map(str, ratios))} are not three shares that sum to 1", hint="Try 0.8,0.1,0.1."
        )
    return shares


def _place(holdings: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Greedy placement; `holdings` is (patients, classes) image counts, the result (patients,) split indices."""
    totals = holdings.sum(0)
    # Each class counts alike, so that a class of ten images is shared out as carefully as one of a thousand.
    weight = 1 / totals
    missing = shares[:, None] * totals[None, :]
    open_splits = shares > 0
    side = np.empty(len(holdings), dtype=int)
    rarity = (holdings > 0) @ weight
    order = np.lexsort((rng.random(len(holdings)), -holdings.sum(1), -np.round(rarity, 12)))
    for patient in order:
        need = (missing * weight * (holdings[patient] > 0)).sum(1)
        need[~open_splits] = -np.inf
        best = np.flatnonzero(np.isclose(need, need.max()))
        side[patient] = rng.choice(best) if len(best) > 1 else best[0]
        missing[side[patient]] -= holdings[patient]
    return _fill_empty(side, open_splits)


def _fill_empty(side: np.ndarray, open_splits: np.ndarray) -> np.ndarray:
    """With very few patients a small split can stay empty: give it one of the fullest split's."""
    for split in np.flatnonzero(open_splits):
        if not (side == split).any():
            fullest = np.bincount(side, minlength=3).argmax()
            side[np.flatnonzero(side == fullest)[-1]] = split
    return side
