"""What a training leaves behind while it runs: metrics, the classifier, and the state for `--resume`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer

from ..runtime.errors import JobError
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder
from ..runtime.training import read_state, save_state
from .checkpoint import About, save_classifier
from .images import ImageSource
from .predictions import predict_images
from .supervised import SupervisedTraining
from .tasks import ONE_CLASS, Task

_STATE = "resume.pt"
_KEYS = {"step", "watch", "network", "average", "optimizer", "started_from"}
_PLATEAU = 3


@dataclass
class Watch:
    """What the evaluations so far say about going on.

    Attributes:
        best: highest `Task.quality` on the validation images: of one class an image the macro F1.
        since_best: evaluations since.
        lowest: lowest validation loss.
        since_lowest: evaluations since, or since the learning rate was last halved.
        halvings: how often it was.
    """

    best: float = -math.inf
    since_best: int = 0
    lowest: float = math.inf
    since_lowest: int = 0
    halvings: int = 0

    def see(self, row: dict[str, float], frozen: bool, task: Task = ONE_CLASS) -> bool:
        """Take in a row of metrics.csv; whether it is the best so far. A frozen backbone uses up no patience."""
        quality, loss = task.sign * row[task.quality], row[task.loss_column]
        better, lower = quality > self.best, loss < self.lowest
        self.best, self.lowest = max(self.best, quality), min(self.lowest, loss)
        self.since_best = 0 if better or frozen else self.since_best + 1
        self.since_lowest = 0 if lower or frozen else self.since_lowest + 1
        if self.since_lowest == _PLATEAU:
            self.since_lowest, self.halvings = 0, self.halvings + 1
        return better

    def stops(self, patience: int) -> bool:
        """Whether that many evaluations brought nothing better; never with a patience of 0."""
        return 0 < patience <= self.since_best


class Recorder(Callback):
    """Evaluates every `evaluate_every` steps and at the end, and saves at the same moments.

    Args:
        run: where to.
        about: what classifier.json says.
        validation: images and labels that metrics.csv is about.
        progress: an open progress bar that counts steps.
        state: what to resume from, see `read_training`.
        task: what is learned.
    """

    def __init__(
        self,
        run: RunFolder,
        about: About,
        validation: tuple[ImageSource, np.ndarray],
        progress: Progress,
        state: dict | None,
        task: Task = ONE_CLASS,
    ):
        self.run, self.about, self.validation, self.progress, self.state = run, about, validation, progress, state
        self.task = task
        self.watch = Watch(**state["watch"]) if state else Watch()

    def on_train_start(self, trainer: Trainer, training: SupervisedTraining) -> None:
        """Continue the optimiser where the state was saved."""
        if self.state:
            trainer.optimizers[0].load_state_dict(self.state["optimizer"])

    def on_train_batch_end(
        self, trainer: Trainer, training: SupervisedTraining, outputs: object, batch: int, batch_idx: int
    ) -> None:
        """Count; evaluate and save when it is time."""
        self.progress.advance()
        done, options = training.steps_done, training.options
        if done % options.evaluate_every == 0 or done == options.steps:
            row = evaluate_step(training, *self.validation)
            self._save(trainer, training, row)
            self.progress.advance(0, loss=row["train_loss"], **{self.task.quality: row[self.task.quality]})
            training.halvings = self.watch.halvings if options.schedule == "plateau" else 0
            if self.watch.stops(options.patience):
                self.progress.note(f"stopped after {done} steps: {options.patience} evaluations brought nothing better")
                trainer.should_stop = True

    def _save(self, trainer: Trainer, training: SupervisedTraining, row: dict[str, float]) -> None:
        better = self.watch.see(row, training.steps_done <= training.options.freeze_steps, self.task)
        if better or training.options.keep == "last":
            save_classifier(self.run.checkpoints, training.kept, self.about)
        self.run.log_metrics(row)
        if trainer.logger is not None:
            figures = {name: value for name, value in row.items() if name != "step"}
            trainer.logger.log_metrics(figures, int(row["step"]))
        # Last: a kill before this repeats the evaluation, and its row of metrics.csv is dropped on resuming.
        state = {
            "step": training.steps_done,
            "watch": asdict(self.watch),
            "network": training.model.network.state_dict(),
            "average": None if training.average is None else training.average.network.state_dict(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "started_from": training.model.loaded,
        }
        save_state(self.run.checkpoints / _STATE, state)


def evaluate_step(training: SupervisedTraining, images: ImageSource, labels: np.ndarray) -> dict[str, float]:
    """One row of metrics.csv: step, epoch, train_loss (mean since the last row), and val_<metric>, see `tasks`.

    Raises:
        JobError: the training loss is no longer finite.
    """
    train_loss = float(torch.stack(training.losses).mean())
    training.losses.clear()
    if not math.isfinite(train_loss):
        raise JobError(f"the loss became {train_loss} by step {training.steps_done}; try a smaller --learning-rate")
    epoch = training.steps_done * training.options.batch_size / len(training.source)
    told = predict_images(training.kept, images, device=training.device, task=training.task)
    return {
        "step": training.steps_done, "epoch": epoch, "train_loss": train_loss, **training.task.validation(labels, told)
    }  # fmt: skip


def read_training(run: RunFolder) -> dict | None:
    """What the Recorder saved last: step, watch, network, average, optimizer, started_from; None when nothing yet.

    Raises:
        UserError: the file is damaged or not ours.
    """
    return read_state(run.checkpoints / _STATE, _KEYS)
