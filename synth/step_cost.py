"""What one step of a model's training costs on this machine: a few real steps, timed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer

from ..data.dataset import FundusDataset
from ..runtime.training import run_steps
from .generator_training import GeneratorTraining
from .held_back import ALL_CLASSES
from .models import Wanted, model_named
from .train import Options, where_and_how

_WARMING_UP = 2
_TIMED = 16  # twice the period of lazy regularisation
_ENOUGH_SECONDS = 30.0
_IMAGES = 64


@dataclass(frozen=True)
class StepCost:
    """What a model costs.

    Attributes:
        model: its name.
        batch_size: real images of a step.
        seconds: of one step, mean.
        memory: bytes; on a GPU what PyTorch reserved there, else the most this process has used since it began.
        disk: bytes of a run: the weights, and the state that `--resume` reads, twice (the newest and the best).
    """

    model: str
    batch_size: int
    seconds: float
    memory: int
    disk: int

    @property
    def images_per_second(self) -> float:
        """Real images a second."""
        return self.batch_size / self.seconds


def time_steps(
    dataset: FundusDataset, label: str, model: str, size: int, *, batch_size: int | None = None, device: str = "auto",
    precision: str = "auto", projection: str = "auto", projection_weights: str | None = None,
) -> StepCost:  # fmt: skip
    """Train a few steps on up to 64 images of `dataset` and throw the result away; after 30 seconds 8 steps must do.

    Args:
        label: the class whose generator is trained; models that share a start are timed on all classes.
        model: a key of `models.MODELS`.
        projection, projection_weights: of a light generator, as in `train`.

    Raises:
        UserError: no such model or class, options that it does not take, or an unreadable image.
    """
    chosen = model_named(model)
    if chosen.shares_start:
        label = ALL_CLASSES
    of_class = dataset if label == ALL_CLASSES else dataset.of_class(label)
    few = of_class.subset(np.linspace(0, len(of_class) - 1, min(_IMAGES, len(of_class))).astype(int))
    # A model that translates takes as long whatever it translates from.
    source = few if chosen.translates else None
    classes = tuple(dataset.class_counts())
    training = chosen.make(
        Wanted(
            few, label, classes, size, batch_size, "auto", 0, source,
            projection=projection, projection_weights=projection_weights,
        )
    )  # fmt: skip
    where, dtype = where_and_how(Options(model=model, device=device, precision=precision))
    clock = _Clock(where)
    # The steps after a head start of the discriminators, if there is one, are most of a training.
    first = getattr(training.recipe, "head_start", 0)
    run_steps(training, range(first, first + _WARMING_UP + _TIMED), clock, where, dtype)
    return StepCost(model, training.batch_size, clock.seconds, _memory(where), _disk(training))


class _Clock(Callback):
    def __init__(self, device: torch.device):
        self.device = device
        self.ends: list[float] = []

    @property
    def seconds(self) -> float:
        """Of one step, after the first ones."""
        return (self.ends[-1] - self.ends[_WARMING_UP - 1]) / (len(self.ends) - _WARMING_UP)

    def on_train_batch_end(
        self, trainer: Trainer, training: GeneratorTraining, outputs: object, batch: int, batch_idx: int
    ) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(time.monotonic())
        timed = len(self.ends) - _WARMING_UP
        late = self.ends[-1] - self.ends[0] > _ENOUGH_SECONDS
        trainer.should_stop = late and timed >= _TIMED // 2


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def _disk(training: GeneratorTraining) -> int:
    networks = sum(tensor.nbytes for tensor in training.state_dict().values())
    moments = 2 * sum(parameter.nbytes for parameter in training.parameters() if parameter.requires_grad)
    kept = sum(tensor.nbytes for network in training.kept.values() for tensor in network.state_dict().values())
    return 2 * (networks + moments) + kept
