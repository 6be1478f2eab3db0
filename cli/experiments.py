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
    arms: Annotated[str, typer.Option(help="default, classical[:odir|:anemia|:dr|:mild], randaugment, gan[:RATIO][:filtered], "
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
    external: Annotated[Optional[Path], typer.Option(help="Another dataset folder to test all arms on.")] = None,
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
        size=size, epochs=epochs, batch_size=batch_size, weights=weights, ratios=ratios, external=external,
        generators=generator or [], generator_steps=generator_steps, workers=workers, ray=ray, slurm=slurm, seed=seed,
        out=out, resume=resume, device=device,
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


@classify.command("compare-backbones")
def classify_compare_backbones(
    data: Data = None,
    backbones: Annotated[Optional[str], typer.Option(help="simple_cnn or timm names; the first is what the others are held "
                                                          "against. Default: the study's, or three small ones.")] = None,
    study: Annotated[Optional[str], typer.Option(help="A, B, C, D or E: its backbones, size, head and target where they are not "
                                                      "given, and its published figures beside ours.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each backbone.")] = 3,
    target: Annotated[Optional[str], typer.Option(help='label, grade, or an expression such as "dr: grade >= 1"; default the '
                                                       "study's, or label.")] = None,
    classes: Classes = None,
    size: Annotated[Optional[int], typer.Option(help="Image size, pixels; default the study's, or 64.")] = None,
    head: Annotated[Optional[str], typer.Option(help="linear, dense, cbam, ordinal or regression; default the "
                                                     "study's, or linear.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images; every backbone gets the same steps.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    weights: Annotated[Optional[list[str]], typer.Option(help="BACKBONE=FILE: local weights (safetensors); repeatable.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch timm's weights for the other backbones.")] = False,
    augment: Annotated[str, typer.Option(help="Augmentation, the same for all; see fundus-classify train.")] = "default",
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test, when the dataset has no split.")] = "0.7,0.1,0.2",
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Which network? Quality on the same held-out patients at equal steps, and what each costs to run."""
    from ..classify.experiments.compare_backbones import compare_backbones

    result = compare_backbones(
        dataset_or_phantoms(data, quiet), backbones=names(backbones), study=study, seeds=seeds, target=target,
        classes=names(classes), size=size, head=head, epochs=epochs, batch_size=batch_size, weights=weights or [],
        pretrained=pretrained, augment=augment, ratios=ratios, workers=workers, ray=ray, slurm=slurm, seed=seed, out=out,
        resume=resume, device=device, precision=precision, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())


@classify.command("learning-curve")
def classify_learning_curve(
    data: Data = None,
    target: Target = "grade",
    classes: Classes = None,
    shares: Annotated[str, typer.Option(help="Percent of the training patients to fine-tune on.")] = "10,20,40,60,80,100",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of the reference and of each share.")] = 3,
    backbone: Backbone = "mobilenetv2_100",
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors) to fine-tune.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Download the backbone's ImageNet weights instead.")] = False,
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over all training images.")] = 10,
    frozen_epochs: Annotated[int, typer.Option(min=0, help="Epochs at the start that train the head alone.")] = 2,
    equal: Annotated[str, typer.Option(help="What all trainings get as many of: steps, or epochs (fewer patients, fewer "
                                            "steps, as in study D).")] = "steps",
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    sampling: Annotated[str, typer.Option(help="natural or balanced.")] = "natural",
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test, when the dataset has no split.")] = "0.7,0.1,0.2",
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """What does transfer learning buy? From scratch on all patients, against pretrained on 10..100 % (study D)."""
    from ..classify.experiments.learning_curve import learning_curve, refuse_random_start

    refuse_random_start(weights, pretrained)  # before simulated eyes are made for nothing
    result = learning_curve(
        dataset_or_phantoms(data, quiet), target=target, classes=names(classes), shares=shares, seeds=seeds, backbone=backbone,
        weights=weights, pretrained=pretrained, size=size, epochs=epochs, frozen_epochs=frozen_epochs, equal=equal,
        batch_size=batch_size, sampling=sampling, ratios=ratios, workers=workers, ray=ray, slurm=slurm, seed=seed, out=out,
        resume=resume, device=device, precision=precision, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())


@classify.command("leakage")
def classify_leakage(
    data: Data = None,
    target: Target = "label",
    classes: Classes = None,
    seeds: Annotated[int, typer.Option(min=1, help="Splits of each kind, and trainings.")] = 3,
    copies: Annotated[int, typer.Option(min=1, help="Rotated copies of each photograph (study B: 4, and 8).")] = 4,
    backbone: Backbone = "simple_cnn",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training pictures, copies too.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors).")] = None,
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.7,0.1,0.2",
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """How much of a test figure is memory? Split by patient, by image, and by copy as study B did."""
    from ..classify.experiments.leakage import leakage

    result = leakage(
        dataset_or_phantoms(data, quiet), target=target, classes=names(classes), seeds=seeds, copies=copies, backbone=backbone,
        size=size, epochs=epochs, batch_size=batch_size, weights=weights, ratios=ratios, workers=workers, ray=ray, slurm=slurm,
        seed=seed, out=out, resume=resume, device=device, precision=precision, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())


@classify.command("combine")
def classify_combine(
    runs: Annotated[list[Path], typer.Argument(help="Runs of fundus-classify train on the same split of the same images.")],
    data: Annotated[Optional[Path], typer.Option(help="Their dataset; for --metadata and --pool eye.")] = None,
    pool: Annotated[str, typer.Option(help="none; fellow: the patient's other photographs help; eye or patient: one answer "
                                           "for each.")] = "none",
    metadata: Annotated[bool, typer.Option("--metadata", help="Let age, sex and blood pressure help, where that pays.")] = False,
    seed: Seed = 0, out: Out = None, json: Json = False,
) -> None:  # fmt: skip
    """One answer from several runs, the fellow eye and the metadata; fitted on val, tested once."""
    from ..classify.combine import combine

    result = combine(runs, dataset=data, pool=pool, metadata=metadata, out=out, seed=seed)
    show(json, result.summary(), *result.lines())


@classify.command("reproduce")
def classify_reproduce(
    study: Annotated[str, typer.Argument(help="A (anaemia), B (retinopathy on a phone), C (grading), D (transfer learning) or "
                                              "E (eight diseases).")],
    data: Data = None,
    backbones: Annotated[Optional[str], typer.Option(help="Instead of the study's networks.")] = None,
    target: Annotated[Optional[str], typer.Option(help="Instead of the study's.")] = None,
    size: Annotated[Optional[int], typer.Option(help="Image size, pixels; default the study's.")] = None,
    epochs: Annotated[int, typer.Option(min=2, help="Passes over the training images in each experiment.")] = 10,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each arm, network or split.")] = 3,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    weights: Annotated[Optional[list[str]], typer.Option(help="BACKBONE=FILE: local weights (safetensors); repeatable.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Fetch timm's weights for the other networks.")] = False,
    generator_steps: Annotated[Optional[int], typer.Option(min=1, help="Of each generator of study E.")] = None,
    workers: SideBySide = 1, ray: Ray = None, slurm: Slurm = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """A published study again, its figures beside ours, and its flaw measured or mended."""
    from ..classify.experiments.reproduce import reproduce

    result = reproduce(
        study, dataset_or_phantoms(data, quiet), backbones=names(backbones), target=target, size=size, epochs=epochs,
        seeds=seeds, batch_size=batch_size, weights=weights or [], pretrained=pretrained, generator_steps=generator_steps,
        workers=workers, ray=ray, slurm=slurm, seed=seed, out=out, resume=resume, device=device, precision=precision,
        quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())
