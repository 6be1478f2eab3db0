"""How good a generator is while it trains: its pictures against eyes of patients that it never sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .feature_cache import cached_features
from .feature_spaces import FeatureSpace, held_out_score


class Measure:
    """Scores of generated pictures against held-out real eyes, whose features are computed once.

    Args:
        space: where distances are measured.
        held_out: uint8 (n, size, size, 3) real eyes.
        patients: whose they are, one an eye; intervals resample patients.
        others: uint8 (m, size, size, 3), other real eyes. They only set the scale of each feature, which few held-out eyes
            would set badly.
        quiet: show no progress of the features, which are kept for the next time.
    """

    def __init__(
        self, space: FeatureSpace, held_out: np.ndarray, patients: Sequence[str], others: np.ndarray, quiet: bool = True
    ):
        self.space, self.patients = space, list(patients)
        self._real, self._scale = (
            cached_features(space, images, workers=0, quiet=quiet) for images in (held_out, others)
        )

    @property
    def about(self) -> dict:
        """What the scores refer to: the feature space and how many eyes were held back."""
        return {"features": self.space.name, "held_back": len(self._real)}

    def __call__(self, pictures: np.ndarray) -> dict[str, float]:
        """kid, kid_low, kid_high, precision, recall and diversity of uint8 (m, size, size, 3) pictures."""
        score = held_out_score(pictures, self._real, self.space, self.patients, reference=self._scale)
        return {name: round(float(value), 5) for name, value in score.items()}
