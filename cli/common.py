"""What the commands share: options that mean the same everywhere, the dataset they work on, how a result is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from .show import show as show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045


def app(text: str) -> typer.Typer:
    """One of the three commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, add_completion=False,
                       pretty_exceptions_enable=False)  # fmt: skip


Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, results only.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Precision = Annotated[str, typer.Option(help="auto, 32 or bf16.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out (or the newest of this kind).")]
Data = Annotated[Optional[Path], typer.Option(help="Dataset folder; without it, simulated eyes are made and used.")]
Out = Annotated[Optional[Path], typer.Option(help="Folder of the run; default runs/<verb>-<time>-<name>.")]
Workers = Annotated[Optional[int], typer.Option(min=1, help="Processes; default one a core.")]
SideBySide = Annotated[int, typer.Option("--workers", min=1, help="Trainings side by side on this machine.")]
Ray = Annotated[Optional[str], typer.Option(help="Run the trainings on a Ray cluster: its address, or local.")]
Slurm = Annotated[
    Optional[str], typer.Option(help='Run them as a Slurm array: "partition=gpu,time=240,gpus=1", or local.')
]
Classes = Annotated[Optional[str], typer.Option(help="Only these labels, in this order, e.g. normal,diabetes.")]
Target = Annotated[str, typer.Option(help='label, grade, or an expression such as "dr: grade >= 1", anemic, glaucoma.')]
Backbone = Annotated[str, typer.Option(help=(
    "simple_cnn (study E) or any timm name. Of the studies: resnet50, mobilenetv2_100, densenet121 (A); mobilenetv3_small_100, "
    "mobilenetv3_large_100 (B); resnext101_32x8d (C); resnet18 (D); vgg13_bn, inception_v3 (E)."
))]  # fmt: skip


def names(text: str | None) -> list[str] | None:
    """ "a, b" -> ["a", "b"]; None stays None."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def dataset_or_phantoms(path: Path | None, quiet: bool):
    """The dataset a command works on: the user's, or simulated eyes (and it says so)."""
    from ..data.dataset import FundusDataset

    if path is not None:
        return FundusDataset.open(path)
    from ..data.phantom.cohort import default_phantom_dataset

    print("no --data given: working on simulated eyes (phantoms), not on photographs", file=sys.stderr)
    return default_phantom_dataset(quiet=quiet)
