"""How to train a classifier; every count is in optimiser steps, never in epochs."""

from __future__ import annotations

from dataclasses import dataclass

from ..runtime.errors import UserError
from .sampling import SAMPLINGS

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
KEEP = ("last", "best")


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; every count is in optimiser steps.

    Attributes:
        backbone, size, weights, pretrained: as in `create_backbone`.
        steps: optimiser steps in all.
        batch_size: images a step.
        learning_rate: the first (cosine falls from it to 0); None chooses 1e-3 from random weights, 3e-4 otherwise.
        optimizer: "adamw", "adam" or "sgd" (momentum 0.9).
        schedule: "cosine" or "constant".
        sampling: "balanced" or "natural", see `DrawSequence`.
        augment: see `make_augmentation`.
        evaluate_every: steps between evaluations on the validation images, which are also the resume points.
        keep: "last" keeps the final weights (arms at equal cost), "best" those with the highest validation macro F1.
        device, precision: as in runtime.devices.
    """

    backbone: str = "simple_cnn"
    size: int = 64
    weights: str | None = None
    pretrained: bool = False
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float | None = None
    optimizer: str = "adamw"
    weight_decay: float = 1e-2
    schedule: str = "cosine"
    sampling: str = "balanced"
    augment: str = "default"
    evaluate_every: int = 100
    keep: str = "last"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 2), ("evaluate_every", 1), ("size", 32)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}, at least {least} was expected")
        words = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "keep": KEEP, "sampling": SAMPLINGS}
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} {getattr(self, name)!r} is not known", hint=f"Use {', '.join(known)}.")

    @property
    def resolved_learning_rate(self) -> float:
        """The learning rate, chosen when it was not given."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.weights or self.pretrained else 1e-3
