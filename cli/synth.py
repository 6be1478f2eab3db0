"""fundus-synth: generators of rare classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import Data, Device, Json, Out, Precision, Quiet, Resume, Seed, app, dataset_or_phantoms, show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

synth = app("Train generators of rare classes and make synthetic fundus images.")


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
    from ..synth.train import train

    run = train(dataset_or_phantoms(data, quiet), label, model=model, size=size, steps=steps, minutes=minutes,
                batch_size=batch_size, augment=augment, start_from=start_from, seed=seed, out=out, resume=resume, device=device,
                precision=precision, quiet=quiet)  # fmt: skip
    show(json, {"run": str(run.path)}, f"{run.path}: generator of {label}; sample grids in {run.samples}",
           f"next: fundus-synth generate {run.path} --count 200 --out {label}-synthetic")  # fmt: skip


@synth.command("generate")
def synth_generate(
    run: Annotated[Path, typer.Argument(help="Run of fundus-synth train.")],
    count: Annotated[int, typer.Option(min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to make.")],
    seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make synthetic images; every file says that it is synthetic, by which generator and seed."""
    from ..synth.generate import generate

    dataset = generate(run, count, out, seed=seed, device=device, quiet=quiet)
    show(json, {"dataset": str(out), "images": len(dataset)}, f"{out}: {len(dataset)} synthetic images")
