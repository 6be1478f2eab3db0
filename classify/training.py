"""`fundus-classify train`: from a dataset folder to a run folder with a classifier, its predictions and a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.splits import split_by_patient
from ..runtime.devices import choose_device
from ..runtime.errors import UserError, counts
from ..runtime.runs import RunFolder, default_run_path, latest_run_path
from .checkpoint import About
from .fitting import Fitted, TrainingOptions, fit
from .held_out import hashes, refuse_leaks
from .images import ImageSource
from .prediction_table import prediction_table, write_predictions
from .predictions import predict_images
from .results import write_results
from .targets import Target, choose_target

__all__ = ["Fitted", "Part", "TrainingOptions", "fit", "load_parts", "load_synthetic", "split_dataset", "train"]

_SMALLEST_CLASS = 8
_DEFAULT_EPOCHS = 10
_STEPS_BETWEEN_EVALUATIONS = 50


@dataclass(frozen=True)
class Part:
    """One split, ready to train or test on: its dataset, its images (memory-mapped) and class numbers, int (n,)."""

    dataset: FundusDataset
    images: ImageSource
    labels: np.ndarray


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
) -> RunFolder:
    """Train a classifier, test it on the held-out patients, and write a run folder.

    Args:
        dataset: a dataset folder; it is split 80/10/10 by patient when it is not split yet.
        target: "label" or "grade".
        classes: which classes, in this order; of two, the second is the positive one.
        epochs, steps: how long; give one. An epoch is ceil(training images / batch_size) steps. 10 epochs by default.
        synthetic: dataset folders whose images are added to the training split.
        out: the run folder; runs/classify-<time>-<backbone> by default.
        resume: continue a run that was interrupted.

    The other arguments are those of `TrainingOptions`. The weights with the best validation macro F1 are kept.

    Raises:
        UserError: see `choose_target`, `split_dataset`, `refuse_leaks`, `create_backbone`, `RunFolder.open_or_create`.
    """
    if epochs is not None and steps is not None:
        raise UserError("both --epochs and --steps were given", hint="Give one.")
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    chosen = choose_target(dataset, target, classes)
    dataset = split_dataset(dataset, chosen, seed)
    extra = load_synthetic(synthetic or (), dataset, chosen, size, quiet)
    parts = load_parts(dataset, chosen, size, quiet)
    images = ImageSource.join([parts["train"].images, *(part.images for part in extra)])
    labels = np.concatenate([parts["train"].labels, *(part.labels for part in extra)])
    epoch = math.ceil(len(labels) / batch_size)
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, pretrained=pretrained,
        steps=steps or (epochs or _DEFAULT_EPOCHS) * epoch,
        batch_size=batch_size, learning_rate=learning_rate, sampling=sampling, augment=augment, keep="best", seed=seed,
        evaluate_every=_STEPS_BETWEEN_EVALUATIONS if steps else epoch, device=device, precision=precision,
    )  # fmt: skip
    if out is None:
        out = latest_run_path("classify", backbone) if resume else default_run_path("classify", backbone)
    run = RunFolder.open_or_create(out, _config(dataset, chosen, options, synthetic), resume)
    fitted = fit(
        images, labels, chosen.classes, options, validation=(parts["val"].images, parts["val"].labels), run=run,
        resume=resume, quiet=quiet, about=describe(dataset, chosen),
    )  # fmt: skip
    _finish(run, fitted, parts, chosen, device)
    return run


def split_dataset(dataset: FundusDataset, target: Target, seed: int) -> FundusDataset:
    """The images of the target's classes, with a split: the dataset's own, or 80/10/10 by patient.

    Raises:
        UserError: a class with fewer than 8 images, or a split without images of a class.
    """
    dataset = target.of(dataset)
    found = dict(zip(target.classes, np.bincount(target.labels(dataset), minlength=len(target.classes)), strict=True))
    for name, number in found.items():
        if number < _SMALLEST_CLASS:
            message = (
                f"class {name} has {number} images, at least {_SMALLEST_CLASS} were expected; there are {counts(found)}"
            )
            raise UserError(message, path=dataset.path)
    if not dataset.has_split:
        dataset = dataset.with_split(split_by_patient(dataset.table, (0.8, 0.1, 0.1), seed, dataset.path))
    for part in ("train", "val", "test"):
        there = set(target.labels(dataset.split(part)))
        missing = [name for k, name in enumerate(target.classes) if k not in there]
        if missing:
            raise UserError(
                f"split {part} has no image of {', '.join(missing)}", path=dataset.path,
                hint="Split again with fundus-preprocess split, or leave the class out with --classes.",
            )  # fmt: skip
    return dataset


def load_parts(dataset: FundusDataset, target: Target, size: int, quiet: bool = False) -> dict[str, Part]:
    """{"train" | "val" | "test": Part} of a split dataset, over one memory map."""
    pixels = image_cache(dataset, size, quiet=quiet)
    splits = dataset.column("split").to_numpy()
    parts = {}
    for name in ("train", "val", "test"):
        rows = np.flatnonzero(splits == name)
        part = dataset.subset(rows)
        parts[name] = Part(part, ImageSource(pixels, rows), target.labels(part))
    return parts


def load_synthetic(
    folders: Sequence[Path | str], dataset: FundusDataset, target: Target, size: int, quiet: bool = False
) -> list[Part]:
    """Synthetic datasets to train on, one Part a folder; `dataset` is the split one whose val and test they must not
    know.

    Raises:
        UserError: see `refuse_leaks`; or a folder without images of the target's classes.
    """
    held_out = dataset.subset(dataset.column("split") != "train")
    parts = []
    for folder in folders:
        added = FundusDataset.open(folder)
        refuse_leaks(added, held_out)
        added = target.of(added)
        if not len(added):
            raise UserError(f"has no image of {', '.join(target.classes)}", path=folder)
        parts.append(Part(added, ImageSource(image_cache(added, size, quiet=quiet)), target.labels(added)))
    return parts


def describe(dataset: FundusDataset, target: Target) -> About:
    """What the classifier will say of its data: classes, fingerprint, and the hashes of each split's patients."""
    patients = {name: hashes(dataset.split(name)) for name in ("train", "val", "test")}
    illumination = str(dataset.info.get("illumination") or "none")
    return About(target.classes, target.column, dataset.name, dataset.fingerprint, illumination, patients)


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


def _finish(run: RunFolder, fitted: Fitted, parts: dict[str, Part], target: Target, device: str) -> None:
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
        "started from": fitted.started_from,
        "input": f"{fitted.model.size} x {fitted.model.size} pixels",
        "optimiser steps": int(fitted.history["step"].iloc[-1]),
        "images": ", ".join(f"{len(part.labels)} {name}" for name, part in parts.items()),
    }
    write_results(run.path, tables, target.classes, facts, fitted.history)
