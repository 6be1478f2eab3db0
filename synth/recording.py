"""What a training leaves behind while it runs: checkpoints, sample sheets, an animation, figures, a progress bar."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
from PIL import Image
from pytorch_lightning import Callback, Trainer

from ..data.image_file import write_image
from ..runtime.errors import JobError
from ..runtime.files import atomic_path
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder
from .adversarial import AdversarialTraining
from .checkpoint import GeneratorInfo, save_generator
from .generate import sample
from .training_state import restore_optimizers, save_training

_LOG_EVERY = 25
_SHEET_SIDE = 6


class Recorder(Callback):
    """Saves every `save_every` steps and at the end, logs every 25, and stops when the time is over.

    Args:
        run: where to.
        info: description of the generator; its steps are filled in.
        state: what to resume the optimisers from, or None.
        progress: an open progress bar that counts images.
        save_every: steps between checkpoints and sample sheets.
        minutes: stop after this long, or None.
    """

    def __init__(
        self, run: RunFolder, info: GeneratorInfo, state: dict | None, progress: Progress,
        save_every: int, minutes: float | None,
    ):  # fmt: skip
        self.run, self.info, self.state, self.progress = run, info, state, progress
        self.save_every, self.seconds = save_every, math.inf if minutes is None else 60 * minutes

    def on_train_start(self, trainer: Trainer, training: AdversarialTraining) -> None:
        """Continue the optimisers where the state was saved."""
        if self.state is not None:
            restore_optimizers(trainer, self.state)
        self._began, self._first = time.monotonic(), training.steps_done

    def on_train_batch_end(
        self, trainer: Trainer, training: AdversarialTraining, outputs: object, batch: int, batch_idx: int
    ) -> None:
        """Count, log, save, stop."""
        done, elapsed = training.steps_done, time.monotonic() - self._began
        if math.isfinite(self.seconds):
            rate = (done - self._first) / elapsed
            self.progress.total = round((done + rate * max(0.0, self.seconds - elapsed)) * training.recipe.batch_size)
            trainer.should_stop = elapsed >= self.seconds
        self.progress.advance(training.recipe.batch_size)
        if done % _LOG_EVERY == 0:
            self._log(trainer, training)
        if done % self.save_every == 0:
            self._save(trainer, training)

    def on_train_end(self, trainer: Trainer, training: AdversarialTraining) -> None:
        """Save the last step, unless it just was, and put the sample sheets together."""
        if training.steps_done % self.save_every:
            self._save(trainer, training)
        write_animation(self.run)

    def _log(self, trainer: Trainer, training: AdversarialTraining) -> None:
        figures = check_figures(training)
        self.progress.advance(0, **figures)
        figures["images_per_second"] = round(self.progress.rate, 1)
        trainer.logger.log_metrics(figures, step=training.steps_done)
        self.run.log_metrics({"step": training.steps_done, **figures})

    def _save(self, trainer: Trainer, training: AdversarialTraining) -> None:
        check_figures(training)
        save_training(self.run, training, trainer)
        save_generator(self.run.checkpoints, training.average, replace(self.info, steps=training.steps_done))
        sheet = sample_sheet(sample(training.average, list(range(_SHEET_SIDE**2))))
        write_image(self.run.samples / f"step_{training.steps_done:07d}.png", sheet)


def check_figures(training: AdversarialTraining) -> dict[str, float]:
    """The figures of the last step as numbers.

    Raises:
        JobError: one of them is not finite, so nothing after it is worth saving.
    """
    figures = {name: round(float(value), 5) for name, value in training.figures.items()}
    if not all(map(math.isfinite, figures.values())):
        raise JobError(
            f"the training broke down at step {training.steps_done} (a loss is not a number); "
            "the last checkpoint is from before. Start again with another --seed or --precision 32"
        )
    return figures


def sample_sheet(images: np.ndarray) -> np.ndarray:
    """Lay uint8 (n * n, size, size, 3) images out as one square sheet, row by row."""
    side, size = math.isqrt(len(images)), images.shape[1]
    rows = images.reshape(side, side, size, size, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows.reshape(side * size, side * size, 3))


def write_animation(run: RunFolder, milliseconds: int = 200) -> None:
    """samples/training.gif: the sample sheets one after another, the last one shown longer."""
    sheets = [Image.open(path).convert("RGB") for path in sorted(run.samples.glob("step_*.png"))]
    durations = [milliseconds] * (len(sheets) - 1) + [10 * milliseconds]
    with atomic_path(run.samples / "training.gif") as path:
        sheets[0].save(path, save_all=True, append_images=sheets[1:], duration=durations, loop=0)
