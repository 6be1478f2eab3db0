"""fundus-classify, the commands that run many trainings to answer one question."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .classify import classify
from .common import (
    Backbone,
    Classes,
    Data,
    Device,
    Json,
    Out,
    Precision,
    Quiet,
    Ray,
    Resume,
    Seed,
    SideBySide,
    Slurm,
    Target,
    dataset_or_phantoms,
    names,
    show,
)  # fmt: skip

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045


@classify.command("compare-augmentations")
def classify_compare_augmentations(
    data: Data = None,
    arms: Annotated[str, typer.Option(help="default, classical, classical:anemia, classical:dr, randaugment, gan, gan:RATIO, "
                                             "or sums such as classical+gan.")] = "default,classical,gan",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each arm.")] = 5,
    target: Target = "label",
    classes: Classes = None,
    backbone: Backbone = "simple_cnn",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the real training images; every arm gets the same steps.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors).")] = None,
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test, when the dataset has no split.")] = "0.7,0.1,0.2",
    generator: Annotated[Optional[list[Path]], typer.Option(help="Run of fundus-synth train; repeatable. Without it, "
                                                                "generators are trained inside the training split.")] = None,
    generator_steps: Annotated[Optional[int], typer.Option(min=1, help="Steps of each generator trained here.")] = None,
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Does augmentation help? Default, classical and synthetic, at equal cost, on the same held-out patients."""
    from ..classify.experiments.compare_augmentations import compare_augmentations

    result = compare_augmentations(
        dataset_or_phantoms(data, quiet), arms=names(arms), seeds=seeds, target=target, classes=names(classes), backbone=backbone,
        size=size, epochs=epochs, batch_size=batch_size, weights=weights, ratios=ratios, generators=generator or [],
        generator_steps=generator_steps, workers=workers, ray=ray, slurm=slurm, seed=seed, out=out, resume=resume, device=device,
        precision=precision, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())


@classify.command("judge-synthetic")
def classify_judge_synthetic(
    synthetic: Annotated[list[Path], typer.Argument(help="Synthetic dataset folders: of each class one, or all in one.")],
    data: Annotated[Path, typer.Option(help="Real eyes, split as they were when the generator was trained.")],
    seeds: Annotated[int, typer.Option(min=1, help="Trainings on real and on synthetic eyes.")] = 1,
    target: Target = "label",
    classes: Classes = None,
    backbone: Backbone = "simple_cnn",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the real training images; both get the same steps.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors).")] = None,
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Do synthetic eyes show their class? Train on real, test on synthetic, and the reverse."""
    from ..classify.experiments.judge_synthetic import judge_synthetic
    from ..data.dataset import FundusDataset

    result = judge_synthetic(
        synthetic, FundusDataset.open(data), target=target, classes=names(classes), seeds=seeds, backbone=backbone, size=size,
        epochs=epochs, batch_size=batch_size, weights=weights, workers=workers, ray=ray, slurm=slurm,
        seed=seed, out=out, resume=resume, device=device, precision=precision, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())
