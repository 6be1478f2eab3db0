"""Decisions other than the largest probability: thresholds and multipliers chosen on validation predictions.

A network trained on unequal classes, or on batches that were made equal, has learned shares of the classes that need not
be those under which F1 is best. Choose on validation patients, apply to the test patients, never the other way round.

Sources: a threshold for each class, Lipton, Elkan, Naryanaswamy, "Optimal thresholding of classifiers to maximize F1
measure", ECML 2014; a factor on each class's probability, which is a change of the classes' prior, Saerens, Latinne,
Decaestecker, Neural Computation 14 (2002). Cuts that turn a number into a grade as study C does. Factors and cuts are found
by coordinate ascent.
"""

from __future__ import annotations

import numpy as np

from .metrics import confusion_matrix, score

_TOLERANCE = 1e-12


def best_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """For each class the threshold under which its F1, one against the rest, is largest: float64 (k,).

    A class is told as present from its threshold upwards. Where several thresholds are equally good, the one nearest to
    0.5; thresholds lie midway between two neighbouring probabilities. A class that no image has keeps 0.5.

    Args:
        labels: 0/1 or bool (n, k), one-hot or multi-label.
        probabilities: float (n, k).

    Raises:
        ValueError: no images, or shapes that do not fit.
    """
    labels, probabilities = np.asarray(labels).astype(bool), np.asarray(probabilities, dtype=np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 2 or not len(labels):
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape} do not fit")
    return np.array([_best_threshold(label, column) for label, column in zip(labels.T, probabilities.T, strict=True)])


