"""The steps that turn several opinions of an image into one decision, all fitted on validation patients: fellow eye,
metadata, multipliers of the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fusion import Gate, fit_gate
from .patient_folds import patient_folds
from .steady_multipliers import steady_multipliers
from .thresholds import apply_multipliers

FELLOW, METADATA, DECISION = "+ fellow eye", "+ metadata", "+ decision"


@dataclass(frozen=True)
class Opinions:
    """What is known of each image, before anything is fitted on validation patients.

    Attributes:
        true: int (n,), 0..k-1.
        patients: str (n,).
        images: what the networks say, float (n, k).
        fellow: what they say of the patient's other photographs, or None.
        metadata: what age, sex and blood pressure say, or None.
    """

    true: np.ndarray
    patients: np.ndarray
    images: np.ndarray
    fellow: np.ndarray | None = None
    metadata: np.ndarray | None = None

    def of(self, rows: np.ndarray) -> Opinions:
        """Those of the images at `rows`, a boolean mask or indices."""
        values = (self.true, self.patients, self.images, self.fellow, self.metadata)
        return Opinions(*(None if value is None else value[rows] for value in values))


@dataclass(frozen=True)
class Chain:
    """The fitted steps.

    Attributes:
        fellow, metadata: the gates, None where there was nothing to hear.
        multipliers: of the classes, float (k,), see `steady_multipliers`.
    """

    fellow: Gate | None
    metadata: Gate | None
    multipliers: np.ndarray

    def apply(self, opinions: Opinions) -> dict[str, np.ndarray]:
        """{step: probabilities, float64 (n, k)}, each step on top of the one before."""
        steps, now = {}, opinions.images
        if self.fellow is not None:
            now = steps[FELLOW] = self.fellow.apply({"own": now, "fellow": opinions.fellow})
        if self.metadata is not None:
            now = steps[METADATA] = self.metadata.apply({"images": now, "metadata": opinions.metadata})
        return {**steps, DECISION: apply_multipliers(now, self.multipliers)}


def fit_chain(opinions: Opinions, seed: int = 0) -> Chain:
    """Fit every step on these images, each on what the steps before it made."""
    true, patients, now = opinions.true, opinions.patients, opinions.images
    fellow = metadata = None
    if opinions.fellow is not None:
        sources = {"own": now, "fellow": opinions.fellow}
        fellow = fit_gate(sources, true, patients, alone=["own"], seed=seed)
        now = fellow.apply(sources)
    if opinions.metadata is not None:
        sources = {"images": now, "metadata": opinions.metadata}
        metadata = fit_gate(sources, true, patients, seed=seed)
        now = metadata.apply(sources)
    return Chain(fellow, metadata, steady_multipliers(true, now, patients, seed))


def cross_fitted(opinions: Opinions, seed: int = 0) -> dict[str, np.ndarray]:
    """{step: probabilities}, as `Chain.apply`, each image by a chain that was fitted on other patients."""
    folds, steps = patient_folds(opinions.patients, opinions.true, seed=seed), {}
    for fold in np.unique(folds):
        held = folds == fold
        for name, values in fit_chain(opinions.of(~held), seed).apply(opinions.of(held)).items():
            steps.setdefault(name, np.empty_like(opinions.images, dtype=np.float64))[held] = values
    return steps
