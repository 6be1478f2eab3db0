"""What does transfer learning buy? Study D: a network trained from scratch on all patients, against pretrained networks that
are fine-tuned on a share of them (TL10: on 10 %).

    fundus-classify learning-curve --data DATASET --backbone mobilenetv2_100 --weights FILE

What is kept equal, and what is not:

- *Patients.* All train inside one training part and are tested on the same held-out patients; validation chooses nothing.
- *Shares.* Of patients, not of images, and nested: with each seed, the 10 % are among the 20 %. The seed draws the patients
  too, so that the intervals know their chance.
- *Cost.* The same number of optimiser steps in every training, so that a small share is seen more often; or, with `equal`
  "epochs", the same number of passes as in the study, so that a small share takes fewer steps.
- *Not equal.* The learning rate: a random network starts with 1e-3, a pretrained one with 3e-4. And the pretrained ones train
  their head alone at first, as in the study; a random network has no features that this could protect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ...data.dataset import FundusDataset
from ...data.targets import Target, choose_target
from ...runtime.errors import JobError, UserError
from ...runtime.jobs import run_jobs
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ..fitting import TrainingOptions, check_options
from .division import divide_dataset, tell
from .learning_curve_report import write_report
from .learning_curve_result import REFERENCE, Arm, LearningCurve, compare_shares
from .patient_shares import nested_shares, parse_shares
from .split_file import write_split
from .trainings import tested, training_job

STEPS, EPOCHS = "steps", "epochs"


def refuse_random_start(weights: Path | None, pretrained: bool) -> None:
    """Refuse to measure a transfer from nothing.

    Raises:
        UserError: there are no pretrained weights.
    """
    if weights is None and not pretrained:
        raise UserError(
            "learning-curve has no pretrained weights to fine-tune, so there is no transfer to measure",
            hint="Give a local file with --weights FILE, or --pretrained to download timm's.",
        )


def learning_curve(
    dataset: FundusDataset, *, target: str = "grade", classes: Sequence[str] | None = None,
    shares: str = "10,20,40,60,80,100", seeds: int = 3, backbone: str = "mobilenetv2_100", weights: Path | None = None,
    pretrained: bool = False, size: int = 128, epochs: int = 10, frozen_epochs: int = 2, equal: str = STEPS,
    batch_size: int = 32, sampling: str = "natural", ratios: str = "0.7,0.1,0.2", workers: int = 1, ray: str | None = None,
    slurm: str | None = None, seed: int = 0, out: Path | None = None, resume: bool = False, device: str = "auto",
    precision: str = "auto", quiet: bool = False,
) -> LearningCurve:  # fmt: skip
    """Train the reference and every share with several seeds, test all on the same patients, write report.html.

    Args:
        dataset: split already, or divided here by `ratios`, by patient.
        shares: percent of the training patients, see `parse_shares`.
        seeds: trainings of the reference and of each share.
        weights, pretrained: what is fine-tuned, as in `create_backbone`; the reference is the same backbone without them.
        epochs: passes over all training images.
        frozen_epochs: so many of them train the head alone; not of the reference.
        equal: "steps" or "epochs", see above.
        sampling: "natural", whose probabilities fit the shares of the classes among the test patients, or "balanced".
        workers, ray, slurm: where the trainings run, see `run_jobs`.
        resume: continue a run that was interrupted; finished trainings are not repeated.

    Raises:
        UserError: no pretrained weights, unusable options or data, or a share without a patient of some class.
        JobError: a training failed.
    """
    refuse_random_start(weights, pretrained)
    percents = parse_shares(shares)
    if equal not in (STEPS, EPOCHS):
        raise UserError(f"--equal is {equal!r}, {STEPS} or {EPOCHS} was expected")
    if frozen_epochs >= epochs:
        raise UserError(
            f"of {epochs} epochs {frozen_epochs} would train the head alone", hint="Fewer --frozen-epochs are needed."
        )
    chosen = choose_target(dataset, target, classes)
    divided = divide_dataset(dataset, chosen, ratios, seed)
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, pretrained=pretrained, batch_size=batch_size,
        sampling=sampling, keep="last", device=device, precision=precision,
    )  # fmt: skip
    check_options(options, len(chosen.classes))
    arms = [
        arm
        for number in range(seed, seed + seeds)
        for arm in _arms(divided, chosen, percents, options, number, (epochs, frozen_epochs, equal))
    ]
    if not quiet:
        tell(dataset, chosen)
    if out is None:
        out = latest_run_path("learning-curve", backbone) if resume else default_run_path("learning-curve", backbone)
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify learning-curve", "data": str(dataset.path), "fingerprint": divided.fingerprint,
        "target": target, "classes": list(chosen.classes), "shares": percents, "seeds": seeds, "equal": equal,
        **asdict(options), "epochs": epochs, "frozen_epochs": frozen_epochs, "seed": seed,
    }, resume)  # fmt: skip
    results = _train(run, dataset, divided, chosen, arms, {"workers": workers, "ray": ray, "slurm": slurm}, quiet)
    curve = compare_shares(run, chosen, arms, [tested(result) for result in results])
    write_report(curve, divided, options, results[-1]["started_from"])
    return curve


def _arms(
    divided: FundusDataset, target: Target, shares: Sequence[int], options: TrainingOptions, seed: int,
    length: tuple[int, int, str],
) -> list[Arm]:  # fmt: skip
    """The trainings of one seed: the reference, then each share."""
    epochs, frozen, equal = length
    train = np.flatnonzero(divided.column("split") == "train")
    part = divided.subset(train)
    whole = math.ceil(len(part) / options.batch_size)
    scratch = replace(options, weights=None, pretrained=False, steps=epochs * whole, evaluate_every=whole, seed=seed)
    arms = [Arm(REFERENCE, 100, seed, _sides(divided, train), part.patient_keys, scratch)]
    for share, kept in nested_shares(part, target, shares, seed).items():
        epoch = whole if equal == STEPS else math.ceil(kept.sum() / options.batch_size)
        tuned = replace(
            options, steps=epochs * epoch, freeze_steps=frozen * epoch, evaluate_every=epoch, seed=seed
        )  # fmt: skip
        keys = part.subset(kept).patient_keys
        arms.append(Arm(f"TL{share}", share, seed, _sides(divided, train[kept]), keys, tuned))
    return arms


def _sides(divided: FundusDataset, train: np.ndarray) -> np.ndarray:
    """The split of each image when only the images `train` are trained on; "" of the other training images."""
    sides = divided.column("split").to_numpy(dtype=object, copy=True)
    left_out = np.setdiff1d(np.flatnonzero(sides == "train"), train)
    sides[left_out] = ""
    return sides


def _train(
    run: RunFolder, dataset: FundusDataset, divided: FundusDataset, target: Target, arms: Sequence[Arm], where: dict,
    quiet: bool,
) -> list[dict]:  # fmt: skip
    """One job result an arm. Seeds are the outer loop, so that an interrupted curve has whole rounds."""
    jobs = []
    for arm in arms:
        name = f"{arm.name}-seed{arm.seed}"
        split = run.path / "splits" / f"{name}.csv"
        write_split(divided.with_split(arm.sides), split)
        jobs.append(training_job(name, dataset, split, target, run.path / "arms" / name, arm.options))
    results = run_jobs(jobs, run.path / "jobs", description="trainings", quiet=quiet, **where)
    for job, arm in zip(jobs, arms, strict=True):
        if results[job.name]["steps"] != arm.options.steps:
            raise JobError(
                f"training {job.name} took {results[job.name]['steps']} steps, {arm.options.steps} were planned"
            )
    return [results[job.name] for job in jobs]
