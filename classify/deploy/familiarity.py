"""How far a photograph is from all that a classifier learned from: the Mahalanobis distance of its features.

To the nearest class mean, with one covariance for all classes (Lee et al. 2018, NeurIPS 31, section 2.1; study B does the
same), shrunk towards a multiple of the identity as Ledoit and Wolf (2004, Journal of Multivariate Analysis 88) say, because
there are about as many features as patients. Of the covariance the `DIRECTIONS` widest directions are kept, and the mean
variance of the others (Tipping and Bishop 1999, Journal of the Royal Statistical Society B 61): it must fit into a phone, and
what is foreign lies mostly in the others, where eyes hardly vary. Each patient weighs one, however many images there are.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .conformal import attainable, patient_quantile

DIRECTIONS = 32
LEVEL = 0.99
"""Share of the patients like those of the training who are not called unfamiliar."""

_ARRAYS = ("means", "directions", "variances")


@dataclass(frozen=True)
class Familiarity:
    """What the features of familiar photographs look like.

    Attributes:
        means: float32 (classes, d), of the training images of each class that has any.
        directions: float32 (r, d), orthonormal: where the features vary most around their class means.
        variances: float32 (r,), along them.
        rest: variance along every other direction.
        limit: distance beyond which a photograph is unfamiliar.
        level: share of familiar patients within the limit, 0..1.
    """

    means: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float
    limit: float
    level: float

    def distances(self, features: np.ndarray) -> np.ndarray:
        """To the nearest class mean: float (n, d) -> float64 (n,).

        With c_j the coordinate of features - mean along direction j, the square is
        sum of c_j^2 (1 / variance_j - 1 / rest), plus |features - mean|^2 / rest.
        """
        apart = np.asarray(features, dtype=np.float64)[:, None, :] - self.means.astype(np.float64)
        along = apart @ self.directions.T.astype(np.float64)
        squares = np.square(along) @ (1 / self.variances.astype(np.float64) - 1 / self.rest)
        squares += np.square(apart).sum(-1) / self.rest
        return np.sqrt(np.maximum(squares, 0)).min(1)

    def unfamiliarity(self, features: np.ndarray) -> np.ndarray:
        """Distances over the limit: above 1 is unfamiliar; float (n, d) -> float64 (n,)."""
        return self.distances(features) / self.limit

    def to_dict(self) -> dict[str, Any]:
        """For JSON: arrays as their shape and base64 of little-endian float32, row by row."""
        return {
            **{name: _packed(getattr(self, name)) for name in _ARRAYS},
            **{name: getattr(self, name) for name in ("rest", "limit", "level")},
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Familiarity:
        """Back from `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: incomplete or damaged.
        """
        means, directions, variances = (_unpacked(facts[name]) for name in _ARRAYS)
        rest, limit, level = numbers = [float(facts[name]) for name in ("rest", "limit", "level")]
        fits = means.ndim == directions.ndim == 2 and means.shape[1] == directions.shape[1]
        fits = fits and variances.shape == directions.shape[:1] and np.isfinite(numbers).all()
        if not fits or not min(rest, limit, *variances) > 0:
            raise ValueError("arrays that do not belong together, or a variance that is not above 0")
        return cls(means, directions, variances, rest, limit, level)


def fit_familiarity(
    features: np.ndarray, groups: np.ndarray, patients: Sequence[str] | np.ndarray,
    unseen: np.ndarray, unseen_patients: Sequence[str] | np.ndarray, *, directions: int = DIRECTIONS, level: float = LEVEL,
) -> Familiarity:  # fmt: skip
    """Learn what is familiar, and from other patients how far that reaches: images that a network learned from lie closer to
    each other than new ones do.

    Args:
        features: float (n, d), of training images.
        groups: int (n,), their class.
        patients: (n,).
        unseen, unseen_patients: features (m, d) of patients that the network did not learn from, and who they are.
        directions: how many to keep at most.
        level: see `Familiarity`; with fewer than level / (1 - level) unseen patients, what they allow.

    Raises:
        ValueError: no unseen patients, or training features that are all the same.
    """
    features, groups = np.asarray(features, dtype=np.float64), np.asarray(groups)
    weights = patient_weights(patients)
    names = np.unique(groups)
    means = np.stack([np.average(features[groups == k], axis=0, weights=weights[groups == k]) for k in names])
    apart = (features - means[np.searchsorted(names, groups)]) * np.sqrt(weights)[:, None]
    values, vectors = np.linalg.eigh(shrunk_covariance(apart))
    kept = min(directions, len(values))
    if not values[-1] > 0 or not len(unseen):
        raise ValueError("familiarity is learned from features that vary, and from unseen patients")
    values = np.maximum(values, 1e-9 * values[-1])
    rest = float(values[: len(values) - kept].mean() if kept < len(values) else values[0])
    parts = (means, vectors[:, ::-1][:, :kept].T, values[::-1][:kept])
    reached = attainable(level, len(np.unique(unseen_patients)))
    found = Familiarity(*(np.ascontiguousarray(part, dtype=np.float32) for part in parts), rest, 1.0, reached)
    limit = patient_quantile(found.distances(unseen), unseen_patients, reached)
    return Familiarity(found.means, found.directions, found.variances, rest, limit, reached)


def patient_weights(patients: Sequence[str] | np.ndarray) -> np.ndarray:
    """What each image counts, so that all of one patient count as much as all of another: float64 (n,), mean 1."""
    _, row, images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    return (1 / images[row]) * (len(row) / len(images))


def shrunk_covariance(rows: np.ndarray) -> np.ndarray:
    """Ledoit and Wolf's (2004, section 3.3): float (n, d) with mean 0 -> float64 (d, d).

    A weighted row is given as itself times the square root of its weight.
    """
    count, width = rows.shape
    sample = rows.T @ rows / count
    scale = np.trace(sample) / width
    off = np.square(sample).sum() - width * scale**2
    noise = (np.square(np.square(rows).sum(1)).sum() / count - np.square(sample).sum()) / count
    share = 1.0 if off <= 0 else float(np.clip(noise / off, 0, 1))
    sample *= 1 - share
    sample[np.diag_indices(width)] += share * scale
    return sample


def _packed(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")}


def _unpacked(facts: dict[str, Any]) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(facts["float32"], validate=True), dtype="<f4")
    if not np.isfinite(array).all():
        raise ValueError("an array with values that are not numbers")
    return array.reshape(facts["shape"]).astype(np.float32)
