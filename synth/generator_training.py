"""What every training of generators shares, whatever its networks and losses: the recorder and the watchdog see only this."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from ..runtime.processes import average_gradients, own_rows

# What the watchdog does to a training in trouble: smaller steps, and a discriminator that sees more disguise.
_SLOWER = 0.5
_MORE_DISGUISE = 0.15


class GeneratorTraining(LightningModule):
    """One training of one or more generators, a step at a time.

    Its "batches" are step numbers. Everything random in step k is drawn from a seed made of the run's seed and k, so the
    step counter is the whole random state: a run continued from a saved step is the run that was never interrupted.

    Args:
        seed: of everything random.

    Attributes:
        steps_done: how many steps the weights have seen.
        batch_size: real images of one step.
        figures: detached scalars of the last step.
        pace: scalar buffer; every learning rate is multiplied by it.
        disguise: scalar buffer in 0..1, how strongly the discriminator's images are augmented beyond the recipe's start.
    """

    batch_size: int

    def __init__(self, seed: int):
        super().__init__()
        self.automatic_optimization = False
        self.seed, self.steps_done = seed, 0
        self.figures: dict[str, Tensor] = {}
        self.register_buffer("pace", torch.ones(()))
        self.register_buffer("disguise", torch.zeros(()))

    @property
    def kept(self) -> dict[str, nn.Module]:
        """The networks to save, in evaluation mode: "generator", and others by the name of their sub-folder."""
        raise NotImplementedError

    def pictures(self, count: int) -> np.ndarray:
        """What the kept generator makes now, always of the same seeds: uint8 (count, size, size, 3) RGB."""
        raise NotImplementedError

    def adapt(self) -> None:
        """Take smaller steps and augment more, after the watchdog went back to the best state."""
        self.pace.mul_(_SLOWER)
        self.disguise.add_(_MORE_DISGUISE).clamp_(max=1.0)

    def set_learning_rate(self, rate: float) -> None:
        """Give every optimiser this learning rate."""
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def take_step(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        """One step down the gradient of `loss`, averaged over the processes that train together."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        average_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()

    def begin_step(self, step: int) -> None:
        """Seed everything random in step number `step`."""
        torch.manual_seed(seed_of(self.seed, step))

    def end_step(self, step: int, **figures: Tensor) -> None:
        """Count the step and keep its figures."""
        self.steps_done = step + 1
        self.figures = {name: value.detach() for name, value in figures.items()}

    def own_batch(self, step: int, count: int) -> Tensor:
        """Which of `count` images this process shows in step `step`: int64 (its share of the batch,)."""
        return batch_indices(step, self.batch_size, count, self.seed)[own_rows(self.batch_size)]


def seed_of(seed: int, *numbers: int | str) -> int:
    """A seed that depends on all its arguments: 48 bits, which every table reader keeps exactly."""
    digest = hashlib.sha256(repr((seed, *numbers)).encode()).digest()
    return int.from_bytes(digest[:6], "little")


def batch_indices(step: int, batch_size: int, count: int, seed: int) -> Tensor:
    """Which of `count` images step `step` shows: int64 (batch_size,).

    The steps walk through one endless stream of shuffled passes over the images, so every image is seen equally often.
    """
    first = step * batch_size
    passes = range(first // count, (first + batch_size - 1) // count + 1)
    stream = torch.cat([_shuffled_pass(number, count, seed) for number in passes])
    start = first - passes[0] * count
    return stream[start : start + batch_size]


def _shuffled_pass(number: int, count: int, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed_of(seed, "pass", number))
    return torch.randperm(count, generator=random)
