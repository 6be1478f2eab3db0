"""The causal test: take a region away, ask the classifier again, and see what falls, beside the same done elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...preprocess.registration import inverted, scaled, warp
from ..decision import Decision
from ..evidence import Difference, SeedPredictions, estimate, holm, paired_difference
from ..predictions import predict_images
from .patient_means import mean_difference
from .random_regions import random_circle, random_place, random_sector
from .region_fills import SWAP, fill, opacity
from .region_masks import CENTRE, RIM, STRUCTURES, ZONES
from .unseen_eyes import UnseenEyes

REMOVED = (*STRUCTURES, *ZONES)
_RESAMPLES = 1000


@dataclass(frozen=True)
class Told:
    """Probabilities, float64 (n, k), of images with a region taken away, and with as much taken away elsewhere; nan where an
    image does not have the region."""

    removed: np.ndarray
    control: np.ndarray


@dataclass(frozen=True)
class Removal:
    """What taking a region away does. A fall is positive.

    Attributes:
        region, fill: see `region_masks` and `region_fills`.
        images: how many were tested: those in which the region is known.
        area: the share of the field that was replaced.
        auroc: with the region in place; of the positive class of two, else averaged over the classes.
        fall: of the AUROC, with its interval over patients.
        control: how much it falls when as much is taken away elsewhere at random.
        beyond: how much more it falls than that, with its interval over patients.
        adjusted_p: of `beyond`, corrected for all regions and ways (Holm).
        certainty: fall of the true class's probability.
    """

    region: str
    fill: str
    images: int
    area: float
    auroc: float
    fall: Difference
    control: float
    beyond: Difference
    adjusted_p: float
    certainty: Difference

    @property
    def tested(self) -> bool:
        """Whether the AUROC is known with and without it, in resampled patients too."""
        return bool(np.isfinite(self.adjusted_p))

    @property
    def matters(self) -> bool:
        """Whether the AUROC falls, and falls further than at random places."""
        return bool(self.adjusted_p <= 0.05 and self.beyond.low > 0 and self.fall.low > 0)


def removed_predictions(
    eyes: UnseenEyes, indices: np.ndarray, regions: Sequence[Mapping[str, np.ndarray]], matrices: np.ndarray,
    fills: Sequence[str], seed: int,
) -> dict[tuple[str, str], Told]:  # fmt: skip
    """What the classifier tells of some images without each of their regions, by region and way.

    Args:
        indices: int (m,), which of the eyes.
        regions: of these, see `region_masks`.
        matrices: of all eyes, see `retinal_frame.frame_matrices`.
        fills: some of FILLS.
    """
    images = eyes.images(indices).take(np.arange(len(indices)))
    donors = donors_of(eyes, indices, matrices, seed) if SWAP in fills else [None] * len(indices)
    found = {}
    for name in REMOVED:
        known = np.array([number for number, masks in enumerate(regions) if name in masks], dtype=int)
        number = REMOVED.index(name)
        alphas = [tuple(_alphas(regions[i], name, np.random.default_rng([seed, indices[i], number]))) for i in known]
        for kind in fills:
            told = np.full((2, len(indices), eyes.model.classes), np.nan)
            for side in range(2):
                altered = [
                    fill(images[i], alpha[side], regions[i]["field"], kind, donors[i])
                    for i, alpha in zip(known, alphas, strict=True)
                ]
                if altered:
                    told[side, known] = predict_images(eyes.model, np.stack(altered), device=eyes.device)
            found[name, kind] = Told(*told)
    return found


def judge_removals(
    labels: np.ndarray, patients: np.ndarray, original: np.ndarray, told: Mapping[tuple[str, str], Told],
    areas: Mapping[str, np.ndarray], decision: Decision, seed: int = 0,
) -> list[Removal]:  # fmt: skip
    """What each removal does, where at least one image has something of the region.

    Args:
        labels, patients: int (n,), str (n,).
        original: float64 (n, k), the probabilities of the images as they are.
        areas: {region: share of the field, float64 (n,)}.
        decision: its temperature is applied to all probabilities.
    """
    rows = []
    for (region, kind), one in told.items():
        known = np.isfinite(one.removed).all(1)
        if not (known.any() and areas[region][known].any()):
            continue
        whole, removed, control = (
            SeedPredictions(labels[known], decision.calibrated(values[known]), patients[known])
            for values in (original, one.removed, one.control)
        )
        options = {"resamples": _RESAMPLES, "seed": seed}
        middle = estimate([whole], "auroc")
        right = np.arange(int(known.sum())), labels[known]
        rows.append((
            region, kind, int(known.sum()), float(areas[region][known].mean()), middle,
            paired_difference([whole], [removed], "auroc", **options), middle - estimate([control], "auroc"),
            paired_difference([control], [removed], "auroc", **options),
            mean_difference(whole.probabilities[right], removed.probabilities[right], patients[known], **options),
        ))  # fmt: skip
    adjusted = holm([row[7].p for row in rows])
    return [Removal(*row[:8], float(p), row[8]) for row, p in zip(rows, adjusted, strict=True)]


def removed_area(masks: Mapping[str, np.ndarray], region: str) -> float:
    """The share of the field that is replaced when a region is taken away, margin and all; nan when it is not known."""
    if region not in masks:
        return float("nan")
    field = masks["field"]
    return float((opacity(masks[region]) * field).sum() / field.sum())


def _alphas(masks: Mapping[str, np.ndarray], region: str, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Opacity of the region, and of as much elsewhere.

    Centre and rim are the same wherever they are turned to. The control of the centre is a sector of what lies outside it, as
    any circle of its area inside the field covers the middle; that of the rim is a circle.
    """
    alpha, field = opacity(masks[region]), masks["field"]
    inside = alpha * field
    yield alpha
    if region == CENTRE:
        yield random_sector(float(inside.sum()), field * (1 - alpha), random)
    elif region == RIM:
        yield random_circle(float(inside.sum()), field, random)
    else:
        yield random_place(inside, field, random)


def donors_of(eyes: UnseenEyes, indices: np.ndarray, matrices: np.ndarray, seed: int) -> list[np.ndarray]:
    """For each of some eyes another patient's, laid on it by optic disc and fovea: uint8 (s, s, 3)."""
    usable = np.flatnonzero(np.isfinite(matrices).all(axis=(1, 2)))
    size, laid = eyes.model.size, []
    for index in indices:
        random = np.random.default_rng([seed, index, len(REMOVED)])
        donor = random.choice(usable[eyes.patients[usable] != eyes.patients[index]])
        way = _after(inverted(matrices[index]), matrices[donor])
        laid.append(warp(eyes.images(np.array([donor])).take([0])[0], scaled(way, size, size), size))
    return laid


def _after(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The affine map that does `first` and then `second`, float64 (2, 3)."""
    linear = second[:, :2] @ first[:, :2]
    return np.column_stack([linear, second[:, :2] @ first[:, 2] + second[:, 2]])
