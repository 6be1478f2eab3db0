"""Nested shares of the training patients: the 10 % are among the 20 %, and every class keeps its proportion in each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...data.dataset import FundusDataset
from ...data.targets import Target
from ...runtime.errors import UserError


def parse_shares(text: str) -> list[int]:
    """ "100, 10,20" -> [10, 20, 100]: percent, ascending, each once.

    Raises:
        UserError: no shares, or one that is not a whole number of percent from 1 to 100.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 1 <= int(word) <= 100 for word in words):
        raise UserError(
            f"shares {text!r} are not whole percentages from 1 to 100", hint="Try --shares 10,20,40,60,80,100."
        )
    return sorted({int(word) for word in words})


def nested_shares(dataset: FundusDataset, target: Target, shares: Sequence[int], seed: int) -> dict[int, np.ndarray]:
    """Which images belong to each share of the patients.

    Patients are sorted by the rarest class that their images have; of each such group a share is taken in one random
    order, so that a larger share holds all of a smaller one. A patient comes with all images.

    Args:
        dataset: the training images, each with a class of `target`.
        shares: percent of the patients.
        seed: another seed, other patients.

    Returns:
        {share: bool (n,)}.

    Raises:
        UserError: a share without a patient of some class.
    """
    patients, of_image = np.unique(np.asarray(dataset.patient_keys, dtype=str), return_inverse=True)
    has_class = np.zeros((len(patients), len(target.classes)), dtype=bool)
    has_class[of_image, target.labels(dataset)] = True
    place = _places(has_class, np.random.default_rng(seed))
    taken = {share: place <= share / 100 for share in shares}
    for share, chosen in taken.items():
        for name, there in zip(target.classes, has_class.T, strict=True):
            if not (there & chosen).any():
                raise UserError(
                    f"{share} % of the training patients would hold none of the {there.sum()} patients with class {name}",
                    path=dataset.path, hint="Use larger --shares, or leave the class out with --classes.",
                )  # fmt: skip
    return {share: chosen[of_image] for share, chosen in taken.items()}


def _places(has_class: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where each patient stands in the random order of those with the same rarest class: above 0, below 1, float (n,)."""
    rarest = np.where(has_class, has_class.sum(axis=0), np.inf).argmin(axis=1)
    place = np.empty(len(has_class))
    for number in np.unique(rarest):
        members = random.permutation(np.flatnonzero(rarest == number))
        # Half a step: a share of m patients is then rounded to the nearest whole number of them.
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return place
