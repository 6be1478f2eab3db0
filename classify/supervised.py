"""Supervised training of a classifier, as Lightning steps.

Everything random in a step comes from (seed, step), so that a killed run continues bit for bit on a CPU.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch.nn import functional

from .augmentation import make_augmentation
from .backbones import Classifier
from .images import ImageSource, to_batch
from .options import TrainingOptions
from .sampling import DrawSequence

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class SupervisedTraining(LightningModule):
    """A classifier and what it learns from. Its "batches" are step numbers: the images are drawn here.

    Args:
        model: the classifier.
        source: training images.
        labels: int (n,).
        options: how.
        groups: int (n,), see `DrawSequence`.

    Attributes:
        steps_done: how many steps the weights have seen.
        losses: detached cross-entropies of the steps since the last evaluation.
    """

    def __init__(
        self,
        model: Classifier,
        source: ImageSource,
        labels: np.ndarray,
        options: TrainingOptions,
        groups: np.ndarray | None = None,
    ):
        super().__init__()
        self.model, self.options = model, options
        self.source, self.labels = source, labels
        self.draws = DrawSequence(labels, options.sampling, options.seed, groups)
        self.augment = make_augmentation(options.augment)
        self.steps_done = 0
        self.losses: list[torch.Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser that the options name."""
        options = {"lr": self.options.resolved_learning_rate, "weight_decay": self.options.weight_decay}
        if self.options.optimizer == "sgd":
            options["momentum"] = 0.9
        return _OPTIMIZERS[self.options.optimizer](self.model.parameters(), **options)

    def training_step(self, step: int) -> torch.Tensor:
        """The cross-entropy of step number `step`."""
        for group in self.optimizers().param_groups:
            group["lr"] = learning_rate(self.options, step)
        chosen = self.draws.batch(step, self.options.batch_size)
        seed = int(np.random.SeedSequence((self.options.seed, step)).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator(self.device).manual_seed(seed)
        images = to_batch(self.source.take(chosen), self.device)
        images = self.augment(images, generator, self.source.discs[chosen])
        truth = torch.from_numpy(self.labels[chosen]).to(self.device)
        self.model.train()
        loss = functional.cross_entropy(self.model(images).float(), truth)
        self.losses.append(loss.detach())
        self.steps_done = step + 1
        return loss


def learning_rate(options: TrainingOptions, step: int) -> float:
    """The learning rate of a step: constant, or falling from the first to 0 along half a cosine."""
    if options.schedule == "constant":
        return options.resolved_learning_rate
    return options.resolved_learning_rate * 0.5 * (1 + math.cos(math.pi * step / options.steps))
