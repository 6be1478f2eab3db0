"""Do synthetic eyes show the class that their generator meant? Three trainings and tests, told by their usual letters.

- TRTR, train on real, test on real: what the class is worth on held-out patients. The measure of the other two.
- TRTS, train on real, test on synthetic: does a classifier that knows real eyes recognise the class?
- TSTR, train on synthetic, test on real (Esteban, Hyland and Raetsch 2017, arXiv:1706.02633): is there enough of the
  class in the synthetic eyes to learn it from them? At the same optimiser steps and on the same held-out patients as TRTR.

    fundus-classify judge-synthetic SYNTHETIC... --data REAL
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...data.targets import Target, choose_target
from ...runtime.errors import UserError, counts
from ...runtime.jobs import Job, run_jobs
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ..fitting import TrainingOptions, check_options, fit
from ..images import ImageSource
from ..predictions import predict_images, prediction_table, read_predictions, seed_predictions, write_predictions
from ..training import Part, describe, load_parts, load_synthetic, split_dataset
from .division import tell
from .split_file import read_split, write_split
from .synthetic_judgement import Judgement, judge
from .synthetic_report import write_report

_HERE = "fundus_synth.classify.experiments.judge_synthetic"
REAL, SYNTHETIC = "real", "synthetic"


def judge_synthetic(
    synthetic: Sequence[Path | str], dataset: FundusDataset, *, target: str = "label", classes: Sequence[str] | None = None,
    seeds: int = 1, backbone: str = "simple_cnn", size: int = 64, epochs: int = 10, batch_size: int = 32,
    weights: Path | None = None, workers: int = 1, ray: str | None = None, slurm: str | None = None,
    seed: int = 0, out: Path | None = None, resume: bool = False, device: str = "auto", precision: str = "auto",
    quiet: bool = False,
) -> Judgement:  # fmt: skip
    """Train on real and on synthetic eyes, test both on held-out patients, and write report.html and summary.json.

    Args:
        synthetic: dataset folders of `generate`, which name the class in `label`; one a class, or several classes in one.
        dataset: the real eyes; divided 80/10/10 by patient when it has no split.
        classes: by default those that both sides have.
        seeds: trainings of each kind.
        epochs: passes over the *real* training images; turned into steps, the same for both trainings.
        workers, ray, slurm: where the trainings run, see `run_jobs`.
        resume: continue a run that was interrupted; finished trainings are not repeated.

    Raises:
        UserError: unusable options or data, a class without synthetic images, or a generator that saw val or test patients.
        JobError: a training failed.
    """
    if not synthetic:
        raise UserError("no synthetic dataset was given")
    opened = [FundusDataset.open(folder) for folder in synthetic]
    chosen = _choose(dataset, target, classes, opened)
    divided = split_dataset(dataset, chosen, seed)
    if not quiet:
        tell(dataset, chosen)
    made = load_synthetic(synthetic, divided, Target("label", chosen.classes), size, quiet)
    _check_classes(made, chosen)
    epoch = math.ceil(len(divided.split("train")) / batch_size)
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, steps=epochs * epoch, batch_size=batch_size,
        evaluate_every=epoch, keep="last", device=device, precision=precision,
    )  # fmt: skip
    check_options(options, len(chosen.classes))
    if out is None:
        name = "judge-synthetic"
        out = latest_run_path("judge", name) if resume else default_run_path("judge", name)
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify judge-synthetic", "data": str(dataset.path), "fingerprint": divided.fingerprint,
        "synthetic": [str(folder) for folder in synthetic], "synthetic_fingerprints": [part.fingerprint for part in opened],
        "target": target, "classes": list(chosen.classes), "seeds": seeds, "epochs": epochs, "seed": seed, **asdict(options),
    }, resume)  # fmt: skip
    write_split(divided, run.path / "split.csv")
    where = {"workers": workers, "ray": ray, "slurm": slurm}
    predicted = _train_and_test(run, dataset, chosen, synthetic, options, range(seed, seed + seeds), where, quiet)
    judgement = judge(run, chosen, options, predicted)
    write_report(judgement, divided, made)
    return judgement


def _choose(
    dataset: FundusDataset, column: str, classes: Sequence[str] | None, synthetic: Sequence[FundusDataset]
) -> Target:
    """The target, by default with the classes that there are synthetic images of."""
    target = choose_target(dataset, column, classes)
    if classes:
        return target
    found = {name: sum(part.class_counts().get(name, 0) for part in synthetic) for name in target.classes}
    both = {name: number for name, number in found.items() if number}
    if len(both) < 2:
        raise UserError(
            f"has synthetic images of these classes of the real eyes: {counts(both)}; at least two classes were expected",
            path=synthetic[0].path, hint="Name the folders of the other classes as well.",
        )  # fmt: skip
    return Target(column, tuple(both))


def _check_classes(made: Sequence[Part], target: Target) -> None:
    found = np.bincount(np.concatenate([part.labels for part in made]), minlength=len(target.classes))
    missing = [name for name, number in zip(target.classes, found, strict=True) if not number]
    if missing:
        raise UserError(
            f"there are no synthetic images of {', '.join(missing)}", path=made[0].dataset.path,
            hint="Name the folder of that class as well, or leave the class out with --classes.",
        )  # fmt: skip


def _train_and_test(
    run: RunFolder, dataset: FundusDataset, target: Target, synthetic: Sequence[Path | str], options: TrainingOptions,
    seeds: range, where: dict, quiet: bool,
) -> dict[str, list]:  # fmt: skip
    """{"trtr" | "trts" | "tstr": one SeedPredictions a seed}. Seeds are the outer loop: what is interrupted has whole rounds."""
    jobs = {
        (kind, seed): Job(f"{kind}-seed{seed}", f"{_HERE}:train_and_test", {
            "data": str(dataset.path.resolve()), "split": str((run.path / "split.csv").resolve()), "column": target.column,
            "classes": list(target.classes), "synthetic": [str(Path(folder).resolve()) for folder in synthetic], "train_on": kind,
            "out": str((run.path / kind / f"seed{seed}").resolve()), "options": asdict(replace(options, seed=seed)),
        })
        for seed in seeds
        for kind in (REAL, SYNTHETIC)
    }  # fmt: skip
    results = run_jobs(list(jobs.values()), run.path / "jobs", description="trainings", quiet=quiet, **where)

    def read(train_on: str, test_on: str) -> list:
        folders = [Path(results[jobs[train_on, seed].name]["run"]) for seed in seeds]
        return [seed_predictions(*read_predictions(folder / f"predictions-{test_on}.csv")) for folder in folders]

    return {"trtr": read(REAL, REAL), "trts": read(REAL, SYNTHETIC), "tstr": read(SYNTHETIC, REAL)}


def train_and_test(
    data: str, split: str, column: str, classes: list[str], synthetic: list[str], train_on: str, out: str, options: dict
) -> dict:
    """A job: one training on real or on synthetic eyes, and its predictions for the test patients; of a classifier trained
    on real eyes also those for the synthetic images. Validation patients are looked at, but nothing is chosen by them."""
    target, chosen = Target(column, tuple(classes)), TrainingOptions(**options)
    dataset = read_split(data, split, target)
    parts = load_parts(dataset, target, chosen.size, quiet=True)
    made = load_synthetic(synthetic, dataset, Target("label", target.classes), chosen.size, quiet=True)
    shown = made if train_on == SYNTHETIC else [parts["train"]]
    run = RunFolder.open_or_create(out, options, resume=True)
    fitted = fit(
        ImageSource.join([part.images for part in shown]), np.concatenate([part.labels for part in shown]), target.classes,
        chosen, validation=(parts["val"].images, parts["val"].labels), run=run, resume=True, quiet=True,
        about=describe(dataset, target),
    )  # fmt: skip
    tests = {REAL: [parts["test"]], **({SYNTHETIC: made} if train_on == REAL else {})}
    where = next(fitted.model.parameters()).device
    for name, tested in tests.items():
        probabilities = predict_images(fitted.model, ImageSource.join([part.images for part in tested]), device=where)
        _write(run.path / f"predictions-{name}.csv", tested, probabilities, target)
    return {"run": str(run.path)}


def _write(path: Path, parts: Sequence[Part], probabilities: np.ndarray, target: Target) -> None:
    """predictions.csv of several datasets, one after the other."""
    ends = np.cumsum([len(part.labels) for part in parts])[:-1]
    tables = [
        prediction_table(part.dataset, part.labels, rows, target.classes)
        for part, rows in zip(parts, np.split(probabilities, ends), strict=True)
    ]
    write_predictions(path, pd.concat(tables, ignore_index=True))
