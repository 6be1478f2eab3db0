"""One training of an experiment as a job: what every experiment that compares trainings has many of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.targets import Target
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.jobs import Job
from ...runtime.runs import RunFolder
from ..checkpoint import load_classifier
from ..evidence import SeedPredictions
from ..fitting import TrainingOptions, fit
from ..held_out import unseen
from ..images import ImageSource
from ..predictions import predict_images, prediction_table, read_predictions, seed_predictions, write_predictions
from ..training import describe, load_parts, load_synthetic
from .split_file import read_split

_HERE = "fundus_synth.classify.experiments.trainings"
TEST, VALIDATION, EXTERNAL = "predictions.csv", "predictions-val.csv", "predictions-external.csv"


def training_job(
    name: str, dataset: FundusDataset, split: Path, target: Target, out: Path, options: TrainingOptions,
    synthetic: Sequence[Path | str] = (), external: Path | str | None = None,
) -> Job:  # fmt: skip
    """The job that calls `train_and_test`.

    Args:
        name: unique in its list.
        dataset: where the images are; its own split does not matter.
        split: a file of `split_file.write_split`.
        out: the run folder of this training.
        synthetic: dataset folders whose images are added to the training split.
        external: another dataset folder to test on.
    """
    return Job(name, f"{_HERE}:train_and_test", {
        "data": str(dataset.path.resolve()), "split": str(split.resolve()), "column": target.column,
        "classes": list(target.classes), "synthetic": [str(Path(folder).resolve()) for folder in synthetic],
        "out": str(out.resolve()), "options": asdict(options),
        "external": "" if external is None else str(Path(external).resolve()),
    })  # fmt: skip


def train_and_test(
    data: str, split: str, column: str, classes: list[str], synthetic: list[str], out: str, options: dict, external: str = ""
) -> dict:  # fmt: skip
    """A job: one training, and its predictions for the validation and the test patients, and for those of another dataset.

    Returns:
        run: the run folder, with TEST and VALIDATION in it; steps: optimiser steps taken; images: training images;
        started_from: which weights training started from.
    """
    target, chosen = Target(column, tuple(classes)), TrainingOptions(**options)
    result = fit_and_predict(read_split(data, split, target), target, out, chosen, synthetic)
    if external:
        predict_external(result["run"], FundusDataset.open(external), target, chosen.device)
    return result


def fit_and_predict(
    dataset: FundusDataset, target: Target, out: str, options: TrainingOptions, synthetic: Sequence[str] = ()
) -> dict:
    """What `train_and_test` does, of a dataset that is open and split already; images without a split are not used."""
    parts = load_parts(dataset, target, options.size, quiet=True)
    # Generated sets name their class in `label`, whatever column the experiment is about.
    extra = load_synthetic(synthetic, dataset, Target("label", target.classes), options.size, quiet=True)
    train = [parts["train"], *extra]
    labels = np.concatenate([part.labels for part in train])
    run = RunFolder.open_or_create(out, asdict(options), resume=True)
    fitted = fit(
        ImageSource.join([part.images for part in train]), labels, target.classes, options,
        validation=(parts["val"].images, parts["val"].labels), run=run, resume=True, quiet=True,
        about=describe(dataset, target),
    )  # fmt: skip
    for name, file in (("val", VALIDATION), ("test", TEST)):
        part = parts[name]
        probabilities = predict_images(fitted.model, part.images, device=next(fitted.model.parameters()).device)
        write_predictions(run.path / file, prediction_table(part.dataset, part.labels, probabilities, target.classes))
    return {
        "run": str(run.path),
        "steps": int(fitted.history["step"].max()),
        "images": len(labels),
        "started_from": fitted.started_from,
    }


def predict_external(run: str, dataset: FundusDataset, target: Target, device: str) -> None:
    """Write EXTERNAL: what the classifier of a run says of the images of another dataset, without those of patients that it
    was trained or selected on.

    Raises:
        UserError: nothing is left.
    """
    model, about = load_classifier(run, choose_device(device))
    labels = target.labels(dataset)
    rows = np.flatnonzero((labels >= 0) & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError(
            f"has no image of {', '.join(target.classes)} of a patient whom the classifier has not seen",
            path=dataset.path,
        )
    images = ImageSource(image_cache(dataset, model.size, quiet=True), rows)
    probabilities = predict_images(model, images, device=next(model.parameters()).device)
    table = prediction_table(dataset.subset(rows), labels[rows], probabilities, target.classes)
    write_predictions(Path(run) / EXTERNAL, table)


def tested(result: dict) -> SeedPredictions:
    """What the training of a job's result said of the test patients."""
    return seed_predictions(*read_predictions(Path(result["run"]) / TEST))


def tested_externally(result: dict) -> SeedPredictions:
    """What it said of the other dataset's patients."""
    return seed_predictions(*read_predictions(Path(result["run"]) / EXTERNAL))
