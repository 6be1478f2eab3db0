"""The feature spaces by name, what makes their features comparable, and the score of a generator while it trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..runtime.errors import UserError
from .distance_intervals import kid_interval
from .distances import diversity, precision_recall
from .features.base import FeatureSpace, resized

SPACES = ("retina", "timm:NAME", "dinov2", "inception")

__all__ = ["SPACES", "FeatureSpace", "comparable", "feature_space", "held_out_score", "resized"]

_MOST_SPREADS = 5.0
_LEAST_SPREAD = 1e-3


def feature_space(spec: str = "retina", weights: Path | str | None = None) -> FeatureSpace:
    """The feature space that a user named.

    Args:
        spec: "retina" (fundus biomarkers, nothing to fetch), "timm:NAME", "dinov2" or "inception".
        weights: a local file for the spaces of networks.

    Raises:
        UserError: no such space, weights that are missing or do not fit, or weights for `retina`.
    """
    from .features import networks

    if spec == "retina":
        if weights is not None:
            raise UserError("the feature space retina has no weights", hint="Leave out --feature-weights.")
        from .features.retina import RetinaSpace

        return RetinaSpace()
    if spec.startswith("timm:"):
        return networks.timm_space(spec.removeprefix("timm:"), weights)
    if spec == "dinov2":
        return networks.dinov2_space(weights)
    if spec == "inception":
        return networks.inception_space(weights)
    raise UserError(f"no feature space is called {spec!r}; expected one of {', '.join(SPACES)}")


def comparable(space: FeatureSpace, reference: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Features as distances should see them: in units of their spread among the reference images, from their mean.

    Mean and spread are of the reference alone, so that they are the same for every set that is judged by it. What lies
    further out than 5 spreads is set to 5: one broken image shall count, but not outweigh a thousand good ones in a
    kernel of the third degree. Features of networks stay as they are, as the literature compares them.

    Args:
        reference, others: float (n, d) as `space.features` gave them.

    Returns:
        the reference and the others, float32.
    """
    if not space.standardized:
        return [np.asarray(v, np.float32) for v in (reference, *others)]
    mean = reference.mean(axis=0, dtype=np.float64)
    # A feature that never changes among real eyes must not turn rounding into differences.
    spread = np.maximum(reference.std(axis=0, dtype=np.float64), _LEAST_SPREAD * np.maximum(np.abs(mean), 1))
    scaled = (np.clip((v - mean) / spread, -_MOST_SPREADS, _MOST_SPREADS) for v in (reference, *others))
    return [v.astype(np.float32) for v in scaled]


def held_out_score(
    generated: np.ndarray, real_features: np.ndarray, space: FeatureSpace, groups: Sequence | None = None, *,
    reference: np.ndarray | None = None, resamples: int = 200, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """How far generated images are from held-out real ones, cheap enough to ask while a generator trains.

    Args:
        generated: uint8 (m, side, side, 3), at least 4.
        real_features: float (n, d), `space.features` of the real images, at the same side; at least 4.
        groups: the patient of each real image.
        reference: features of the real images that give `comparable` its scale, if not `real_features`. Give the training
            images where few are held out: a scale from few images fits these better than any others, and lifts KID.
        resamples: for the interval.

    Returns:
        kid, kid_low, kid_high (95 % interval), precision, recall (3 neighbours) and diversity, see `distances`.

    Raises:
        UserError: fewer images, or as in `FeatureSpace.features`.
    """
    scale = real_features if reference is None else reference
    _, real, made = comparable(space, scale, real_features, space.features(generated))
    distance = kid_interval(made, real, None, groups, resamples=resamples, seed=seed)
    near = precision_recall(real, made)
    return {
        "kid": distance.value, "kid_low": distance.low, "kid_high": distance.high,
        "precision": near.precision, "recall": near.recall, "diversity": diversity(made, real),
    }  # fmt: skip
