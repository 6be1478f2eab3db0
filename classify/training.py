"""What a classifier is trained and tested on: the parts of a split dataset, and synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.splits import groups_without_patients, split_by_patient
from ..data.targets import Target
from ..data.wider_targets import AnyTarget
from ..runtime.errors import UserError, counts
from .checkpoint import About
from .held_out import refuse_leaks
from .images import ImageSource

_SMALLEST_CLASS = 8
# Radius of the optic disc in a field of 45 degrees, for tables that know its centre only.
_TYPICAL_DISC = 0.06


@dataclass(frozen=True)
class Part:
    """One split, ready to train or test on: its dataset, its images (memory-mapped) and class numbers, int (n,); for other
    targets than one class an image see `data.wider_targets`."""

    dataset: FundusDataset
    images: ImageSource
    labels: np.ndarray


def split_dataset(dataset: FundusDataset, target: AnyTarget, seed: int) -> FundusDataset:
    """The images of the target's classes, with a split: the dataset's own, or 80/10/10 by patient.

    Raises:
        UserError: a class with fewer than 8 images, or a split without images of a class.
    """
    dataset = target.of(dataset)
    found = target.counts(dataset)
    for name, number in found.items():
        if number < _SMALLEST_CLASS:
            message = (
                f"class {name} has {number} images, at least {_SMALLEST_CLASS} were expected; there are {counts(found)}"
            )
            raise UserError(message, path=dataset.path)
    if not dataset.has_split:
        dataset = divide(dataset, target, (0.8, 0.1, 0.1), seed)
    for part in ("train", "val", "test"):
        missing = [name for name, number in target.counts(dataset.split(part)).items() if not number]
        if missing:
            raise UserError(
                f"split {part} has no image of {', '.join(missing)}", path=dataset.path,
                hint="Split again with fundus-preprocess split, or leave the class out with --classes.",
            )  # fmt: skip
    return dataset


def divide(dataset: FundusDataset, target: AnyTarget, ratios: Sequence[float], seed: int) -> FundusDataset:
    """The dataset with a split by patient (by photograph where none are known) that balances the target."""
    names, groups = target.balance(dataset), groups_without_patients(dataset)
    return dataset.with_split(split_by_patient(dataset.table, ratios, seed, dataset.path, labels=names, groups=groups))


def load_parts(dataset: FundusDataset, target: AnyTarget, size: int, quiet: bool = False) -> dict[str, Part]:
    """{"train" | "val" | "test": Part} of a split dataset, over one memory map."""
    pixels = image_cache(dataset, size, quiet=quiet)
    splits = dataset.column("split").to_numpy()
    parts = {}
    for name in ("train", "val", "test"):
        rows = np.flatnonzero(splits == name)
        part = dataset.subset(rows)
        parts[name] = Part(part, ImageSource(pixels, rows, disc_positions(part)), target.labels(part))
    return parts


def load_synthetic(
    folders: Sequence[Path | str], dataset: FundusDataset, target: Target, size: int, quiet: bool = False
) -> list[Part]:
    """Synthetic datasets to train on, one Part a folder; `dataset` is the split one whose val and test they must not
    know.

    Raises:
        UserError: see `refuse_leaks`; or a folder without images of the target's classes.
    """
    held_out = dataset.subset(dataset.column("split") != "train")
    parts = []
    for folder in folders:
        added = FundusDataset.open(folder)
        refuse_leaks(added, held_out)
        added = target.of(added)
        if not len(added):
            raise UserError(f"has no image of {', '.join(target.classes)}", path=folder)
        images = ImageSource(image_cache(added, size, quiet=quiet), discs=disc_positions(added))
        parts.append(Part(added, images, target.labels(added)))
    return parts


def disc_positions(dataset: FundusDataset) -> np.ndarray:
    """The optic discs as the table gives them, of standardised images: float (n, 3), x, y and radius as fractions of the
    width, NaN where unknown."""
    discs = np.stack(
        [dataset.column(name).to_numpy(dtype=np.float64) for name in ("disc_x", "disc_y", "disc_r")], axis=1
    )
    known = ~np.isnan(discs[:, :2]).any(axis=1)
    discs[known & np.isnan(discs[:, 2]), 2] = _TYPICAL_DISC
    discs[~known] = np.nan
    return discs


def describe(dataset: FundusDataset, target: AnyTarget) -> About:
    """What the classifier will say of its data: classes, fingerprint, and the hashes of each split's patients."""
    patients = {name: dataset.split(name).patient_hashes for name in ("train", "val", "test")}
    illumination = str(dataset.info.get("illumination") or "none")
    return About(target.classes, target.column, dataset.name, dataset.fingerprint, illumination, patients)
