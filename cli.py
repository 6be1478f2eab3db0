"""The three commands: fundus-preprocess, fundus-synth, fundus-classify.

A command parses, calls one function of a room and prints. Rooms are imported inside the commands, so that `--help`
never waits for torch.
"""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from .runtime.errors import JobError, UserError, counts

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045


def _app(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                       pretty_exceptions_enable=False)  # fmt: skip


preprocess = _app("Camera files in, standardised dataset folders out.")
synth = _app("Train generators of rare classes and make synthetic fundus images.")
classify = _app("Train, judge and explain classifiers of fundus photographs.")

Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, results only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, 32 or bf16.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out (or the newest of this kind).")]
Data = Annotated[Optional[Path], typer.Option(help="Dataset folder; without it, simulated eyes are made and used.")]
Out = Annotated[Optional[Path], typer.Option(help="Folder of the run; default runs/<verb>-<time>-<name>.")]
Workers = Annotated[Optional[int], typer.Option(help="Processes; default one a core.")]
Classes = Annotated[Optional[str], typer.Option(help="Only these labels, in this order, e.g. normal,diabetes.")]
Target = Annotated[str, typer.Option(help="Column to learn: label or grade.")]
Backbone = Annotated[str, typer.Option(help="simple_cnn (study E) or any timm name, e.g. mobilenetv3_small_100.")]


@preprocess.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    images_per_class: Annotated[int, typer.Option(min=1, help="Images of each class; two eyes a patient.")] = 40,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Height of the camera frame, pixels.")] = 512,
    seed: Seed = 0, workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make simulated eyes (phantoms) as camera frames, with labels and a mask of every structure."""
    from .data.phantom.cohort import write_phantom_dataset

    dataset = write_phantom_dataset(out, images_per_class=images_per_class, size=size, seed=seed, standardized=False,
                                    workers=workers, quiet=quiet)  # fmt: skip
    _print(json, {"dataset": str(out), "images": len(dataset), "classes": dataset.class_counts()},
           f"{out}: {len(dataset)} simulated eyes: {counts(dataset.class_counts())}")  # fmt: skip


@preprocess.command()
def run(
    src: Annotated[Path, typer.Argument(help="Folder as downloaded, or a CSV file.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    format: Annotated[str, typer.Option(help="auto, folder, csv or odir.")] = "auto",
    size: Annotated[int, typer.Option(min=32, max=2048, help="Width and height of the images made, pixels.")] = 512,
    illumination: Annotated[str, typer.Option(help="none, graham or clahe.")] = "none",
    table: Annotated[Optional[Path], typer.Option(help="The table, when it does not lie in SRC.")] = None,
    image_column: Annotated[Optional[str], typer.Option(help="Column with the file names (csv).")] = None,
    label_column: Annotated[Optional[str], typer.Option(help="Column with the labels (csv).")] = None,
    patient_column: Annotated[Optional[str], typer.Option(help="Column with the patients (csv).")] = None,
    workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Find the field of view of every camera file, crop, resize, and write a dataset folder.

    Unreadable files go to rejected.csv. Started again after an interruption, it continues where it was.
    """
    from .data.readers import ReaderOptions
    from .preprocess.pipeline import run as run_pipeline

    options = ReaderOptions(table, image_column, label_column, patient_column)
    result = run_pipeline(src, out, format=format, size=size, illumination=illumination, workers=workers, quiet=quiet,
                          reader_options=options)  # fmt: skip
    _print(json, result.summary(), *result.lines())


