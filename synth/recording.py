"""What a training leaves behind while it runs: states, generators, sample sheets, an animation, figures, a progress bar."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
from PIL import Image
from pytorch_lightning import Callback, Trainer

from ..data.image_file import write_image
from ..runtime.errors import JobError
from ..runtime.files import atomic_path, make_folder
from ..runtime.processes import is_first, mean_over_processes, told_by_first
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder
from .checkpoint import GeneratorInfo, save_generator
from .generator_training import GeneratorTraining
from .quality import Measure
from .training_state import BEST as BEST_STATE
from .training_state import STATE, go_back, restore_optimizers, save_training
from .watchdog import ADAPT, BEST, GO_BACK, STOP, Verdict, Watchdog

_LOG_EVERY = 25
# More would measure better and cost more: a measurement should take a few percent of the time between two.
PICTURES_MEASURED = 256
QUALITY = "quality.csv"
_SHEET_SIDE = 6


class Recorder(Callback):
    """Saves every `save_every` steps and at the end, logs every 25, measures quality, and stops when the time is over.

    With a `measure` the best state is kept and the watchdog may go back to it; without one the last weights are kept.

    Args:
        run: where to.
        infos: description of each of the training's kept networks; their steps are filled in.
        state: what to resume from, or None.
        progress: an open progress bar that counts images.
        save_every: steps between states and sample sheets.
        minutes: stop after this long, or None.
        measure: scores of generated images against held-out real eyes or None.
        measure_every: steps between measurements, a multiple of `save_every`.
    """

    def __init__(
        self, run: RunFolder, infos: dict[str, GeneratorInfo], state: dict | None, progress: Progress, save_every: int,
        minutes: float | None, measure: Measure | None, measure_every: int,
    ):  # fmt: skip
        self.run, self.infos, self.state, self.progress = run, infos, state, progress
        self.save_every, self.seconds = save_every, math.inf if minutes is None else 60 * minutes
        self.measure, self.measure_every = measure, measure_every
        self.watchdog = Watchdog(**(state["watchdog"] if state else {}))

    @property
    def gave_up(self) -> bool:
        """True once the watchdog has stopped the training."""
        return self.watchdog.gave_up

    def on_train_start(self, trainer: Trainer, training: GeneratorTraining) -> None:
        """Continue the optimisers where the state was saved."""
        if self.state is not None:
            restore_optimizers(trainer, self.state)
        self._began, self._first = time.monotonic(), training.steps_done

    def on_train_batch_end(
        self, trainer: Trainer, training: GeneratorTraining, outputs: object, batch: int, batch_idx: int
    ) -> None:
        """Count, log, measure, save, stop."""
        done, elapsed = training.steps_done, time.monotonic() - self._began
        if math.isfinite(self.seconds):
            rate = (done - self._first) / elapsed
            self.progress.total = round((done + rate * max(0.0, self.seconds - elapsed)) * training.batch_size)
            trainer.should_stop = told_by_first(elapsed >= self.seconds)
        self.progress.advance(training.batch_size)
        saves = done % self.save_every == 0
        if (done % _LOG_EVERY == 0 or saves) and not self._sound(trainer, training):
            return
        if done % self.measure_every == 0:
            self._measure(trainer, training)
        if saves:
            self._save(trainer, training)

    def on_train_end(self, trainer: Trainer, training: GeneratorTraining) -> None:
        """Measure and save the last step, unless it just was, and put the sample sheets together."""
        unsaved = training.steps_done % self.save_every > 0
        unmeasured = self.measure is not None and training.steps_done % self.measure_every > 0
        if (unsaved or unmeasured) and self._sound(trainer, training):
            if unmeasured:
                self._measure(trainer, training)
            self._save(trainer, training)
        if is_first():
            write_animation(self.run)

    def _sound(self, trainer: Trainer, training: GeneratorTraining) -> bool:
        """Log the figures; False when one of them is not a number and the training went back to an earlier state."""
        figures = {name: round(float(mean_over_processes(v)), 5) for name, v in training.figures.items()}
        if not all(map(math.isfinite, figures.values())):
            self._break_down(trainer, training)
            return False
        if training.steps_done % _LOG_EVERY == 0 and is_first():
            self.progress.advance(0, **figures)
            figures["images_per_second"] = round(self.progress.rate, 1)
            trainer.logger.log_metrics(figures, step=training.steps_done)
            self.run.log_metrics({"step": training.steps_done, **figures})
        return True

    def _break_down(self, trainer: Trainer, training: GeneratorTraining) -> None:
        step = training.steps_done
        verdict = self.watchdog.broke_down(step)
        if verdict.action == STOP or not (self.run.checkpoints / STATE).exists():
            raise JobError(
                f"the training broke down at step {step} (a loss is not a number); the last checkpoint is from before. "
                "Start again with another --seed or --precision 32"
            )
        self._act(verdict, trainer, training)

    def _measure(self, trainer: Trainer, training: GeneratorTraining) -> None:
        if self.measure is None:
            return
        verdict = self._judge(trainer, training) if is_first() else None
        # The other processes have measured nothing, but must remember the same.
        verdict, memory = told_by_first((verdict, self.watchdog.memory))
        self.watchdog = Watchdog(**memory)
        self._act(verdict, trainer, training)

    def _judge(self, trainer: Trainer, training: GeneratorTraining) -> Verdict:
        score = self.measure(training.pictures(PICTURES_MEASURED))
        verdict = self.watchdog.judge(training.steps_done, score, float(training.figures.get("real_side", math.nan)))
        trainer.logger.log_metrics({f"quality/{k}": v for k, v in score.items()}, step=training.steps_done)
        self.run.log_metrics({"step": training.steps_done, **score, "verdict": verdict.action}, QUALITY)
        if verdict.action == BEST:
            save_training(self.run, training, trainer, self.watchdog.memory, BEST_STATE)
            self._save_generators(training, {**score, **self.measure.about})
        return verdict

    def _act(self, verdict: Verdict, trainer: Trainer, training: GeneratorTraining) -> None:
        if verdict.action == GO_BACK:
            go_back(self.run, training, trainer)
        if verdict.action in (GO_BACK, ADAPT):
            training.adapt()
            to = f"back to step {self.watchdog.best['step']}" if self.watchdog.best else "back to the last state"
            self.progress.note(f"watchdog: {verdict.reason}; {to if verdict.action == GO_BACK else 'going on'} with "
                               "half the learning rate and more augmentation")  # fmt: skip
        if verdict.action == STOP:
            trainer.should_stop = True
            self.progress.note(f"watchdog: {verdict.reason}; stopping, step {self.watchdog.best['step']} is kept")

    def _save(self, trainer: Trainer, training: GeneratorTraining) -> None:
        if not is_first():
            return
        if self.measure is None:
            self._save_generators(training, {})
        save_training(self.run, training, trainer, self.watchdog.memory)
        sheet = sample_sheet(training.pictures(_SHEET_SIDE**2))
        write_image(self.run.samples / f"step_{training.steps_done:07d}.png", sheet)

    def _save_generators(self, training: GeneratorTraining, quality: dict) -> None:
        for name, network in training.kept.items():
            folder = self.run.checkpoints / ("" if name == "generator" else name)
            make_folder(folder)
            save_generator(folder, network, replace(self.infos[name], steps=training.steps_done, quality=quality))


def sample_sheet(images: np.ndarray) -> np.ndarray:
    """Lay uint8 (n * n, size, size, 3) images out as one square sheet, row by row."""
    side, size = math.isqrt(len(images)), images.shape[1]
    rows = images.reshape(side, side, size, size, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows.reshape(side * size, side * size, 3))


def write_animation(run: RunFolder, milliseconds: int = 200) -> None:
    """samples/training.gif: the sample sheets one after another, the last one shown longer."""
    sheets = [Image.open(path).convert("RGB") for path in sorted(run.samples.glob("step_*.png"))]
    if not sheets:
        return
    durations = [milliseconds] * (len(sheets) - 1) + [10 * milliseconds]
    with atomic_path(run.samples / "training.gif") as path:
        sheets[0].save(path, save_all=True, append_images=sheets[1:], duration=durations, loop=0)
