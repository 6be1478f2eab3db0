"""How to train a classifier; every count is in optimiser steps, never in epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..runtime.errors import UserError
from .heads import HEADS, LINEAR, ORDERED
from .sampling import SAMPLINGS

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant", "plateau")
KEEP = ("last", "best")
_LEAST = {
    "steps": 1,
    "batch_size": 2,
    "evaluate_every": 1,
    "size": 32,
    "weight_decay": 0,
    "freeze_steps": 0,
    "patience": 0,
    "label_smoothing": 0,
    "mixup": 0,
    "average_steps": 0,
}


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; every count is in optimiser steps.

    Attributes:
        backbone, size, weights, pretrained: as in `create_backbone`.
        head: what turns features into logits, see `heads`.
        steps: optimiser steps in all.
        batch_size: images a step.
        learning_rate: the first (cosine falls from it to 0); None chooses 1e-3 from random weights, 3e-4 otherwise.
        optimizer: "adamw", "adam" or "sgd" (momentum 0.9).
        schedule: "cosine", "constant", or "plateau": halved when the validation loss has not fallen for 3 evaluations.
        freeze_steps: so many steps train the head alone, on a backbone in evaluation mode; then the whole network learns.
        backbone_rate: learning rate of the backbone as a share of the head's, above 0 and up to 1.
        patience: stop when so many evaluations in a row brought no better validation macro F1; 0 never stops. Evaluations
            of a frozen backbone do not count.
        label_smoothing: share of the truth that is spread over all classes (Szegedy et al. 2016, section 7), 0 to below 1.
        mixup: a of the Beta(a, a) that mixes pairs of images (Zhang et al. 2018); 0 mixes none.
        class_weights: weight the loss of each class by the inverse of its frequency; with "natural" sampling only.
        average_steps: half-life of the moving average of the weights, in steps. It is then the average that is evaluated
            and kept; 0 keeps the weights themselves.
        sampling: "balanced" or "natural", see `DrawSequence`.
        augment: see `make_augmentation`.
        evaluate_every: steps between evaluations on the validation images, which are also the resume points.
        keep: "last" keeps the final weights (arms at equal cost), "best" those with the highest validation macro F1
            (of other targets than one class an image: of what `tasks` says).
        device, precision: as in runtime.devices.
    """

    backbone: str = "simple_cnn"
    size: int = 64
    weights: str | None = None
    pretrained: bool = False
    head: str = LINEAR
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float | None = None
    optimizer: str = "adamw"
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    freeze_steps: int = 0
    backbone_rate: float = 1.0
    patience: int = 0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    class_weights: bool = False
    average_steps: int = 0
    sampling: str = "balanced"
    augment: str = "default"
    evaluate_every: int = 100
    keep: str = "last"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise UserError(f"{name} is {getattr(self, name)}, at least {least} was expected")
        if not 0 < self.backbone_rate <= 1:
            raise UserError(
                f"backbone_rate is {self.backbone_rate}, a share above 0 and up to 1 was expected",
                hint="To train the head alone, freeze the backbone.",
            )
        if self.label_smoothing >= 1:
            raise UserError(f"label_smoothing is {self.label_smoothing}, a share below 1 was expected")
        if self.label_smoothing and self.head in ORDERED:
            raise UserError(f"label smoothing is not defined for the {self.head} head", hint="Leave one of them out.")
        if self.class_weights and self.sampling == "balanced":
            raise UserError(
                "class weights and balanced sampling would correct for rare classes twice", hint="Use natural sampling."
            )
        words = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "keep": KEEP, "sampling": SAMPLINGS, "head": HEADS}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} {getattr(self, name)!r} is not known", hint=f"Use {', '.join(known)}.")

    @property
    def resolved_learning_rate(self) -> float:
        """The learning rate, chosen when it was not given."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.weights or self.pretrained else 1e-3
