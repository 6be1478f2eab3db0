"""The training loop, counted in optimiser steps. Everything random in a step comes from (seed, step), so that a
killed run continues bit for bit on a CPU.

A plain loop rather than Lightning's Trainer: its checkpoints are pickles, and its bookkeeping costs more than the
limit set for it at 64 pixels on a CPU.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional

from ..runtime.devices import choose_device, choose_precision
from ..runtime.errors import JobError, UserError
from ..runtime.files import atomic_path
from ..runtime.progress import Progress
from ..runtime.runs import RunFolder
from .augmentation import make_augmentation
from .backbones import Classifier, create_backbone
from .checkpoint import About, load_classifier, save_classifier
from .images import ImageSource, as_source, to_batch
from .metrics import score
from .predictions import predict_images
from .sampling import DrawSequence

Images = np.ndarray | ImageSource | list[np.ndarray]

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
_SCHEDULES = ("cosine", "constant")
_KEEP = ("last", "best")


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
        for name in ("steps", "batch_size", "evaluate_every"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, at least 1 was expected")
        for name, known in (("optimizer", tuple(_OPTIMIZERS)), ("schedule", _SCHEDULES), ("keep", _KEEP)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} {getattr(self, name)!r} is not known", hint=f"Use {', '.join(known)}.")

    @property
    def resolved_learning_rate(self) -> float:
        """The learning rate, chosen when it was not given."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.weights or self.pretrained else 1e-3


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


@dataclass
class _State:
    model: Classifier
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = -math.inf
    losses: list[torch.Tensor] = field(default_factory=list)


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
) -> Fitted:
    """Train a classifier and leave it in `run`.

    Args:
        images: uint8 (n, size, size, 3), or a list of such arrays, or an ImageSource over rows of memory maps.
        labels: int (n,), index into `classes`.
        classes: names; of two, the second is the positive one.
        validation: images and labels that metrics.csv is about.
        run: where metrics.csv, checkpoints/classifier.* and the resume state go.
        resume: continue from the last evaluation when the run has one.
        about: what classifier.json says of data and patients; the class names alone by default.
        groups: int (n,), see `DrawSequence`.

    Raises:
        UserError: options that cannot work, or a resume state that is not ours.
        JobError: the loss is no longer finite.
        ValueError: labels and images that do not fit.
    """
    source, held_out = as_source(images), as_source(validation[0])
    labels = np.asarray(labels)
    _check(source, labels, classes, options)
    device = choose_device(options.device)
    state = _start(options, len(classes), device)
    if resume:
        _load_state(run, state, device)
        run.truncate_metrics(state.step)
    about = about or About(tuple(classes))
    draws = DrawSequence(labels, options.sampling, options.seed, groups)
    with Progress(options.steps, f"training {options.backbone}", "steps", quiet, state.step) as progress:
        while state.step < options.steps:
            batch = draws.batch(state.step, options.batch_size)
            state.losses.append(_train_step(state, source.take(batch), labels[batch], options, device))
            state.step += 1
            progress.advance()
            if state.step % options.evaluate_every == 0 or state.step == options.steps:
                row = _evaluate(state, held_out, validation[1], len(source), options, device)
                _keep(state, row, run, about, options)
                progress.advance(0, loss=row["train_loss"], val_macro_f1=row["val_macro_f1"])
    model, _ = load_classifier(run.path, device)
    return Fitted(model, pd.read_csv(run.path / "metrics.csv"), model.loaded)


def _check(source: ImageSource, labels: np.ndarray, classes: tuple[str, ...], options: TrainingOptions) -> None:
    if len(source) != len(labels):
        raise ValueError(f"{len(source)} images and {len(labels)} labels")
    if source.size != options.size:
        raise ValueError(f"images of {source.size} pixels, but size is {options.size}")
    missing = [name for k, name in enumerate(classes) if not (labels == k).any()]
    if missing or len(classes) < 2:
        raise UserError(f"cannot train on {len(classes)} classes, of which {missing or 'none'} have no training images")


def _start(options: TrainingOptions, classes: int, device: torch.device) -> _State:
    torch.manual_seed(options.seed)
    model = create_backbone(options.backbone, classes, options.size, options.pretrained, options.weights)
    model = model.to(device, memory_format=torch.channels_last)
    extra = {"momentum": 0.9} if options.optimizer == "sgd" else {}
    optimizer = _OPTIMIZERS[options.optimizer](
        model.parameters(), lr=options.resolved_learning_rate, weight_decay=options.weight_decay, **extra
    )
    return _State(model, optimizer)


def _train_step(
    state: _State, images: np.ndarray, labels: np.ndarray, options: TrainingOptions, device: torch.device
) -> torch.Tensor:
    step_seed = int(np.random.SeedSequence((options.seed, state.step)).generate_state(1, np.uint64)[0] >> 1)
    torch.manual_seed(step_seed)  # dropout
    generator = torch.Generator(device).manual_seed(step_seed)
    batch = make_augmentation(options.augment)(to_batch(images, device), generator)
    truth = torch.from_numpy(labels).to(device)
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(options, state.step)
    state.model.train()
    precision = choose_precision(options.precision, device)
    with torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
        logits = state.model(batch)
    loss = functional.cross_entropy(logits.float(), truth)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    return loss.detach()


def _learning_rate(options: TrainingOptions, step: int) -> float:
    if options.schedule == "constant":
        return options.resolved_learning_rate
    return options.resolved_learning_rate * 0.5 * (1 + math.cos(math.pi * step / options.steps))


def _evaluate(
    state: _State,
    images: ImageSource,
    labels: np.ndarray,
    train_size: int,
    options: TrainingOptions,
    device: torch.device,
) -> dict[str, float]:
    """One row of metrics.csv; f1, recall and auroc are of the positive class for two classes, macro averages
    otherwise."""
    train_loss = float(torch.stack(state.losses).mean())
    state.losses.clear()
    if not math.isfinite(train_loss):
        raise JobError(f"the loss became {train_loss} by step {state.step}; try a smaller --learning-rate")
    probabilities = predict_images(state.model, images, device=device)
    row = {"step": state.step, "epoch": state.step * options.batch_size / train_size, "train_loss": train_loss}
    for name in ("log_loss", "accuracy", "macro_f1", "f1", "recall", "auroc"):
        row[f"val_{name}"] = float(score(name, labels, probabilities))
    return row


def _keep(state: _State, row: dict, run: RunFolder, about: About, options: TrainingOptions) -> None:
    better = row["val_macro_f1"] > state.best
    if better or options.keep == "last" or not (run.checkpoints / "classifier.json").exists():
        save_classifier(run.checkpoints, state.model, about)
    if better:
        state.best = row["val_macro_f1"]
    run.log_metrics(row)
    # Last: a kill before this repeats the evaluation, and its row of metrics.csv is dropped on resuming.
    _save_state(run, state)


def _state_path(run: RunFolder) -> Path:
    return run.checkpoints / "resume.pt"


def _save_state(run: RunFolder, state: _State) -> None:
    content = {
        "step": state.step,
        "best": state.best,
        "network": state.model.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "started_from": state.model.loaded,
    }
    with atomic_path(_state_path(run)) as temporary:
        torch.save(content, temporary)


def _load_state(run: RunFolder, state: _State, device: torch.device) -> None:
    path = _state_path(run)
    if not path.exists():
        return
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        state.model.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.best = content["step"], content["best"]
        state.model.loaded = content["started_from"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError, ValueError, TypeError) as error:
        raise UserError("is not a resume state of this run", path=path, hint="Start a new run.") from error
