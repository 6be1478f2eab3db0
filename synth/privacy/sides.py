"""Whose eyes the generator has seen, and whose it has not: told by what it says of itself, else by the split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...data.dataset import FundusDataset
from ...data.schema import patient_hash
from ...runtime.errors import UserError

MOST_HELD_OUT = 800


@dataclass(frozen=True)
class Sides:
    """The two sides that an audit compares.

    Attributes:
        training: images that the generator was trained on.
        held_out: images of patients that it has never seen; may be empty.
        missing: images that it was trained on and that are not at hand.
        notes: what the user should know about them, one line each.
    """

    training: FundusDataset
    held_out: FundusDataset
    missing: int
    notes: list[str]


def find_sides(
    synthetic: FundusDataset, against: FundusDataset, holdout: FundusDataset | None = None, seed: int = 0
) -> Sides:
    """Divide real eyes into training and held-out ones.

    A generated dataset names the images and patients (hashed) of its generator's training; then those of `against` are the
    training, and its other patients are held out. Where it does not, the train split is the training (everything, when
    there is no split), and val and test are held out. `holdout` replaces the held-out ones. A patient of the training is
    never held out, and at most `MOST_HELD_OUT` images are.

    Raises:
        UserError: `against` holds none of the images of the training, or `holdout` only patients of it.
    """
    known = set(map(str, synthetic.info.get("trained_on_images") or ()))
    split, notes = against.column("split").to_numpy(), []
    if known:
        seen = np.array([digest in known for digest in against.image_digests], dtype=bool)
        if not seen.any():
            raise UserError(
                f"holds none of the {len(known)} images that the generator of {synthetic.name} was trained on",
                path=against.path, hint="Name the dataset that it was trained on.",
            )  # fmt: skip
    else:
        has_split = (split == "train").any()
        seen = split == "train" if has_split else np.ones(len(against), dtype=bool)
        notes.append(f"{synthetic.name} does not say what its generator was trained on: taken for it is "
                     + ("the train split" if has_split else "all") + f" of {against.name}")  # fmt: skip
    training = against.subset(seen)
    missing = len(known - set(training.image_digests)) if known else 0
    if holdout is None:
        rest = ~seen if known else np.isin(split, ("val", "test"))
        holdout, given = against.subset(rest), False
    else:
        given = True
    held_out = _strangers(holdout, training, set(map(str, synthetic.info.get("trained_on_patients") or ())), notes)
    if given and not len(held_out):
        raise UserError("holds only patients that the generator was trained on", path=holdout.path,
                        hint="Hold out other patients.")  # fmt: skip
    if len(held_out) > MOST_HELD_OUT:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(held_out))[:MOST_HELD_OUT])
        held_out = held_out.subset(chosen)
    return Sides(training, held_out, missing, notes)


def _strangers(holdout: FundusDataset, training: FundusDataset, hashes: set[str], notes: list[str]) -> FundusDataset:
    """The images of patients that are not in the training."""
    seen = set(training.patient_keys)
    strange = np.array(
        [key not in seen and patient_hash(key) not in hashes for key in holdout.patient_keys], dtype=bool
    )
    if not strange.all():
        notes.append(
            f"{int((~strange).sum())} images of {holdout.name} show patients of the training; they are not held out"
        )
    if (holdout.column("patient_id") == "").any():
        notes.append("some held-out images have no patient_id: other pictures of people in the training may be among them, "
                     "and hide copies")  # fmt: skip
    return holdout.subset(strange)
