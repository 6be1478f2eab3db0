"""Supervised training of a classifier, as Lightning steps.

Everything random in a step comes from (seed, step), so that a killed run continues bit for bit on a CPU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule

from ..runtime.training import update_average
from .augmentation import make_augmentation
from .backbones import Classifier
from .images import ImageSource, to_batch
from .options import TrainingOptions
from .sampling import DrawSequence
from .tasks import ONE_CLASS, Task

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


class SupervisedTraining(LightningModule):
    """A classifier and what it learns from. Its "batches" are step numbers: the images are drawn here.

    Args:
        model: the classifier.
        source: training images.
        labels: (n,) or (n, k), see `tasks`.
        options: how.
        groups: int (n,), see `DrawSequence`.
        task: what the labels mean.

    Attributes:
        steps_done: how many steps the weights have seen.
        losses: detached losses of the steps since the last evaluation.
        halvings: how often a plateau has halved the learning rate.
        average: the moving average of the model, in evaluation mode; None when the options want none.
    """

    def __init__(
        self,
        model: Classifier,
        source: ImageSource,
        labels: np.ndarray,
        options: TrainingOptions,
        groups: np.ndarray | None = None,
        task: Task = ONE_CLASS,
    ):
        super().__init__()
        self.model, self.options, self.task = model, options, task
        self.source, self.labels = source, labels
        self.draws = DrawSequence(task.strata(labels), options.sampling, options.seed, groups)
        self.augment = make_augmentation(options.augment)
        self.steps_done = self.halvings = 0
        self.losses: list[torch.Tensor] = []
        self.average = copy.deepcopy(model).eval().requires_grad_(False) if options.average_steps else None
        weights = task.weights(labels, model.classes) if options.class_weights else None
        self.register_buffer("class_weights", weights, persistent=False)

    @property
    def kept(self) -> Classifier:
        """The model that is evaluated and saved: the average where there is one."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser that the options name."""
        options = {"lr": self.options.resolved_learning_rate, "weight_decay": self.options.weight_decay}
        if self.options.optimizer == "sgd":
            options["momentum"] = 0.9
        return _OPTIMIZERS[self.options.optimizer](self._learned(), **options)

    def _learned(self) -> Iterable:
        if self.options.backbone_rate == 1:
            return self.model.parameters()
        backbone, head = self.model.backbone_parameters(), self.model.head_parameters()
        return [{"params": backbone, "share": self.options.backbone_rate}, {"params": head}]

    def training_step(self, step: int) -> torch.Tensor:
        """The loss of step number `step`."""
        for group in self.optimizers().param_groups:
            group["lr"] = learning_rate(self.options, step, self.halvings) * group.get("share", 1.0)
        chosen = self.draws.batch(step, self.options.batch_size)
        seed = int(np.random.SeedSequence((self.options.seed, step)).generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator(self.device).manual_seed(seed)
        images = to_batch(self.source.take(chosen), self.device)
        images = self.augment(images, generator, self.source.discs[chosen])
        truth = torch.from_numpy(self.labels[chosen]).to(self.device)
        self._set_modes(step)
        loss = self._mixed_loss(images, truth, seed) if self.options.mixup else self._loss(self.model(images), truth)
        self.losses.append(loss.detach())
        self.steps_done = step + 1
        return loss

    def optimizer_step(self, *args: Any, **more: Any) -> None:
        """The optimiser's step, then the average's."""
        super().optimizer_step(*args, **more)
        if self.average is not None:
            done = self.steps_done
            # Shorter at first, so that the weights training began with are forgotten.
            decay = min(0.5 ** (1 / self.options.average_steps), done / (9 + done))
            update_average(self.average, self.model, decay)

    def _set_modes(self, step: int) -> None:
        """Training mode, and gradients; while the backbone is frozen, of the head alone."""
        self.model.train()
        if not self.options.freeze_steps:
            return
        frozen = step < self.options.freeze_steps
        for parameter in self.model.backbone_parameters():
            parameter.requires_grad_(not frozen)
        if frozen:
            self.model.network.eval()  # also the statistics of batch normalisation stay
            for module in self.model.head_modules():
                module.train()

    def _loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return self.task.loss(logits, truth, self.model.head, self.class_weights, self.options.label_smoothing)

    def _mixed_loss(self, images: torch.Tensor, truth: torch.Tensor, seed: int) -> torch.Tensor:
        """Mixup: each image is blended with another of its batch, and the loss is the same blend of the losses for the
        two truths, which for a cross-entropy is Zhang et al.'s blend of the labels."""
        random = np.random.default_rng(seed)
        share = float(random.beta(self.options.mixup, self.options.mixup))
        partners = torch.from_numpy(random.permutation(len(truth))).to(truth.device)
        logits = self.model(share * images + (1 - share) * images[partners])
        return share * self._loss(logits, truth) + (1 - share) * self._loss(logits, truth[partners])


def learning_rate(options: TrainingOptions, step: int, halvings: int = 0) -> float:
    """The learning rate of a step: constant, halved so often on a plateau, or falling from the first to 0 along half a
    cosine."""
    if options.schedule != "cosine":
        return options.resolved_learning_rate * 0.5**halvings
    return options.resolved_learning_rate * 0.5 * (1 + math.cos(math.pi * step / options.steps))
