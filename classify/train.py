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
from ..data.targets import Target
from ..data.wider_targets import AnyTarget, choose_any_target
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from ..runtime.loggers import TENSORBOARD, check_logger
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from .augmentation import make_augmentation, unchanged, unguarded_discs
from .decision import DECIDE, VAL, drop_decision, plain_decision, save_decision
from .fitting import Fitted, TrainingOptions, check_options, fit
from .heads import LINEAR
from .images import ImageSource
from .offline_copies import offline_copies
from .outcomes import outcome_of
from .predictions import predict_images, write_predictions
from .tasks import check_head, task_of
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
    decide: str = VAL,
    logger: str = TENSORBOARD,
    offline: int = 0,
) -> RunFolder:
    """Train a classifier, test it on the held-out patients, and write a run folder.

    Args:
        dataset: a dataset folder; it is split 80/10/10 by patient when it is not split yet.
        target: "label", "grade", or an expression such as "dr: grade >= 1", see `data.expressions`; "multilabel" (several of
            the columns N..O) or "hemoglobin" (a number), see `data.wider_targets`.
        classes: which classes, in this order; of two, the second is the positive one.
        epochs, steps: how long; give one. An epoch is ceil(training images / batch_size) steps. 10 epochs by default.
        synthetic: dataset folders whose images are added to the training split.
        out: the run folder; runs/classify-<time>-<backbone> by default.
        resume: continue a run that was interrupted.
        frozen_epochs: passes at the start that train the head alone.
        average: half-life of the weights' moving average in steps; 0 keeps none.
        decide: "val" fits a temperature and how to decide on the validation predictions, see `decision`; "argmax" leaves the
            network's probabilities as they are, and the largest decides.
        logger: where figures go beside metrics.csv, see `runtime.loggers`.
        offline: so many copies of each training image are altered once by `augment` and trained on beside it, as the studies
            did, instead of altering every image anew at each draw; 0 does the latter. An epoch passes over the copies, too.

    The other arguments are those of `TrainingOptions`. The weights with the best validation macro F1 are kept.

    Raises:
        UserError: see `choose_target`, `split_dataset`, `refuse_leaks`, `create_backbone`, `RunFolder.open_or_create`.
    """
    if epochs is not None and steps is not None:
        raise UserError("both --epochs and --steps were given", hint="Give one.")
    if decide not in DECIDE:
        raise UserError(f"no way to decide is called {decide!r}", hint=f"Use {' or '.join(DECIDE)}.")
    check_logger(logger)
    if offline and make_augmentation(augment) is unchanged:
        raise UserError(f"--offline {offline} copies of --augment {augment} would be the images themselves",
                        hint="Choose another augmentation.")  # fmt: skip
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
    chosen, task = choose_any_target(dataset, target, classes), task_of(target)
    if synthetic and not isinstance(chosen, Target):
        raise UserError(f"generated images carry one label each and cannot be added for target {target}")
    if not quiet and (left_out := chosen.left_out_line(dataset)):
        print(left_out, file=sys.stderr)
    check_head(head, chosen.column, chosen.classes)
    check_options(options, len(chosen.classes), task)
    dataset = split_dataset(dataset, chosen, seed)
    # Generated sets name their class in `label`, whatever column is the target.
    extra = load_synthetic(synthetic or (), dataset, Target("label", chosen.classes), size, quiet)
    parts = load_parts(dataset, chosen, size, quiet)
    images = ImageSource.join([parts["train"].images, *(part.images for part in extra)])
    labels = np.concatenate([parts["train"].labels, *(part.labels for part in extra)])
    options = _with_length(options, len(labels) * (1 + offline), epochs, steps)
    if out is None:
        out = latest_run_path("classify", backbone) if resume else default_run_path("classify", backbone)
    run = RunFolder.open_or_create(out, _config(dataset, chosen, options, synthetic, decide, offline), resume)
    drop_decision(run.checkpoints)
    discs = images.discs
    if offline:
        copies = offline_copies(images, augment, offline, seed, run.checkpoints / "offline-copies.npy", quiet)
        images, labels = ImageSource.join([images, copies]), np.concatenate([labels] * (1 + offline))
        options = replace(options, augment="default")
    fitted = fit(
        images, labels, chosen.classes, options, validation=(parts["val"].images, parts["val"].labels), run=run,
        resume=resume, quiet=quiet, about=describe(dataset, chosen), logger=logger,
    )  # fmt: skip
    _finish(run, fitted, parts, chosen, device, unguarded_discs(augment, discs), decide)
    (run.checkpoints / "offline-copies.npy").unlink(missing_ok=True)
    return run


def _with_length(options: TrainingOptions, images: int, epochs: int | None, steps: int | None) -> TrainingOptions:
    """Epochs as steps, also those in which the backbone is frozen, which `freeze_steps` counts until here. Evaluated once an
    epoch when the user counts in epochs."""
    epoch = math.ceil(images / options.batch_size)
    options = replace(options, freeze_steps=options.freeze_steps * epoch)
    if steps is not None:
        return replace(options, steps=steps)
    return replace(options, steps=(epochs or _DEFAULT_EPOCHS) * epoch, evaluate_every=epoch)


def _config(
    dataset: FundusDataset, target: AnyTarget, options: TrainingOptions, synthetic, decide: str, offline: int
) -> dict:
    return {
        "command": "fundus-classify train",
        "data": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        "target": target.column,
        "classes": list(target.classes),
        "synthetic": [str(folder) for folder in synthetic or ()],
        "decide": decide,
        "offline": offline,
        **asdict(options),
        "learning_rate": options.resolved_learning_rate,
    }


def _finish(
    run: RunFolder, fitted: Fitted, parts: dict[str, Part], target: AnyTarget, device: str, warning: str, decide: str
) -> None:
    where, task, outcome = choose_device(device), task_of(target.column), outcome_of(target.column)
    told = {name: predict_images(fitted.model, parts[name].images, device=where, task=task) for name in ("val", "test")}
    decision = plain_decision(target.column, target.classes)
    if decide == VAL and outcome.decide is not None:
        val = parts["val"]
        patients = np.asarray(val.dataset.patient_keys)
        decision = outcome.decide(val.labels, told["val"], target.classes, fitted.model.head, patients)
        save_decision(run.checkpoints, decision)
    tables = {
        name: outcome.table(parts[name].dataset, parts[name].labels, values, target.classes, decision)
        for name, values in told.items()
    }
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
    outcome.write(run.path, tables, target.classes, facts, fitted.history, decision)
