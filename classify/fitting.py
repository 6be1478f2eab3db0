"""Fit a classifier to arrays of images and leave it in a run folder: the one way that every command trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ..runtime.devices import choose_device, choose_precision
from ..runtime.loggers import CSV, make_logger
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder
from ..runtime.training import run_steps
from .augmentation import make_augmentation, unguarded_discs
from .backbones import Classifier, create_backbone
from .checkpoint import About, load_classifier
from .images import ImageSource, as_source
from .options import TrainingOptions
from .recording import Recorder, read_training
from .supervised import SupervisedTraining
from .tasks import ONE_CLASS, Task, task_of

__all__ = ["Fitted", "TrainingOptions", "check_options", "fit"]

Images = np.ndarray | ImageSource | list[np.ndarray]


@dataclass
class Fitted:
    """What `fit` returns.

    Attributes:
        model: the kept weights, in evaluation mode, on the training device.
        history: metrics.csv as a table, one row an evaluation.
        started_from: which weights training started from.
    """

    model: Classifier
    history: pd.DataFrame
    started_from: str


def fit(
    images: Images,
    labels: np.ndarray,
    classes: tuple[str, ...],
    options: TrainingOptions,
    *,
    validation: tuple[Images, np.ndarray],
    run: RunFolder,
    resume: bool = False,
    quiet: bool = False,
    about: About | None = None,
    groups: np.ndarray | None = None,
    logger: str = CSV,
) -> Fitted:
    """Train a classifier and leave it in `run`.

    Args:
        images: uint8 (n, size, size, 3), or a list of such arrays, or an ImageSource over rows of memory maps.
        labels: int (n,), index into `classes`; for other targets than one class an image see `tasks`.
        classes: names; of two, the second is the positive one.
        validation: images and labels that metrics.csv is about.
        run: where metrics.csv, checkpoints/classifier.* and the resume state go.
        resume: continue from the last evaluation when the run has one.
        about: what classifier.json says of data and patients, and what is learned (`tasks.task_of` its target); the class
            names alone, and one class an image, by default.
        groups: int (n,), see `DrawSequence`.
        logger: where figures go beside metrics.csv, see `runtime.loggers`.

    Raises:
        UserError: options that cannot work, or a resume state that is not ours.
        JobError: the loss is no longer finite.
        ValueError: labels and images that do not fit.
    """
    source, held_out = as_source(images), as_source(validation[0])
    labels, about = np.asarray(labels), about or About(tuple(classes))
    task = task_of(about.target)
    _check(source, labels, options)
    task.check_options(options)
    task.check(labels, classes)
    device = choose_device(options.device)
    training = _prepare(source, labels, len(classes), options, groups, task)
    state = read_training(run) if resume else None
    if resume:
        run.truncate_metrics(state["step"] if state else 0)
    if state:
        _restore(training, state)
    with Progress(options.steps, f"training {options.backbone}", "steps", quiet, training.steps_done) as progress:
        if warning := unguarded_discs(options.augment, source.discs):
            progress.note(warning)
        validation = (held_out, np.asarray(validation[1]))
        recorder = Recorder(run, about, validation, progress, state, task)
        # A run that ran out of patience has nothing left to do, however often it is resumed.
        end = training.steps_done if recorder.watch.stops(options.patience) else options.steps
        steps, precision = range(training.steps_done, end), choose_precision(options.precision, device)
        log = make_logger(logger, run.path, training.steps_done + 1) if steps else False
        run_steps(training, steps, recorder, device, precision, log)
    model, _ = load_classifier(run.path, device)
    return Fitted(model, pd.read_csv(run.path / "metrics.csv"), model.loaded)


def check_options(options: TrainingOptions, classes: int, task: Task = ONE_CLASS) -> None:
    """Meet every mistake in the options that `fit` would meet, before a run folder is made for it.

    Raises:
        UserError: unknown device, precision, augmentation or backbone, or weights that cannot be used.
    """
    choose_precision(options.precision, choose_device(options.device))
    make_augmentation(options.augment)
    task.check_options(options)
    _create(options, classes)


def _check(source: ImageSource, labels: np.ndarray, options: TrainingOptions) -> None:
    if len(source) != len(labels):
        raise ValueError(f"{len(source)} images and {len(labels)} labels")
    if source.size != options.size:
        raise ValueError(f"images of {source.size} pixels, but size is {options.size}")


def _create(options: TrainingOptions, classes: int) -> Classifier:
    """Its initial random weights come from torch's own generator."""
    return create_backbone(
        options.backbone, classes, options.size, options.pretrained, options.weights, head=options.head
    )


def _restore(training: SupervisedTraining, state: dict) -> None:
    training.model.network.load_state_dict(state["network"])
    if training.average is not None:
        training.average.network.load_state_dict(state["average"])
        training.average.loaded = state["started_from"]
    training.model.loaded, training.steps_done = state["started_from"], state["step"]
    training.halvings = state["watch"]["halvings"] if training.options.schedule == "plateau" else 0


def _prepare(
    source: ImageSource,
    labels: np.ndarray,
    classes: int,
    options: TrainingOptions,
    groups: np.ndarray | None,
    task: Task,
) -> SupervisedTraining:
    torch.manual_seed(options.seed)
    model = _create(options, classes)
    task.prepare(model, labels)
    return SupervisedTraining(model.to(memory_format=torch.channels_last), source, labels, options, groups, task)
