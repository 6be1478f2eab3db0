"""`fundus-classify train`: from a dataset folder to a run folder with a classifier, its predictions and a report."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..data.splits import NO_PATIENTS
from ..data.targets import Target, choose_target
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from .augmentation import unguarded_discs
from .fitting import Fitted, TrainingOptions, check_options, fit
from .heads import LINEAR, ORDINAL
from .images import ImageSource
from .predictions import predict_images, prediction_table, write_predictions
from .results import write_results
from .training import Part, describe, load_parts, load_synthetic, split_dataset

_DEFAULT_EPOCHS = 10
_STEPS_BETWEEN_EVALUATIONS = 50


def train(
    dataset: FundusDataset | Path | str,
    *,
    target: str = "label",
    classes: Sequence[str] | None = None,
    backbone: str = "simple_cnn",
    size: int = 64,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 32,
    learning_rate: float | None = None,
    seed: int = 0,
    augment: str = "default",
    sampling: str = "balanced",
    weights: Path | str | None = None,
    pretrained: bool = False,
    out: Path | str | None = None,
    resume: bool = False,
    device: str = "auto",
    precision: str = "auto",
    quiet: bool = False,
    synthetic: Sequence[Path | str] | None = None,
    optimizer: str = "adamw",
    weight_decay: float = 1e-2,
    schedule: str = "cosine",
    patience: int = 0,
    frozen_epochs: int = 0,
    backbone_rate: float = 1.0,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    class_weights: bool = False,
    average: int = 0,
    head: str = "linear",
) -> RunFolder:
    """Train a classifier, test it on the held-out patients, and write a run folder.

    Args:
        dataset: a dataset folder; it is split 80/10/10 by patient when it is not split yet.
        target: "label", "grade", or an expression such as "dr: grade >= 1", see `data.expressions`.
        classes: which classes, in this order; of two, the second is the positive one.
        epochs, steps: how long; give one. An epoch is ceil(training images / batch_size) steps. 10 epochs by default.
        synthetic: dataset folders whose images are added to the training split.
        out: the run folder; runs/classify-<time>-<backbone> by default.
        resume: continue a run that was interrupted.
        frozen_epochs: passes at the start that train the head alone.
        average: half-life of the weights' moving average in steps; 0 keeps none.

    The other arguments are those of `TrainingOptions`. The weights with the best validation macro F1 are kept.

    Raises:
        UserError: see `choose_target`, `split_dataset`, `refuse_leaks`, `create_backbone`, `RunFolder.open_or_create`.
    """
    if epochs is not None and steps is not None:
        raise UserError("both --epochs and --steps were given", hint="Give one.")
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, pretrained=pretrained,
        batch_size=batch_size, learning_rate=learning_rate, sampling=sampling, augment=augment, keep="best", seed=seed,
        evaluate_every=_STEPS_BETWEEN_EVALUATIONS, device=device, precision=precision, optimizer=optimizer,
        weight_decay=weight_decay, schedule=schedule, patience=patience, freeze_steps=frozen_epochs,
        backbone_rate=backbone_rate, label_smoothing=label_smoothing, mixup=mixup, class_weights=class_weights,
        average_steps=average, head=head,
    )  # fmt: skip
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    if not dataset.patients and not quiet:
        print(NO_PATIENTS, file=sys.stderr)
    chosen = choose_target(dataset, target, classes)
    if not quiet and (left_out := chosen.left_out_line(dataset)):
        print(left_out, file=sys.stderr)
    if head == ORDINAL and not _in_order(chosen):
        raise UserError(
            f"head {ORDINAL} wants classes in their order, which only target grade with ascending classes has",
            hint="Use another head.",
        )
    check_options(options, len(chosen.classes))
    dataset = split_dataset(dataset, chosen, seed)
    # Generated sets name their class in `label`, whatever column is the target.
    extra = load_synthetic(synthetic or (), dataset, Target("label", chosen.classes), size, quiet)
    parts = load_parts(dataset, chosen, size, quiet)
    images = ImageSource.join([parts["train"].images, *(part.images for part in extra)])
    labels = np.concatenate([parts["train"].labels, *(part.labels for part in extra)])
    options = _with_length(options, len(labels), epochs, steps)
    if out is None:
        out = latest_run_path("classify", backbone) if resume else default_run_path("classify", backbone)
    run = RunFolder.open_or_create(out, _config(dataset, chosen, options, synthetic), resume)
    fitted = fit(
        images, labels, chosen.classes, options, validation=(parts["val"].images, parts["val"].labels), run=run,
        resume=resume, quiet=quiet, about=describe(dataset, chosen),
    )  # fmt: skip
    _finish(run, fitted, parts, chosen, device, unguarded_discs(augment, images.discs))
    return run


def _in_order(target: Target) -> bool:
    return target.column == "grade" and list(target.classes) == sorted(target.classes, key=float)


def _with_length(options: TrainingOptions, images: int, epochs: int | None, steps: int | None) -> TrainingOptions:
    """Epochs as steps, also those in which the backbone is frozen, which `freeze_steps` counts until here. Evaluated once an
    epoch when the user counts in epochs."""
    epoch = math.ceil(images / options.batch_size)
    options = replace(options, freeze_steps=options.freeze_steps * epoch)
    if steps is not None:
        return replace(options, steps=steps)
    return replace(options, steps=(epochs or _DEFAULT_EPOCHS) * epoch, evaluate_every=epoch)


def _config(dataset: FundusDataset, target: Target, options: TrainingOptions, synthetic) -> dict:
    return {
        "command": "fundus-classify train",
        "data": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        "target": target.column,
        "classes": list(target.classes),
        "synthetic": [str(folder) for folder in synthetic or ()],
        **asdict(options),
        "learning_rate": options.resolved_learning_rate,
    }


def _finish(run: RunFolder, fitted: Fitted, parts: dict[str, Part], target: Target, device: str, warning: str) -> None:
    where = choose_device(device)
    tables = {}
    for name in ("val", "test"):
        part = parts[name]
        probabilities = predict_images(fitted.model, part.images, device=where)
        tables[name] = prediction_table(part.dataset, part.labels, probabilities, target.classes)
    write_predictions(run.path / "predictions.csv", pd.concat(tables.values(), ignore_index=True))
    facts = {
        "dataset": parts["test"].dataset.name,
        "backbone": fitted.model.name,
        **({"head": fitted.model.head} if fitted.model.head != LINEAR else {}),
        "started from": fitted.started_from,
        "input": f"{fitted.model.size} x {fitted.model.size} pixels",
        "optimiser steps": int(fitted.history["step"].iloc[-1]),
        "images": ", ".join(f"{len(part.labels)} {name}" for name, part in parts.items()),
        **({"note": warning} if warning else {}),
    }
    write_results(run.path, tables, target.classes, facts, fitted.history)
