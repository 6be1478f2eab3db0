"""What a page of explanations shows: of each class, label or direction the best, worst and most uncertain cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...runtime.errors import UserError
from ..checkpoint import About
from .scores import HIGHER, LOWER, Scores


@dataclass(frozen=True)
class Topic:
    """One section of the page.

    Attributes:
        name: heading, and the beginning of its files' names.
        target: which of the scores the maps are about.
        evidence: what the maps show, a sentence's subject.
        cases: {"best" | "worst" | "uncertain" | "lowest": indices of images}; empty when there is none.
        captions: what is said of each of them, in that order.
    """

    name: str
    target: int
    evidence: str
    cases: dict[str, np.ndarray]
    captions: tuple[str, ...]

    @property
    def members(self) -> np.ndarray:
        """The indices of all cases, in order: int (m,)."""
        return np.concatenate([*self.cases.values(), np.zeros(0, dtype=int)]).astype(int)


def topics(
    about: About, scores: Scores, labels: np.ndarray, told: np.ndarray, count: int, wanted: Sequence[str] = ()
) -> list[Topic]:
    """The sections for a classifier's target.

    Of one class of several, and of labels, best and worst have the highest and lowest probability of a class that the image has,
    and uncertain ones the highest entropy. A number has no uncertain case: best and worst are the nearest and furthest
    predictions, and the lowest predictions stand beside them. Of grades told by a number there is a section for each.

    Args:
        labels: of the target, see `wider_targets.target_of`.
        told: what the classifier says, (n, k), see `predictions.predict_images`.
        count: images of each kind.
        wanted: names of scores; by default all classes, of haemoglobin "lower", of a grade's number "higher".

    Raises:
        UserError: a name that is not one of the scores.
    """
    for name in wanted:
        if name not in scores.names:
            raise UserError(f"--target {name!r} is not known here", hint=f"Use {', '.join(scores.names)}.")
    if about.target == HEMOGLOBIN:
        return [_of_hemoglobin(scores, labels, told[:, 0], name, count) for name in wanted or [LOWER]]
    if scores.directed:
        return [
            _of_grade(about, scores, labels, told, k, name, count)
            for name in wanted or [HIGHER]
            for k in range(len(about.classes))
        ]
    chosen = [k for k, name in enumerate(about.classes) if not wanted or name in wanted]
    return [_of_class(about, labels, told, k, count) for k in chosen]


def select_cases(labels: np.ndarray, probabilities: np.ndarray, of_class: int, count: int) -> dict[str, np.ndarray]:
    """{"best" | "worst" | "uncertain": indices of images of one class, at most `count`}; empty when the class has none.

    An image is in one group only, best first.
    """
    members = np.flatnonzero(labels == of_class)
    if not len(members):
        return {}
    certainty = probabilities[members, of_class]
    entropy = -(probabilities[members] * np.log(np.maximum(probabilities[members], 1e-12))).sum(axis=1)
    return _groups(members, {"best": -certainty, "worst": certainty, "uncertain": -entropy}, count)


def _groups(members: np.ndarray, orders: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """The first `count` members in each order that are in no group before."""
    chosen: dict[str, np.ndarray] = {}
    taken: set[int] = set()
    for group, order in orders.items():
        ranked = [index for index in members[np.argsort(order, kind="stable")] if index not in taken]
        chosen[group] = np.array(ranked[:count], dtype=int)
        taken.update(ranked[:count])
    return chosen


def _of_class(about: About, labels: np.ndarray, told: np.ndarray, k: int, count: int) -> Topic:
    name = about.classes[k]
    if about.target == MULTILABEL:
        cases = select_cases((labels[:, k] > 0).astype(int), np.stack([1 - told[:, k], told[:, k]], axis=1), 1, count)
        evidence = f"Evidence for {name} in images that have this label"
    else:
        cases = select_cases(labels, told, k, count)
        evidence = f"Evidence for {name} in images that are {name}"
    captions = tuple(f"{kind}: p = {told[i, k]:.2f}" for kind, group in cases.items() for i in group)
    return Topic(name, k, evidence, cases, captions)


def _of_grade(
    about: About, scores: Scores, labels: np.ndarray, told: np.ndarray, k: int, direction: str, count: int
) -> Topic:
    grades = np.array([float(name) for name in about.classes])
    values = told @ grades
    cases = select_cases(labels, told, k, count)
    captions = tuple(
        f"{kind}: p = {told[i, k]:.2f}, mean grade {values[i]:.1f}" for kind, group in cases.items() for i in group
    )
    name = about.classes[k]
    return Topic(f"{name}-{direction}", scores.names.index(direction),
                 f"What makes the grade {direction} in images of grade {name}", cases, captions)  # fmt: skip


def _of_hemoglobin(scores: Scores, measured: np.ndarray, told: np.ndarray, direction: str, count: int) -> Topic:
    error = np.abs(told - measured)
    cases = _groups(np.arange(len(told)), {"best": error, "worst": -error, "lowest": told}, count)
    captions = tuple(
        f"{kind}: told {told[i]:.1f}, measured {measured[i]:.1f} g/dL" for kind, group in cases.items() for i in group
    )
    return Topic(direction, scores.names.index(direction), f"What makes haemoglobin {direction}", cases, captions)
