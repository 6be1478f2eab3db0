"""fundus-classify: classifiers, comparisons, explanations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import (
    Backbone,
    Classes,
    Data,
    Device,
    Json,
    Out,
    Precision,
    Quiet,
    Resume,
    Seed,
    app,
    dataset_or_phantoms,
    names,
    show,
)  # fmt: skip

_AnyTarget = Annotated[str, typer.Option(help=(
    'label, grade, an expression such as "dr: grade >= 1", anemic, glaucoma; multilabel (several of the columns N..O an image) or '
    "hemoglobin (g/dL)."
))]  # fmt: skip

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

classify = app("Train, judge and explain classifiers of fundus photographs.")


@classify.command("train")
def classify_train(
    data: Data = None,
    target: _AnyTarget = "label",
    classes: Classes = None,
    backbone: Backbone = "simple_cnn",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    epochs: Annotated[Optional[int], typer.Option(min=1, help="Passes over the training images.")] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Optimiser steps, instead of epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    learning_rate: Annotated[Optional[float], typer.Option(help="Default: the backbone's.")] = None,
    head: Annotated[str, typer.Option(help="linear, dense (study A), cbam (study B), regression (study C) or "
                                          "ordinal (both target grade).")] = "linear",
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.")] = "adamw",
    weight_decay: Annotated[float, typer.Option(help="Of every weight.")] = 1e-2,
    schedule: Annotated[str, typer.Option(help="Learning rate: cosine, constant, or plateau (halved when the validation "
                                               "loss stays up for 3 evaluations).")] = "cosine",
    patience: Annotated[int, typer.Option(help="Stop after so many evaluations without a better macro F1; 0: never.")] = 0,
    frozen_epochs: Annotated[int, typer.Option(min=0, help="Epochs at the start that train the head alone.")] = 0,
    backbone_rate: Annotated[float, typer.Option(help="Learning rate of the backbone, as a share of the head's.")] = 1.0,
    label_smoothing: Annotated[float, typer.Option(help="Share of the truth that is spread over all classes.")] = 0.0,
    mixup: Annotated[float, typer.Option(help="Blend pairs of images, with shares from Beta(MIXUP, MIXUP).")] = 0.0,
    class_weights: Annotated[bool, typer.Option("--class-weights", help="Rare classes weigh more in the loss; needs "
                                                                        "--sampling natural.")] = False,
    average: Annotated[int, typer.Option(help="Keep a moving average of the weights: its half-life in steps.")] = 0,
    augment: Annotated[str, typer.Option(help="default (none), classical:mild, classical:odir, classical:anemia, "
                                              "classical:dr, randaugment.")] = "default",
    offline: Annotated[int, typer.Option(min=0, help="Train on so many copies of each image that are altered once, as the studies "
                                                     "did; 0: anew at each draw.")] = 0,
    sampling: Annotated[str, typer.Option(help="balanced or natural.")] = "balanced",
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors).")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Download the backbone's ImageNet weights.")] = False,
    synthetic: Annotated[Optional[list[Path]], typer.Option(help="Synthetic dataset folder to add; repeatable.")] = None,
    decide: Annotated[str, typer.Option(help="val: temperature, and what else the class depends on, chosen on the validation "
                                             "patients. argmax: the largest probability.")] = "val",
    logger: Annotated[str, typer.Option(help="tensorboard, csv (metrics.csv alone), mlflow or wandb.")] = "tensorboard",
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Train a classifier and judge it on patients it never saw."""
    from ..classify.train import train

    run = train(dataset_or_phantoms(data, quiet), target=target, classes=names(classes), backbone=backbone, size=size,
                epochs=epochs, steps=steps, batch_size=batch_size, learning_rate=learning_rate, augment=augment, sampling=sampling,
                weights=weights, pretrained=pretrained, synthetic=synthetic or [], seed=seed, out=out, resume=resume,
                device=device, precision=precision, quiet=quiet, optimizer=optimizer, weight_decay=weight_decay,
                schedule=schedule, patience=patience, frozen_epochs=frozen_epochs, backbone_rate=backbone_rate,
                label_smoothing=label_smoothing, mixup=mixup, class_weights=class_weights, average=average,
                head=head, decide=decide, logger=logger, offline=offline)  # fmt: skip
    from ..runtime.files import read_json

    metrics = read_json(run.path / "metrics.json")
    show(
        json, {"run": str(run.path), "metrics": metrics}, f"{run.path}: trained", f"report: {run.path / 'report.html'}"
    )


@classify.command("evaluate")
def classify_evaluate(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    data: Data = None,
    out: Annotated[Optional[Path], typer.Option(help="Write predictions.csv here.")] = None,
    device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Judge a trained classifier on another dataset; patients it was trained on are left out."""
    from ..classify.evaluate import evaluate

    result = evaluate(run, dataset_or_phantoms(data, quiet), out=out, device=device, quiet=quiet)
    show(json, result.summary(), *result.lines())


@classify.command("explain")
def classify_explain(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    data: Data = None,
    method: Annotated[str, typer.Option(help="One or several with commas: grad-cam, grad-cam++, hirescam, guided-grad-cam, "
                                             "saliency, smoothgrad, integrated-gradients, occlusion.")] = "grad-cam",
    target: Annotated[Optional[str], typer.Option(help="Only these classes or labels; of haemoglobin, or a number for the "
                                                       "grade: lower, higher.")] = None,
    layer: Annotated[Optional[str], typer.Option(help="Layer of the CAM methods, e.g. blocks.4; default: the deepest with "
                                                      "a useful map.")] = None,
    channels: Annotated[bool, typer.Option("--channels", help="Maps of red, green and blue apart, too (pixel methods).")] = False,
    camera_files: Annotated[Optional[Path], typer.Option(help="Folder of the camera files the dataset was made from: lay the "
                                                              "maps over them, too.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images of each kind (best, worst, most uncertain) a class.")] = 4,
    out: Annotated[Optional[Path], typer.Option(help="Folder for the pictures and the report; default inside RUN.")] = None,
    seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Show which parts of the best, worst and most uncertain images of every class raised its score."""
    from ..classify.explain.explain import explain

    report = explain(run, dataset_or_phantoms(data, quiet), methods=names(method), target=names(target) or (), layer=layer,
                     channels=channels, camera_folder=camera_files, count=count, out=out, seed=seed, device=device,
                     quiet=quiet)  # fmt: skip
    show(json, {"report": str(report)}, f"report: {report}")
