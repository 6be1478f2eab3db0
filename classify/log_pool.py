"""Several opinions about the same images as one: a log-linear pool, its weights fitted by maximum likelihood.

p(class) is proportional to the product of p_source(class) ** weight x exp(bias of the class). It can leave a source out
(weight 0), and unlike a mixture it lets sources that agree be surer than either. Sources: Genest and Zidek, "Combining
probability distributions", Statistical Science 1 (1986), section 3.3; weights by likelihood, Satopaa and others,
International Journal of Forecasting 30 (2014).

The biases are a nuisance: a network trained on balanced batches speaks of classes that are equally common, validation
patients are not. They are fitted so that the weights need not make up for them, and left out of what is handed on:
which classes to favour is decided once, at the end, see `steady_multipliers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

_FLOOR = 1e-6  # of a probability: one source alone cannot rule a class out
_BIAS_SPREAD = 2.0  # prior standard deviation of a bias; classes that are 30 times as common differ by 3.4


@dataclass(frozen=True)
class LogPool:
    """A fitted pool.

    Attributes:
        weights: float (s,), at least 0, one a source; their sum is the inverse of a temperature.
        biases: float (k,), one a class.
    """

    weights: np.ndarray
    biases: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """The weights made to sum to 1, float (s,); the first source alone where all are 0."""
        total = self.weights.sum()
        return self.weights / total if total > 0 else np.eye(len(self.weights))[0]

    def losses(self, sources: Sequence[np.ndarray], true: np.ndarray) -> np.ndarray:
        """Log loss of each image with weights and biases: float (n,)."""
        scores = np.tensordot(self.weights, logarithms(sources), 1) + self.biases
        return logsumexp(scores, axis=1) - scores[np.arange(len(true)), true]


def fit_pool(sources: Sequence[np.ndarray], true: np.ndarray) -> LogPool:
    """The pool under which these images are most likely. The problem is convex: there is one optimum.

    Args:
        sources: probabilities, each float (n, k).
        true: int (n,), 0..k-1.
    """
    from scipy.optimize import minimize

    stacked, rows = logarithms(sources), np.arange(len(true))
    many, images, classes = stacked.shape
    hits = stacked[:, rows, true].sum(axis=1)
    found = np.bincount(true, minlength=classes)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights, biases = values[:many], values[many:]
        scores = np.tensordot(weights, stacked, 1) + biases
        total = logsumexp(scores, axis=1)
        told = np.exp(scores - total[:, None])
        value = total.sum() - weights @ hits - biases @ found + (biases**2).sum() / (2 * _BIAS_SPREAD**2)
        slopes = np.tensordot(stacked, told, 2) - hits, told.sum(axis=0) - found + biases / _BIAS_SPREAD**2
        return value / images, np.concatenate(slopes) / images

    start = np.r_[np.full(many, 1 / many), np.zeros(classes)]
    bounds = [(0, None)] * many + [(None, None)] * classes
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return LogPool(best[:many], best[many:])


def pool(sources: Sequence[np.ndarray], shares: Sequence[float] | np.ndarray) -> np.ndarray:
    """The probabilities of a pool without biases: float64 (n, k).

    Args:
        sources: probabilities, each float (n, k).
        shares: one a source, or float (s, n) with one an image as well.
    """
    stacked, shares = logarithms(sources), np.asarray(shares, dtype=np.float64)
    shares = shares if shares.ndim == 2 else np.repeat(shares[:, None], stacked.shape[1], axis=1)
    scores = np.einsum("sn,snk->nk", shares, stacked)
    return np.exp(scores - logsumexp(scores, axis=1, keepdims=True))


def logarithms(sources: Sequence[np.ndarray]) -> np.ndarray:
    """The logarithms of probabilities, never below that of one in a million: float64 (s, n, k)."""
    return np.log(np.maximum(np.stack([np.asarray(source, dtype=np.float64) for source in sources]), _FLOOR))
