"""Whose eyes a generator learns from, and whose are held back to measure it by. By patient, always."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ..data.dataset import FundusDataset
from ..runtime.errors import UserError, counts

FEWEST_IMAGES = 8
FEWEST_HELD_BACK = 8
SHARE_HELD_BACK = 0.15
ALL_CLASSES = "all-classes"


@dataclass(frozen=True)
class Photographs:
    """The real images of one training.

    Attributes:
        training: what the generator sees.
        held_back: of other patients, what its quality is measured on; may be empty.
        notes: what the user should know about the choice, one line each.
    """

    training: FundusDataset
    held_back: FundusDataset
    notes: list[str]


def divide(dataset: FundusDataset, label: str, share: float = SHARE_HELD_BACK) -> Photographs:
    """The images of `label` (of every class for ALL_CLASSES) to train on, and those held back.

    With a split: the train split, and the val split where it has 8 such images. The test split is never touched. Otherwise
    about `share` of the patients to train on are held back, chosen by a hash of their id, so that a patient is held back
    in every class or in none.

    Raises:
        UserError: no such class, or fewer than 8 images to train on.
    """
    chosen = dataset if label == ALL_CLASSES else dataset.of_class(label)
    has_split = bool((chosen.column("split") != "").any())
    seen, held_back = (chosen.split("train"), chosen.split("val")) if has_split else (chosen, chosen.subset([]))
    which = "of the train split" if has_split else "(all of the class: the dataset has no split)"
    if len(held_back) < FEWEST_HELD_BACK and share > 0:
        apart = np.array([is_held_back(key, share) for key in seen.patient_keys], dtype=bool)
        if FEWEST_HELD_BACK <= apart.sum() and FEWEST_IMAGES <= (~apart).sum():
            seen, held_back = seen.subset(~apart), seen.subset(apart)
            which += f", less {len(held_back)} images of patients held back to measure quality"
    _check_enough(seen, dataset, label, which)
    notes = [f"training on {len(seen)} {label} images of {len(seen.patients)} patients {which}"]
    if len(held_back) < FEWEST_HELD_BACK:
        held_back = held_back.subset([])
        notes.append("too few images to hold some back: quality is not measured, and the last weights are kept")
    if (seen.column("patient_id") == "").any():
        notes.append("some images have no patient_id: leaks into a classifier's test set can only be found by image")
    return Photographs(seen, held_back, notes)


def is_held_back(patient: str, share: float) -> bool:
    """Whether this patient is among the about `share` of all that are held back; the same answer everywhere."""
    digest = hashlib.sha256(f"held back {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _check_enough(seen: FundusDataset, dataset: FundusDataset, label: str, which: str) -> None:
    if len(seen) < FEWEST_IMAGES:
        raise UserError(
            f"has {len(seen)} {label} images {which}; expected at least {FEWEST_IMAGES}. "
            f"Its classes are {counts(dataset.class_counts())}",
            path=dataset.path,
        )
