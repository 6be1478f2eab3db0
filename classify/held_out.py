"""Held-out patients stay unseen: by the classifier itself, and by the generators whose images it trains on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..data.dataset import FundusDataset
from ..data.schema import patient_hash
from ..runtime.errors import UserError

TRAINED_ON = "trained_on_patients"


def patient_keys(dataset: FundusDataset) -> np.ndarray:
    """Who each image belongs to, str (n,): its patient_id, or "image <SHA-256>" when it has none, so that the same
    picture is recognised in another dataset."""
    ids = dataset.column("patient_id").to_numpy(dtype=str)
    if (ids != "").all():
        return ids
    return np.array([name or f"image {dataset.image_digests[i]}" for i, name in enumerate(ids)])


def hashes(dataset: FundusDataset) -> list[str]:
    """Sorted hashes of the dataset's patients, see `data.schema.patient_hash`."""
    return sorted({patient_hash(name) for name in patient_keys(dataset)})


def refuse_leaks(synthetic: FundusDataset, held_out: FundusDataset) -> None:
    """Make sure that the generator of `synthetic` never saw a patient of `held_out` (validation and test images).

    Raises:
        UserError: dataset.json of `synthetic` does not say on whom its generator was trained, or names held-out
            patients.
    """
    seen = synthetic.info.get(TRAINED_ON)
    if not isinstance(seen, list):
        raise UserError(
            f"dataset.json does not say on which patients its generator was trained ({TRAINED_ON})",
            path=synthetic.path,
            hint="Use images made by fundus-synth generate.",
        )
    refuse_seen(seen, held_out, synthetic.path)


def refuse_seen(trained_on: Iterable[str], held_out: FundusDataset, path: Path | str) -> None:
    """Make sure that a generator trained on these patients (hashes) never saw one of `held_out`.

    `path` is what the error names: the generator's run, or its images.

    Raises:
        UserError: it did; the patients are named.
    """
    known = set(trained_on)
    leaked = sorted(name for name in set(patient_keys(held_out)) if patient_hash(name) in known)
    if leaked:
        more = f" and {len(leaked) - 10} more" if len(leaked) > 10 else ""
        raise UserError(
            f"its generator saw {len(leaked)} patients of the val or test split: {', '.join(leaked[:10])}{more}",
            path=path,
            hint="Train the generator on the train split only.",
        )


def unseen(dataset: FundusDataset, patients: dict[str, list[str]]) -> np.ndarray:
    """Which images belong to patients that a classifier neither trained on nor was selected on: bool (n,).

    Args:
        patients: hashes by split, as in classifier.json.
    """
    known = {*patients.get("train", ()), *patients.get("val", ())}
    return np.array([patient_hash(name) not in known for name in patient_keys(dataset)], dtype=bool)
