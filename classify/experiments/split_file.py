"""The split of an experiment as a file, so that every one of its jobs trains and tests on the same patients."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...data.dataset import FundusDataset
from ...data.targets import Target
from ...runtime.files import write_text


def write_split(dataset: FundusDataset, path: Path) -> None:
    """Write file_name and split of every image as CSV."""
    write_text(path, dataset.table[["file_name", "split"]].to_csv(index=False, lineterminator="\n"))


def read_split(data: str, split: str, target: Target) -> FundusDataset:
    """The dataset of a job: opened again, with the split of the experiment and the images of `target` only.

    Args:
        data: the dataset folder.
        split: a file of `write_split`; images that it does not name are left out, and those whose split is empty stay but
            belong to no part.
    """
    sides = pd.read_csv(split, dtype=str, keep_default_na=False).set_index("file_name")["split"]
    dataset = FundusDataset.open(data)
    dataset = dataset.subset(dataset.column("file_name").isin(sides.index))
    return target.of(dataset.with_split(sides.loc[dataset.column("file_name")].to_numpy()))
