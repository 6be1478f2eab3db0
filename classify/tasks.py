"""What a network learns and how its outputs are read: one class of several, any of several labels, or one number.

The target of a run says which (`task_of`); everything that fits, records or predicts asks the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from ..data.targets import HEMOGLOBIN, MULTILABEL
from ..runtime.errors import UserError
from .backbones import Classifier
from .heads import LINEAR, ORDERED, ORDINAL, REGRESSION, corn_loss, regression_loss
from .metrics import binary_auroc, binary_average_precision, score
from .options import TrainingOptions

_CLASS_METRICS = ("log_loss", "accuracy", "macro_f1", "f1", "recall", "auroc")
_FLOOR = 1e-15


class Task(Protocol):
    """What is learned, as training and prediction see it.

    Attributes:
        quality: column of metrics.csv whose highest value marks the best weights; its lowest where `sign` is -1.
        loss_column: column whose lowest value a plateau waits for.
    """

    quality: str
    sign: int
    loss_column: str

    def told(self, outputs: torch.Tensor) -> torch.Tensor:
        """What a network's outputs (n, k) say, float64 (n, k)."""

    def loss(
        self, outputs: torch.Tensor, truth: torch.Tensor, head: str, weights: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Of a batch; weights see `weights`, smoothing see `TrainingOptions.label_smoothing`."""

    def weights(self, labels: np.ndarray, classes: int) -> torch.Tensor:
        """Loss weights of the classes by the training labels, for the option class_weights: float32 (classes,)."""

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The classes that balanced sampling deals its draws to: int (n,)."""

    def check_options(self, options: TrainingOptions) -> None:
        """Refuse options that are not for this task.

        Raises:
            UserError: such an option.
        """

    def check(self, labels: np.ndarray, classes: Sequence[str]) -> None:
        """Refuse training labels that nothing can be learned from.

        Raises:
            UserError: such labels.
        """

    def prepare(self, model: Classifier, labels: np.ndarray) -> None:
        """Set what the training labels say of a new network."""

    def validation(self, labels: np.ndarray, told: np.ndarray) -> dict[str, float]:
        """Metrics of the validation images for a row of metrics.csv, by column."""


class OneClass:
    """One class of several, labels int (n,): cross-entropy, or what the head learns by; outputs are logits."""

    quality, sign, loss_column = "val_macro_f1", 1, "val_log_loss"

    def told(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probabilities; each row sums to 1."""
        return torch.softmax(outputs.double(), dim=1)

    def loss(
        self, outputs: torch.Tensor, truth: torch.Tensor, head: str, weights: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Outputs float (n, k), truth int64 (n,)."""
        if head == ORDINAL:
            return corn_loss(outputs, truth, weights)
        if head == REGRESSION:
            return regression_loss(outputs, truth, weights)
        return functional.cross_entropy(outputs.float(), truth, weights, label_smoothing=smoothing)

    def weights(self, labels: np.ndarray, classes: int) -> torch.Tensor:
        """Every class counts as much: images / (classes x images of the class)."""
        counts = np.bincount(labels, minlength=classes)
        return torch.from_numpy(len(labels) / (classes * counts)).float()

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """The classes."""
        return labels

    def check_options(self, options: TrainingOptions) -> None:
        """All are for this task."""

    def check(self, labels: np.ndarray, classes: Sequence[str]) -> None:
        """Refuse fewer than two classes, or one without training images."""
        missing = [name for k, name in enumerate(classes) if not (labels == k).any()]
        if missing or len(classes) < 2:
            raise UserError(
                f"cannot train on {len(classes)} classes, of which {missing or 'none'} have no training images"
            )

    def prepare(self, model: Classifier, labels: np.ndarray) -> None:
        """Nothing: a head begins without a favourite."""

    def validation(self, labels: np.ndarray, told: np.ndarray) -> dict[str, float]:
        """f1, recall and auroc are of the positive class when there are two classes, macro averages otherwise."""
        return {f"val_{name}": float(score(name, labels, told)) for name in _CLASS_METRICS}


class ManyLabels:
    """Any of several labels, labels float (n, k) of 0 and 1: the binary cross-entropy of each; outputs are logits.

    The best weights are those with the highest validation macro AUROC, which needs no thresholds: they are chosen afterwards.
    """

    quality, sign, loss_column = "val_macro_auroc", 1, "val_log_loss"

    def told(self, outputs: torch.Tensor) -> torch.Tensor:
        """Probabilities, each label's own."""
        return torch.sigmoid(outputs.double())

    def loss(
        self, outputs: torch.Tensor, truth: torch.Tensor, head: str, weights: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Outputs and truth float (n, k); averaged over images and labels."""
        return functional.binary_cross_entropy_with_logits(outputs.float(), truth.float(), pos_weight=weights)

    def weights(self, labels: np.ndarray, classes: int) -> torch.Tensor:
        """How much a present label counts against an absent one: images without it / images with it."""
        present = labels.sum(axis=0)
        return torch.from_numpy((len(labels) - present) / present).float()

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """An image is dealt as the rarest of its labels; those without any are a class of their own."""
        rarity = np.where(labels > 0, labels.sum(axis=0), np.inf)
        return np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])

    def check_options(self, options: TrainingOptions) -> None:
        """Refuse heads and smoothing that are for one class an image."""
        _refuse_class_options(options, "several labels an image")

    def check(self, labels: np.ndarray, classes: Sequence[str]) -> None:
        """Refuse a label that no training image has, or that every one has."""
        same = [name for name, column in zip(classes, labels.T, strict=True) if column.min() == column.max()]
        if same:
            raise UserError(f"cannot learn {', '.join(same)}: all training images agree on it")

    def prepare(self, model: Classifier, labels: np.ndarray) -> None:
        """Nothing."""

    def validation(self, labels: np.ndarray, told: np.ndarray) -> dict[str, float]:
        """log_loss is the binary cross-entropy, averaged over images and labels; macro averages are over labels."""
        kept = np.clip(told, _FLOOR, 1 - _FLOOR)
        losses = -np.where(labels > 0, np.log(kept), np.log(1 - kept))
        once, columns = np.ones((1, len(labels))), list(zip(labels.T > 0, told.T, strict=True))
        means = {
            f"val_macro_{name}": float(
                np.nanmean([function(positive, scores, once)[0] for positive, scores in columns])
            )
            for name, function in (("auroc", binary_auroc), ("average_precision", binary_average_precision))
        }
        return {"val_log_loss": float(losses.mean()), **means}


class OneNumber:
    """One number in units of its own, labels float (n,): squared error; the output is the number."""

    quality, sign, loss_column = "val_mae", -1, "val_squared_error"

    def told(self, outputs: torch.Tensor) -> torch.Tensor:
        """The number."""
        return outputs.double()

    def loss(
        self, outputs: torch.Tensor, truth: torch.Tensor, head: str, weights: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        """Outputs float (n, 1), truth float (n,)."""
        return functional.mse_loss(outputs[:, 0].float(), truth.float())

    def weights(self, labels: np.ndarray, classes: int) -> torch.Tensor:
        """There are no classes: `check_options` refuses weights for them."""
        raise ValueError("a number has no classes")

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """All images are one class: a number has nothing to balance."""
        return np.zeros(len(labels), dtype=int)

    def check_options(self, options: TrainingOptions) -> None:
        """Refuse heads, smoothing and weights that are for classes."""
        _refuse_class_options(options, "a number")
        if options.class_weights:
            raise UserError("class weights are not defined for a number", hint="Leave them out.")

    def check(self, labels: np.ndarray, classes: Sequence[str]) -> None:
        """Refuse training images that all have the same number."""
        if not len(labels) or labels.min() == labels.max():
            raise UserError(f"cannot learn {', '.join(classes)}: all training images agree on it")

    def prepare(self, model: Classifier, labels: np.ndarray) -> None:
        """Begin at the mean of the training labels, so that only the differences are to be learned."""
        layers = [layer for part in model.head_modules() for layer in part.modules()]
        biases = [layer.bias for layer in layers if getattr(layer, "bias", None) is not None]
        with torch.no_grad():
            biases[-1].fill_(float(labels.mean()))

    def validation(self, labels: np.ndarray, told: np.ndarray) -> dict[str, float]:
        """Mean squared and mean absolute error."""
        errors = told[:, 0] - labels
        return {"val_squared_error": float(np.square(errors).mean()), "val_mae": float(np.abs(errors).mean())}


ONE_CLASS, MANY_LABELS, ONE_NUMBER = OneClass(), ManyLabels(), OneNumber()


def task_of(target: str) -> Task:
    """The task of a target, see `checkpoint.About`."""
    return {MULTILABEL: MANY_LABELS, HEMOGLOBIN: ONE_NUMBER}.get(target, ONE_CLASS)


def check_head(head: str, target: str, classes: Sequence[str]) -> None:
    """Refuse a head that is for classes in their order where they have none.

    Raises:
        UserError: such a head with another target than grade, or with classes that do not ascend.
    """
    if (
        head in ORDERED
        and task_of(target) is ONE_CLASS
        and not (target == "grade" and list(classes) == sorted(classes, key=float))
    ):
        raise UserError(
            f"head {head} wants classes in their order, which only target grade with ascending classes has",
            hint="Use another head.",
        )


def _refuse_class_options(options: TrainingOptions, what: str) -> None:
    if options.head in ORDERED:
        raise UserError(f"head {options.head} is for target grade, not for {what}", hint=f"Use {LINEAR}.")
    if options.label_smoothing:
        raise UserError(f"label smoothing is not defined for {what}", hint="Leave it out.")
