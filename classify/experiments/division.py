"""Which images an experiment is about and how their patients are divided, and what the user must know of both."""

from __future__ import annotations

import sys

from ...data.dataset import FundusDataset
from ...data.splits import NO_PATIENTS, parse_ratios
from ...data.targets import Target
from ..training import divide, split_dataset


def divide_dataset(dataset: FundusDataset, target: Target, ratios: str, seed: int) -> FundusDataset:
    """The images of the target's classes, with a split by patient: the dataset's own, or one by `ratios` that balances the
    target.

    Args:
        ratios: shares of train, val and test, as the user writes them: "0.7,0.1,0.2".

    Raises:
        UserError: see `parse_ratios` and `split_dataset`.
    """
    part, shares = target.of(dataset), parse_ratios(ratios)
    return split_dataset(part if part.has_split else divide(part, target, shares, seed), target, seed)


def tell(dataset: FundusDataset, target: Target) -> None:
    """Say on standard error that patients are not known, and how many images are left out."""
    if not dataset.patients:
        print(NO_PATIENTS, file=sys.stderr)
    if left_out := target.left_out_line(dataset):
        print(left_out, file=sys.stderr)