@preprocess.command()
def split(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder; its metadata.csv gets the column split.")],
    ratios: Annotated[str, typer.Option(help="Shares of train, val and test.")] = "0.8,0.1,0.1",
    seed: Seed = 0, json: Json = False,
) -> None:  # fmt: skip
    """Divide a dataset into train, val and test by patient, every class in the same proportions."""
    from .data.dataset import FundusDataset
    from .data.splits import parse_ratios, split_by_patient, split_lines

    opened = FundusDataset.open(dataset)
    divided = opened.with_split(split_by_patient(opened.table, parse_ratios(ratios), seed, path=dataset))
    divided.save_table()
    sizes = {str(k): int(n) for k, n in divided.table["split"].value_counts().items()}
    _print(json, {"dataset": str(dataset), "images": sizes}, *split_lines(divided))


@synth.command("train")
def synth_train(
    label: Annotated[str, typer.Option("--class", help="The class to learn, e.g. anemic.")],
    data: Data = None,
    model: Annotated[str, typer.Option(help="dcgan.")] = "dcgan",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Training steps; default about ten minutes on 2 cores.")] = None,
    minutes: Annotated[Optional[float], typer.Option(help="Stop after this long, instead of after steps.")] = None,
    batch_size: Annotated[Optional[int], typer.Option(min=2, help="Images a step.")] = None,
    augment: Annotated[str, typer.Option(help="What the discriminator sees: auto, none, or a list of "
                                              "translation,cutout,color.")] = "auto",
    start_from: Annotated[Optional[Path], typer.Option(help="Run of another generator to start from.")] = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Train a generator of one class."""
    from .synth.train import train

    run = train(_dataset(data, quiet), label, model=model, size=size, steps=steps, minutes=minutes, batch_size=batch_size,
                augment=augment, start_from=start_from, seed=seed, out=out, resume=resume, device=device,
                precision=precision, quiet=quiet)  # fmt: skip
    _print(json, {"run": str(run.path)}, f"{run.path}: generator of {label}; sample grids in {run.samples}",
           f"next: fundus-synth generate {run.path} --count 200 --out {label}-synthetic")  # fmt: skip


@synth.command("generate")
def synth_generate(
    run: Annotated[Path, typer.Argument(help="Run of fundus-synth train.")],
    count: Annotated[int, typer.Option(min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to make.")],
    seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make synthetic images; every file says that it is synthetic, by which generator and seed."""
    from .synth.generate import generate

    dataset = generate(run, count, out, seed=seed, device=device, quiet=quiet)
    _print(json, {"dataset": str(out), "images": len(dataset)}, f"{out}: {len(dataset)} synthetic images")


@classify.command("train")
def classify_train(
    data: Data = None,
    target: Target = "label",
    classes: Classes = None,
    backbone: Backbone = "simple_cnn",
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    epochs: Annotated[Optional[int], typer.Option(min=1, help="Passes over the training images.")] = None,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Optimiser steps, instead of epochs.")] = None,
    batch_size: Annotated[int, typer.Option(min=2, help="Images a step.")] = 32,
    learning_rate: Annotated[Optional[float], typer.Option(help="Default: the backbone's.")] = None,
    augment: Annotated[str, typer.Option(help="default, classical:odir, classical:anemia.")] = "default",
    sampling: Annotated[str, typer.Option(help="balanced or natural.")] = "balanced",
    weights: Annotated[Optional[Path], typer.Option(help="Local weights of the backbone (safetensors).")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Download the backbone's ImageNet weights.")] = False,
    synthetic: Annotated[Optional[list[Path]], typer.Option(help="Synthetic dataset folder to add; repeatable.")] = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Train a classifier and judge it on patients it never saw."""
    from .classify.train import train

    run = train(_dataset(data, quiet), target=target, classes=_names(classes), backbone=backbone, size=size, epochs=epochs,
                steps=steps, batch_size=batch_size, learning_rate=learning_rate, augment=augment, sampling=sampling,
                weights=weights, pretrained=pretrained, synthetic=synthetic or [], seed=seed, out=out, resume=resume,
                device=device, precision=precision, quiet=quiet)  # fmt: skip
    from .runtime.files import read_json

    metrics = read_json(run.path / "metrics.json")
    _print(
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
    from .classify.evaluate import evaluate

    result = evaluate(run, _dataset(data, quiet), out=out, device=device, quiet=quiet)
    _print(json, result.summary(), *result.lines())


@classify.command("predict")
def classify_predict(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    files: Annotated[list[Path], typer.Argument(help="Camera files, or folders of them.")],
    out: Annotated[Optional[Path], typer.Option(help="Write the table as CSV.")] = None,
    device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Say what a classifier sees in camera files."""
    from .classify.predictions import predict
    from .runtime.files import write_text

    table = predict(run, files, device=device, quiet=quiet)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    _print(json, table.to_dict("records"), table.to_string(index=False))


@classify.command("explain")
def classify_explain(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    data: Data = None,
    out: Annotated[Optional[Path], typer.Option(help="Folder for the pictures and the report.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images of each kind (best, worst, most uncertain) a class.")] = 4,
    device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Lay Grad-CAM maps over the best, worst and most uncertain images of every class."""
    from .classify.explain.explain import explain

    report = explain(run, _dataset(data, quiet), out=out, count=count, device=device, quiet=quiet)
    _print(json, {"report": str(report)}, f"report: {report}")


@classify.command("compare-augmentations")
def classify_compare_augmentations(
    data: Data = None,
    arms: Annotated[str, typer.Option(help="default, classical, classical:anemia, gan, gan:RATIO.")] = "default,classical,gan",
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
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side.")] = 1,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Does augmentation help? Default, classical and synthetic, at equal cost, on the same held-out patients."""
    from .classify.experiments.compare_augmentations import compare_augmentations

    result = compare_augmentations(
        _dataset(data, quiet), arms=_names(arms), seeds=seeds, target=target, classes=_names(classes), backbone=backbone,
        size=size, epochs=epochs, batch_size=batch_size, weights=weights, ratios=ratios, generators=generator or [],
        generator_steps=generator_steps, workers=workers, seed=seed, out=out, resume=resume, device=device,
        precision=precision, quiet=quiet)  # fmt: skip
    _print(json, result.summary(), *result.lines())


def _names(text: str | None) -> list[str] | None:
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def _dataset(path: Path | None, quiet: bool):
    """The dataset a command works on: the user's, or simulated eyes (and it says so)."""
    from .data.dataset import FundusDataset

    if path is not None:
        return FundusDataset.open(path)
    from .data.phantom.cohort import default_phantom_dataset

    print("no --data given: working on simulated eyes (phantoms), not on photographs", file=sys.stderr)
    return default_phantom_dataset(quiet=quiet)


def _print(as_json: bool, value: object, *lines: str) -> None:
    """The result on standard output: as JSON, or as lines for people."""
    if as_json:
        print(json_module.dumps(_without_nan(value), ensure_ascii=False, default=str))
    else:
        print("\n".join(lines))


def _without_nan(value: object) -> object:
    """The same with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def _main(app: typer.Typer) -> None:
    """Run an app; user errors are one line and exit code 2, failures one line and exit code 1."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UserError as error:
        _stop(str(error), 2)
    except JobError as error:
        _stop(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        _stop("stopped", 130)
    except Exception as error:
        # Usage errors: typer carries its own copy of click since 0.20 and used click before, so no class is common.
        if not hasattr(error, "format_message"):
            raise
        message, context = error.format_message(), getattr(error, "ctx", None)
        if message.startswith("Usage:"):
            sys.exit(print(message))
        name = context.command_path if context else Path(sys.argv[0]).name
        _stop(f"{message.rstrip('.')}. Try: {name} --help", 2)


def _stop(message: str, code: int) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def preprocess_main() -> None:
    """Entry point of fundus-preprocess."""
    _main(preprocess)


def synth_main() -> None:
    """Entry point of fundus-synth."""
    _main(synth)


def classify_main() -> None:
    """Entry point of fundus-classify."""
    _main(classify)
