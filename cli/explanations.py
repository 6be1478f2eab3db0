"""fundus-classify, the commands that ask where a classifier looks and what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .classify import classify
from .common import Data, Device, Json, Quiet, Seed, dataset_or_phantoms, names, show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

_Run = Annotated[Path, typer.Argument(help="Run of fundus-classify train.")]
_Folder = Annotated[Optional[Path], typer.Option(help="Folder for the page and its figures; default inside RUN.")]
_Method = Annotated[str, typer.Option(help="How maps are made: grad-cam, grad-cam++, hirescam, guided-grad-cam, saliency, "
                                           "smoothgrad, integrated-gradients, occlusion.")]  # fmt: skip


@classify.command("mean-maps")
def classify_mean_maps(
    run: _Run,
    data: Data = None,
    method: _Method = "grad-cam",
    groups: Annotated[str, typer.Option(help="class, outcome (right and wrong of each class), study-a (macula-centred or any, "
                                             "of each class), or a column of metadata.csv, such as sex.")] = "class",
    of: Annotated[str, typer.Option(help="Whose evidence the maps show: a class, true or predicted; by default the positive "
                                         "one of two classes, else the true one; of a head for grades: higher or lower.")] = "",
    scale: Annotated[str, typer.Option(help="strength: maps as they are; share: each adds up to 1, so that only the place "
                                            "counts.")] = "strength",
    permutations: Annotated[int, typer.Option(min=19, help="Of the test between two groups.")] = 2000,
    out: _Folder = None, seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Average maps of unseen patients in one retinal frame, and test where groups differ."""
    from ..classify.explain.mean_maps import mean_maps

    found = mean_maps(run, dataset_or_phantoms(data, quiet), method=method, groups=groups, of=of, scale=scale,
                      permutations=permutations, out=out, seed=seed, device=device, quiet=quiet)  # fmt: skip
    show(json, found.summary(), *found.lines())


@classify.command("regions")
def classify_regions(
    run: _Run,
    data: Data = None,
    method: _Method = "grad-cam",
    fills: Annotated[str, typer.Option(help="How a region is taken away: blank, blur, swap.")] = "blank,blur,swap",
    out: _Folder = None, seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Does the disc matter? How much of the maps lies in disc, macula, vessels, ..., and what falls when each is taken away."""
    from ..classify.explain.regions import regions

    found = regions(run, dataset_or_phantoms(data, quiet), method=method, fills=names(fills), out=out, seed=seed,
                    device=device, quiet=quiet)  # fmt: skip
    show(json, found.summary(), *found.lines())


@classify.command("check-explanations")
def classify_check_explanations(
    run: _Run,
    data: Data = None,
    methods: Annotated[str, typer.Option(help="Names with commas between, or all that this network allows.")] = "all",
    of_class: Annotated[str, typer.Option("--class", help="Only this class; images of a dataset without labels all count as of "
                                                          "it. By default every class but the healthy one.")] = "",
    masks: Annotated[Optional[str], typer.Option(help="Kinds of masks of what should be found, e.g. optic_disc; by default all "
                                                      "but those of the anatomy.")] = None,
    count: Annotated[int, typer.Option(min=2, help="Images, drawn at random.")] = 60,
    baseline: Annotated[str, typer.Option(help="What deletion leaves: the photograph in blur, or its mean colour.")] = "blur",
    steps: Annotated[int, typer.Option(min=2, help="Parts that the field is deleted and inserted in.")] = 20,
    out: _Folder = None, seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """May the maps of each method be believed? Insertion and deletion, pointing at masks, and randomised networks."""
    from ..classify.explain.check_explanations import check_explanations

    found = check_explanations(run, dataset_or_phantoms(data, quiet), methods=methods if methods == "all" else names(methods),
                               of_class=of_class, masks=names(masks) or (), count=count, baseline=baseline, steps=steps,
                               out=out, seed=seed, device=device, quiet=quiet)  # fmt: skip
    show(json, found.summary(), *found.lines())