def best_multipliers(true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """A factor for each class, so that the largest factor x probability has a high macro F1: float64 (k,), product 1.

    Coordinate ascent from all 1: one class after the other gets the best factor while the others stay, until none gains.
    Each step looks at every decision that its factor can make. For two classes the result is the best there is; for more
    it is an optimum of each factor alone. The macro F1 of these images is never below that of the plain probabilities.

    Args:
        true: int (n,), 0..k-1.
        probabilities: float (n, k).

    Raises:
        ValueError: no images, or shapes that do not fit.
    """
    true, probabilities = np.asarray(true), np.asarray(probabilities, dtype=np.float64)
    if probabilities.ndim != 2 or true.shape != probabilities.shape[:1] or not len(true):
        raise ValueError(f"true {true.shape} and probabilities {probabilities.shape} do not fit")
    best = np.ones(probabilities.shape[1])
    reached = score("macro_f1", true, probabilities)
    gained = True
    while gained:
        gained = False
        for label in range(len(best)):
            tried = best.copy()
            tried[label] = _best_factor(true, probabilities, best, label)
            tried /= np.exp(np.log(tried).mean())
            value = score("macro_f1", true, apply_multipliers(probabilities, tried))
            if value > reached + _TOLERANCE:
                best, reached, gained = tried, value, True
    return best


def apply_multipliers(probabilities: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
    """The probabilities times their class's factor, each row summing to 1 again: float64 (n, k).

    Raises:
        ValueError: not one factor above 0 for each class.
    """
    probabilities, multipliers = np.asarray(probabilities, dtype=np.float64), np.asarray(multipliers, dtype=np.float64)
    if multipliers.shape != probabilities.shape[1:] or not (multipliers > 0).all():
        raise ValueError(f"expected {probabilities.shape[1]} factors above 0, got {multipliers}")
    scaled = probabilities * multipliers
    return scaled / scaled.sum(axis=1, keepdims=True)


def best_cuts(true: np.ndarray, values: np.ndarray, classes: int) -> np.ndarray:
    """Cuts between neighbouring grades under which the quadratic kappa is high: float64 (k - 1,), ascending.

    Coordinate ascent from the middles 0.5, 1.5, ...: one cut after the other moves to the best place between its neighbours
    while they stay, until none gains; between images it lies midway. The kappa is never below that of the middles.

    Args:
        true: int (n,), 0..k-1.
        values: float (n,), what a regression told, in grades. An image is of the grade whose lower cut it has reached.
        classes: k.

    Raises:
        ValueError: no images, or shapes that do not fit.
    """
    true, values = np.asarray(true), np.asarray(values, dtype=np.float64)
    if true.ndim != 1 or true.shape != values.shape or not len(true):
        raise ValueError(f"true {true.shape} and values {values.shape} do not fit")
    best = np.arange(classes - 1) + 0.5
    reached = _kappa(true, values, best)
    distinct = np.unique(values)
    places = (distinct[1:] + distinct[:-1]) / 2
    gained = True
    while gained:
        gained = False
        for number in range(len(best)):
            low, high = np.r_[-np.inf, best, np.inf][[number, number + 2]]
            for place in places[(places >= low) & (places <= high)]:
                tried = best.copy()
                tried[number] = place
                value = _kappa(true, values, tried)
                if value > reached + _TOLERANCE:
                    best, reached, gained = tried, value, True
    return best


def _kappa(true: np.ndarray, values: np.ndarray, cuts: np.ndarray) -> float:
    """Quadratic kappa; -inf where no disagreement was possible."""
    classes = len(cuts) + 1
    told = np.searchsorted(cuts, values, side="right")
    matrix = np.bincount(true * classes + told, minlength=classes**2).reshape(classes, classes)
    cost = np.square(np.subtract.outer(np.arange(classes), np.arange(classes)))
    chance = (np.outer(matrix.sum(axis=1), matrix.sum(axis=0)) * cost).sum() / len(true)
    return 1 - (matrix * cost).sum() / chance if chance else -np.inf


def _best_threshold(label: np.ndarray, scores: np.ndarray) -> float:
    if not label.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.r_[ordered[1:] != ordered[:-1], True]  # between equal scores there is no threshold
    found, flagged = np.cumsum(label[order])[last], np.arange(1, len(scores) + 1)[last]
    values = 2 * found / (label.sum() + flagged)
    distinct = ordered[last]
    thresholds = np.r_[(distinct[:-1] + distinct[1:]) / 2, min(distinct[-1], 0.5)]
    equal = np.flatnonzero(values >= values.max() - _TOLERANCE)
    return float(thresholds[equal[np.argmin(np.abs(thresholds[equal] - 0.5))]])


def _best_factor(true: np.ndarray, probabilities: np.ndarray, multipliers: np.ndarray, label: int) -> float:
    """The factor of one class under which macro F1 is largest while the others stay as they are."""
    others = probabilities * multipliers
    others[:, label] = -1
    instead = others.argmax(axis=1)
    with np.errstate(divide="ignore"):
        needed = others.max(axis=1) / probabilities[:, label]  # an image goes to `label` above this factor
    usable = np.isfinite(needed) & (needed > 0)
    order = np.flatnonzero(usable)[np.argsort(needed[usable], kind="stable")]
    steps = needed[order]
    if not len(steps):
        return float(multipliers[label])
    always = np.where(needed == 0, label, instead)
    values = _macro_f1_as_images_move(true, always, order, label, len(multipliers))
    # After t images have moved, the factor lies between the t-th and the next of the factors needed.
    factors = np.sqrt(np.r_[steps[0] / 4, steps] * np.r_[steps, steps[-1] * 4])
    values[1:-1][steps[1:] == steps[:-1]] = -1
    equal = np.flatnonzero(values >= values.max() - _TOLERANCE)
    return float(factors[equal[np.argmin(np.abs(np.log(factors[equal] / multipliers[label])))]])


def _macro_f1_as_images_move(
    true: np.ndarray, start: np.ndarray, order: np.ndarray, label: int, classes: int
) -> np.ndarray:
    """Macro F1 when the first 0, 1, ... images of `order` are given to `label` instead of `start`: float (moved + 1,)."""
    matrix = confusion_matrix(true, start, classes)
    hits, predicted, actual = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    lost = np.eye(classes)[start[order]]
    none = np.zeros((1, classes))
    lost_hits = np.r_[none, np.cumsum(lost * (true[order] == start[order])[:, None], axis=0)]
    lost_predicted = np.r_[none, np.cumsum(lost, axis=0)]
    hits, predicted = hits - lost_hits, predicted - lost_predicted
    hits[:, label] += np.r_[0, np.cumsum(true[order] == label)]
    predicted[:, label] += np.arange(len(order) + 1)
    present = actual > 0
    return (2 * hits[:, present] / (actual + predicted)[:, present]).mean(axis=1)
