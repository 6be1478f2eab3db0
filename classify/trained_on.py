"""What a classifier was trained on: the dataset that its run names, and which images of it were its training, validation and
test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.dataset import FundusDataset
from ..data.schema import patient_hash
from ..data.wider_targets import target_of
from ..runtime.errors import UserError
from ..runtime.runs import RunFolder
from .checkpoint import About


def named_dataset(run: Path | str) -> FundusDataset | None:
    """The dataset that the run's config.yaml names; None where it names none, or that is no longer there."""
    named = RunFolder(Path(run)).config.get("data") if (Path(run) / "config.yaml").is_file() else None
    there = isinstance(named, str) and (Path(named) / "metadata.csv").is_file()
    return FundusDataset.open(named) if there else None


def rows_of_split(dataset: FundusDataset, about: About, split: str) -> np.ndarray:
    """Rows of the dataset that show a patient of the run's split and have what it was trained to tell: int (n,)."""
    wanted = set(about.patients.get(split, ()))
    theirs = np.array([patient_hash(name) in wanted for name in dataset.patient_keys], dtype=bool)
    return np.flatnonzero(theirs & target_of(about.target, about.classes).known(dataset))


def known_rows_of_split(dataset: FundusDataset, about: About, split: str) -> np.ndarray:
    """The same, at least one.

    Raises:
        UserError: the dataset has none.
    """
    rows = rows_of_split(dataset, about, split)
    if not len(rows):
        raise UserError(f"has no image of the run's {split} patients", path=dataset.path,
                        hint="Give the dataset it was trained on: --data.")  # fmt: skip
    return rows
