"""The search for copies, as the page needs it: files that cannot be read do not stop it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...data.dataset import FundusDataset
from ...data.duplicates import find_duplicates
from ...runtime.errors import UserError


@dataclass(frozen=True)
class Copies:
    """What the search found.

    Attributes:
        groups: int (n,) number of the group of copies each image belongs to; most are alone in theirs.
        pairs: (row, row, kind), kinds as in `duplicates.Pair`: "exact", "near", "sibling" and "same_eye".
        unreadable: (file_name, reason).
    """

    groups: np.ndarray
    pairs: list[tuple[int, int, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def search_copies(dataset: FundusDataset, workers: int | None = None, quiet: bool = True) -> Copies:
    """Search all images that can be read; one that cannot is a group of its own.

    Raises:
        JobError: a worker was killed.
    """
    try:
        return _search(dataset, np.arange(len(dataset)), [], workers, quiet)
    except UserError:
        # Rare, so only now is every file tried by itself.
        broken = {row: reason for row in range(len(dataset)) if (reason := _reason(dataset, row))}
        rows = np.array([row for row in range(len(dataset)) if row not in broken], dtype=int)
        named = [(str(dataset.table["file_name"][row]), reason) for row, reason in broken.items()]
        return _search(dataset, rows, named, workers, quiet)


def _search(
    dataset: FundusDataset, rows: np.ndarray, broken: list[tuple[str, str]], workers: int | None, quiet: bool
) -> Copies:
    found = find_duplicates([dataset.subset(rows)], workers, quiet)
    groups = np.arange(len(dataset))
    groups[rows] = rows[np.unique(found.groups(), return_index=True)[1]][found.groups()] if len(rows) else rows
    pairs = [(int(rows[pair.a]), int(rows[pair.b]), pair.kind) for pair in found.pairs]
    return Copies(groups, pairs, broken)


def _reason(dataset: FundusDataset, row: int) -> str:
    try:
        dataset.read(row)
    except UserError as error:
        return error.message
    return ""
