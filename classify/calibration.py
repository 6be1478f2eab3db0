"""Calibration: how far a classifier's confidence is from its accuracy, and temperature scaling.

Sources: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017, equations 2 to 4 (bins,
expected calibration error) and section 4.2 (temperature); Brier, Monthly Weather Review 78 (1950).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

_LOWEST, _HIGHEST = 0.01, 100.0
_FLOOR = -700.0  # exp of it is still a positive float64; a probability rounded to 0 has the logarithm -inf


def expected_calibration_error(
    true: np.ndarray, probabilities: np.ndarray, bins: int = 10, weights: np.ndarray | None = None
) -> np.ndarray:
    """Gap between confidence (the largest probability) and accuracy, averaged over bins by the weight in them.

    Args:
        true: int (n,), 0..k-1.
        probabilities: float (n, k).
        bins: equal parts of 0..1, each without its lower and with its upper edge.
        weights: float (n,) or (b, n), at least 0; None counts each image once.

    Returns:
        float64, 0 (calibrated) to 1, shape () for weights (n,) or None, shape (b,) for weights (b, n); nan for no weight.
    """
    confidence, right, index = _binned(true, probabilities, bins)
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, dtype=np.float64)
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), index] = confidence - right
    total = np.asarray(weights.sum(axis=-1))
    summed = np.asarray(np.abs(weights @ gaps).sum(axis=-1))
    return np.divide(summed, total, out=np.full(total.shape, np.nan), where=total > 0)


def brier_score(true: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean squared distance between the probabilities and the one-hot truth, summed over classes (Brier 1950).

    Shapes as `expected_calibration_error`.

    Returns:
        float64, 0 to 2. For two classes it is twice the common score of the positive class alone.
    """
    probabilities = np.asarray(probabilities, dtype=np.float64)
    weights = np.ones(len(probabilities)) if weights is None else np.asarray(weights, dtype=np.float64)
    distances = np.square(probabilities - np.eye(probabilities.shape[1])[true]).sum(axis=1)
    total = np.asarray(weights.sum(axis=-1))
    return np.divide(weights @ distances, total, out=np.full(total.shape, np.nan), where=total > 0)


def reliability_table(true: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """One row a bin of confidence: low, high, images, and the mean confidence and accuracy of its images (nan if none)."""
    confidence, right, index = _binned(true, probabilities, bins)
    images = np.bincount(index, minlength=bins)
    edges = np.arange(bins + 1) / bins
    means = {
        name: np.divide(np.bincount(index, values, bins), images, out=np.full(bins, np.nan), where=images > 0)
        for name, values in (("confidence", confidence), ("accuracy", right))
    }
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "images": images, **means})


def fit_temperature(logits: np.ndarray, true: np.ndarray, doubt: float = 0.0) -> float:
    """The temperature, 0.01 to 100, under which the negative log-likelihood of validation images is smallest.

    The likelihood is concave in 1/temperature, so the bounded scalar search finds the one optimum. Images that are all
    told right get the lowest temperature that the search allows: fit on images that the model was not trained on.

    Args:
        logits: float (n, k), logits or logarithms of probabilities: they differ by a constant an image, which cancels.
        true: int (n,), 0..k-1.
        doubt: share of the truth that is spread over the other classes, 0 to below 1; above 0, images that are all told
            right have an optimum too.

    Raises:
        ValueError: no images, shapes that do not fit, or logits that are nan.
    """
    from scipy.optimize import minimize_scalar

    logits, true = np.asarray(logits, dtype=np.float64), np.asarray(true)
    if logits.ndim != 2 or true.shape != logits.shape[:1] or not len(true):
        raise ValueError(f"true {true.shape} and logits {logits.shape} do not fit")
    if np.isnan(logits).any():
        raise ValueError("a logit is nan")
    rows, others = np.arange(len(true)), logits.shape[1] - 1

    def loss(log_temperature: float) -> float:
        logarithms = _log_softmax(logits, np.exp(log_temperature))
        right = logarithms[rows, true]
        wrong = (logarithms.sum(axis=1) - right) / others if doubt else 0.0
        return -((1 - doubt) * right + doubt * wrong).mean()

    found = minimize_scalar(loss, bounds=(np.log(_LOWEST), np.log(_HIGHEST)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(found.x))


def scale_temperature(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities float64 (n, k): softmax(logits / temperature). The order of an image's classes does not change.

    Args:
        logits: float (n, k), logits or logarithms of probabilities.
        temperature: above 0; above 1 makes less confident, 1 changes nothing.

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not above 0")
    return np.exp(_log_softmax(np.asarray(logits, dtype=np.float64), temperature))


def _log_softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    shifted = np.maximum(logits - logits.max(axis=1, keepdims=True), _FLOOR) / temperature
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _binned(true: np.ndarray, probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence (n,), whether it was right (n,), and the index of the confidence's bin (n,)."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    confidence = probabilities.max(axis=1, initial=0)
    right = probabilities.argmax(axis=1) == np.asarray(true)
    return confidence, right.astype(np.float64), np.digitize(confidence, np.arange(1, bins) / bins, right=True)
