"""Held-out patients stay unseen: by the classifier itself, and by the generators whose images it trains on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..data.dataset import FundusDataset
from ..data.schema import patient_hash
from ..runtime.errors import UserError

TRAINED_ON = "trained_on_patients"


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
    refuse_seen(seen, synthetic.info.get("trained_on_images", ()), held_out, synthetic.path)


def refuse_seen(patients: Iterable[str], images: Iterable[str], held_out: FundusDataset, path: Path | str) -> None:
    """Make sure that a generator never saw a patient of `held_out`, nor one of its image files under another name.

    Args:
        patients, images: what the generator was trained on: patient hashes, and SHA-256 of image files.
        path: what the error names: the generator's run, or its images.

    Raises:
        UserError: it did; the patients are named.
    """
    known, known_images = set(patients), set(images)
    people = zip(held_out.patient_keys, held_out.image_digests, strict=True)
    leaked = sorted({name for name, digest in people if patient_hash(name) in known or digest in known_images})
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
    return np.array([patient_hash(name) not in known for name in dataset.patient_keys], dtype=bool)
