"""Metrics of classification from (true class, probabilities), for one set of weights or thousands at once.

scikit-learn and torchmetrics compute one weighting at a time; the bootstrap of evidence.py needs 2000, so these are
written over a leading axis of weights and tested against scikit-learn.

Missing classes. A class that no image has (or whose images all have weight 0) has no recall, F1, AUROC or average
precision: nan. A class that is never predicted has no precision: nan, and F1 0. Macro averages leave out the classes
that no image has; they are nan when nothing is left. Metrics for a whole test set of weight 0 are nan.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .calibration import brier_score, expected_calibration_error

WHOLE = (
    "accuracy", "balanced_accuracy", "micro_f1", "weighted_f1", "quadratic_kappa", "odir_score", "log_loss",
    "balanced_log_loss", "brier", "ece",
)  # fmt: skip
BY_CLASS = ("precision", "recall", "specificity", "f1", "auroc", "average_precision")


def score(
    metric: str,
    true: np.ndarray,
    probabilities: np.ndarray,
    weights: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> np.ndarray:
    """One metric.

    Args:
        metric: one of WHOLE; or one of BY_CLASS, which means the second ("positive") class when there are two classes
            and the macro average otherwise; or "macro_" + one of BY_CLASS; or "f1:diabetes" for one class by name.
        true: int (n,), 0..k-1.
        probabilities: float (n, k); the predicted class is the largest.
        weights: float (n,) or (b, n), at least 0; None counts each image once.
        classes: the k names; needed for "metric:class" only.

    Returns:
        float64, shape () for weights (n,) or None, shape (b,) for weights (b, n).

    Raises:
        ValueError: unknown metric or class, or shapes that do not fit.
    """
    true, probabilities = np.asarray(true), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or true.shape != probabilities.shape[:1]:
        raise ValueError(f"true {true.shape} and probabilities {probabilities.shape} do not fit")
    table = np.ones((1, len(true))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if table.shape[1] != len(true):
        raise ValueError(f"{table.shape[1]} weights for {len(true)} images")
    values = _score(metric, true, probabilities, table, classes)
    return values if weights is not None and np.ndim(weights) == 2 else values[0]


def summarize(true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every metric of WHOLE and every macro average of BY_CLASS; for two classes those of the positive class as well,
    and no ODIR score, which was made for eight."""
    names = [*WHOLE, *(f"macro_{name}" for name in BY_CLASS)]
    if np.shape(probabilities)[1] == 2:
        names = [name for name in names if name != "odir_score"] + list(BY_CLASS)
    return {name: float(score(name, true, probabilities)) for name in names}


