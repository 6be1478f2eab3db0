"""Whose eyes a generator learns from, and whose are held back to measure it by. By patient, always."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from ..data.dataset import FundusDataset
from ..data.schema import patient_hash
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
    about `share` of the patients to train on are held back, chosen by a hash of their id. All classes together leave out
    whoever is held back in one of them: a shared start must not have seen the eyes that a class is measured on.

    Raises:
        UserError: no such class, or fewer than 8 images to train on.
    """
    seen, held_back, which = _parts(dataset if label == ALL_CLASSES else dataset.of_class(label), share)
    if label == ALL_CLASSES:
        classes = (_parts(dataset.of_class(name), share)[1] for name in dataset.class_counts())
        apart = {key for part in classes if len(part) >= FEWEST_HELD_BACK for key in part.patient_keys}
        seen = seen.subset(np.array([key not in apart for key in seen.patient_keys], dtype=bool))
    _check_enough(seen, dataset, label, which)
    notes = [f"training on {len(seen)} {label} images of {len(seen.patients)} patients {which}"]
    if len(held_back) < FEWEST_HELD_BACK:
        held_back = held_back.subset([])
        notes.append("too few images to hold some back: quality is not measured, and the last weights are kept")
    if (seen.column("patient_id") == "").any():
        notes.append("some images have no patient_id: leaks into a classifier's test set can only be found by image")
    return Photographs(seen, held_back, notes)


def _parts(chosen: FundusDataset, share: float) -> tuple[FundusDataset, FundusDataset, str]:
    """What to train on, what to hold back (perhaps too little), and how the first is called."""
    has_split = bool((chosen.column("split") != "").any())
    seen, held_back = (chosen.split("train"), chosen.split("val")) if has_split else (chosen, chosen.subset([]))
    which = "of the train split" if has_split else "(all of the class: the dataset has no split)"
    if len(held_back) < FEWEST_HELD_BACK and share > 0:
        apart = np.array([is_held_back(key, share) for key in seen.patient_keys], dtype=bool)
        if FEWEST_HELD_BACK <= apart.sum() and FEWEST_IMAGES <= (~apart).sum():
            seen, held_back = seen.subset(~apart), seen.subset(apart)
            which += f", less {len(held_back)} images of patients held back to measure quality"
    return seen, held_back, which


def is_held_back(patient: str, share: float) -> bool:
    """Whether this patient is among the about `share` of all that are held back; the same answer everywhere."""
    digest = hashlib.sha256(f"held back {patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def unseen(photographs: Photographs, known: Collection[str]) -> Photographs:
    """The same without held-back images of patients that a generator to start from has seen already.

    Args:
        known: their hashes, as in `GeneratorInfo.trained_on_patients`.
    """
    held_back = photographs.held_back
    fresh = np.array([patient_hash(key) not in known for key in held_back.patient_keys], dtype=bool)
    if fresh.all():
        return photographs
    kept = held_back.subset(fresh) if fresh.sum() >= FEWEST_HELD_BACK else held_back.subset([])
    note = f"{len(held_back) - fresh.sum()} of {len(held_back)} images held back show patients that the run to start from has seen"
    note += "; they are left out" if len(kept) else ": quality is not measured, and the last weights are kept"
    return replace(photographs, held_back=kept, notes=[*photographs.notes, note])


def _check_enough(seen: FundusDataset, dataset: FundusDataset, label: str, which: str) -> None:
    if len(seen) < FEWEST_IMAGES:
        raise UserError(
            f"has {len(seen)} {label} images {which}; expected at least {FEWEST_IMAGES}. "
            f"Its classes are {counts(dataset.class_counts())}",
            path=dataset.path,
        )