def by_class(true: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """One row a class: class, images, and the metrics of BY_CLASS."""
    table = pd.DataFrame({"class": list(classes), "images": np.bincount(true, minlength=len(classes))})
    for metric in BY_CLASS:
        table[metric] = [float(score(f"{metric}:{name}", true, probabilities, classes=classes)) for name in classes]
    return table


def odir_score(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The official score of the ODIR-2019 challenge: the mean of Cohen's kappa, F1 and AUC.

    All three are of the labels of all classes written one after the other, each told as present above a probability of
    0.5. The challenge's evaluation script takes the F1 micro-averaged over "present" and "absent", which is the share of
    labels told right: most labels are absent, so a classifier that says nothing has 0.875 there with eight classes. Not
    to be compared with a macro F1.

    Args:
        labels: 0/1 or bool (n, k), one-hot or multi-label.
        probabilities: float (n, k).
        weights: of the images, float (n,) or (b, n); None counts each once.

    Returns:
        float64, at most 1; shape () for weights (n,) or None, (b,) for weights (b, n); nan where one of the three is.
    """
    labels, scores = np.asarray(labels).ravel().astype(bool), np.asarray(probabilities, dtype=np.float64).ravel()
    table = (
        np.ones((1, len(probabilities))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    )
    table = np.repeat(table, np.shape(probabilities)[1], axis=1)
    matrix = confusion_matrix(labels, scores > 0.5, 2, table)
    total = matrix.sum(axis=(1, 2))
    right = _divide(matrix.trace(axis1=1, axis2=2), total)
    chance = _divide((matrix.sum(axis=2) * matrix.sum(axis=1)).sum(axis=1), total**2)
    values = (1 - _divide(1 - right, 1 - chance) + right + binary_auroc(labels, scores, table)) / 3
    return values if weights is not None and np.ndim(weights) == 2 else values[0]


def confusion_matrix(
    true: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """Weights summed by (true, predicted): float (k, k), or (b, k, k) for weights (b, n)."""
    weights = np.ones(len(true)) if weights is None else weights
    cells = np.zeros((len(true), classes * classes))
    cells[np.arange(len(true)), true * classes + predicted] = 1
    summed = weights @ cells
    return summed.reshape(*summed.shape[:-1], classes, classes)


def binary_auroc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Args:
        positive: bool (n,).
        scores: float (n,).
        weights: float (b, n).

    Returns:
        float (b,); nan where either side has no weight.
    """
    ups, downs = _summed_by_score(positive, scores, weights)
    below = np.cumsum(downs, axis=1) - downs
    area = (ups * (below + downs / 2)).sum(axis=1)
    return _divide(area, ups.sum(axis=1) * downs.sum(axis=1))


def binary_average_precision(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision: precision at each threshold, weighted by the recall it adds. Shapes as `binary_auroc`."""
    ups, downs = (part[:, ::-1] for part in _summed_by_score(positive, scores, weights))
    found = np.cumsum(ups, axis=1)
    flagged = found + np.cumsum(downs, axis=1)
    precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
    return _divide((ups * precision).sum(axis=1), ups.sum(axis=1))


def _score(metric, true, probabilities, weights, classes) -> np.ndarray:
    count = probabilities.shape[1]
    if metric in WHOLE:
        return _WHOLE[metric](true, probabilities, weights)
    name, _, wanted = metric.partition(":")
    macro = name.startswith("macro_") or (not wanted and count != 2)
    name = name.removeprefix("macro_")
    if name not in BY_CLASS:
        raise ValueError(f"unknown metric {metric!r}; there are {', '.join([*WHOLE, *BY_CLASS])}")
    if macro:
        return _macro(_each_class(name, true, probabilities, weights), true, weights)
    if wanted and wanted not in (classes or ()):
        raise ValueError(f"no class {wanted!r} in {classes}")
    index = list(classes).index(wanted) if wanted else 1
    return _each_class(name, true, probabilities, weights)[:, index]


def _each_class(name: str, true: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    count = probabilities.shape[1]
    if name in ("auroc", "average_precision"):
        function = binary_auroc if name == "auroc" else binary_average_precision
        return np.stack([function(true == k, probabilities[:, k], weights) for k in range(count)], axis=1)
    matrix = confusion_matrix(true, probabilities.argmax(1), count, weights)
    hit = matrix.diagonal(axis1=1, axis2=2)
    actual, predicted, total = matrix.sum(axis=2), matrix.sum(axis=1), matrix.sum(axis=(1, 2))[:, None]
    if name == "precision":
        return _divide(hit, predicted)
    if name == "recall":
        return _divide(hit, actual)
    if name == "specificity":
        return _divide(total - actual - predicted + hit, total - actual)
    return np.where(actual > 0, _divide(2 * hit, actual + predicted), np.nan)


def _macro(values: np.ndarray, true: np.ndarray, weights: np.ndarray) -> np.ndarray:
    present = confusion_matrix(true, true, values.shape[1], weights).diagonal(axis1=1, axis2=2) > 0
    usable = present & ~np.isnan(values)
    return _divide(np.where(usable, values, 0).sum(axis=1), usable.sum(axis=1))


def _accuracy(true, probabilities, weights) -> np.ndarray:
    return _divide(weights @ (probabilities.argmax(1) == true), weights.sum(axis=1))


def _balanced_accuracy(true, probabilities, weights) -> np.ndarray:
    return _macro(_each_class("recall", true, probabilities, weights), true, weights)


def _weighted_f1(true, probabilities, weights) -> np.ndarray:
    values = _each_class("f1", true, probabilities, weights)
    shares = confusion_matrix(true, true, values.shape[1], weights).diagonal(axis1=1, axis2=2)
    return _divide((shares * np.nan_to_num(values)).sum(axis=1), shares.sum(axis=1))


def _quadratic_kappa(true, probabilities, weights) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968); nan when no disagreement was possible."""
    count = probabilities.shape[1]
    matrix = confusion_matrix(true, probabilities.argmax(1), count, weights)
    cost = (np.arange(count)[:, None] - np.arange(count)[None, :]) ** 2
    chance = matrix.sum(axis=2)[:, :, None] * matrix.sum(axis=1)[:, None, :]
    expected = _divide((chance * cost).sum(axis=(1, 2)), matrix.sum(axis=(1, 2)))
    return 1 - _divide((matrix * cost).sum(axis=(1, 2)), expected)


def _log_loss(true, probabilities, weights) -> np.ndarray:
    return _divide(weights @ _losses(true, probabilities), weights.sum(axis=1))


def _balanced_log_loss(true, probabilities, weights) -> np.ndarray:
    """Log loss with every class that is there weighing the same: scikit-learn's "balanced" class weights."""
    classes = np.eye(probabilities.shape[1])[true]
    summed = weights @ (classes * _losses(true, probabilities)[:, None])
    return _macro(_divide(summed, weights @ classes), true, weights)


def _losses(true, probabilities) -> np.ndarray:
    floor = np.finfo(np.float64).eps
    kept = np.clip(probabilities, floor, 1)
    return -np.log(kept[np.arange(len(true)), true] / kept.sum(axis=1))


def _summed_by_score(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at each distinct score, ascending: two float (b, distinct)."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.zeros(0, dtype=int)
    if not len(starts):
        return np.zeros((len(weights), 1)), np.zeros((len(weights), 1))
    up = np.where(positive[order], weights[:, order], 0)
    ups = np.add.reduceat(up, starts, axis=1)
    return ups, np.add.reduceat(weights[:, order], starts, axis=1) - ups


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    top, bottom = np.broadcast_arrays(np.asarray(top, dtype=np.float64), bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


_WHOLE = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    # With one label an image, every error is one false positive and one false negative: micro F1 is accuracy.
    "micro_f1": _accuracy,
    "weighted_f1": _weighted_f1,
    "quadratic_kappa": _quadratic_kappa,
    "odir_score": lambda true, probabilities, weights: odir_score(
        np.eye(probabilities.shape[1])[true], probabilities, weights
    ),
    "log_loss": _log_loss,
    "balanced_log_loss": _balanced_log_loss,
    "brier": brier_score,
    "ece": lambda true, probabilities, weights: expected_calibration_error(true, probabilities, weights=weights),
}
