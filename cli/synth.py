"""fundus-synth: generators of rare classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .common import Data, Device, Json, Out, Precision, Quiet, Resume, Seed, Workers, app, dataset_or_phantoms, show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

Projection = Annotated[str, typer.Option(help="The frozen network that a light generator is judged through: landmarks, timm:NAME, "
                                              "or auto, what the weights are of.")]  # fmt: skip
ProjectionWeights = Annotated[Optional[Path], typer.Option(help="File with that network's weights.")]

synth = app("Train generators of rare classes and make synthetic fundus images.")


@synth.command("train")
def synth_train(
    label: Annotated[Optional[str], typer.Option("--class", help="The class to learn, e.g. anemic.")] = None,
    all_classes: Annotated[bool, typer.Option("--all-classes", help="Every class that has fewer than --fill-to images.")] = False,
    fill_to: Annotated[Optional[int], typer.Option(min=1, help="With --all-classes: images each class shall have in the end; "
                                                               "default as many as the largest has.")] = None,
    data: Data = None,
    model: Annotated[Optional[str], typer.Option(help="light, dcgan or cyclegan; default light where --projection-weights are "
                                                      "given, else dcgan.")] = None,
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    steps: Annotated[Optional[int], typer.Option(min=1, help="Training steps; see fundus-synth plan.")] = None,
    minutes: Annotated[Optional[float], typer.Option(help="Stop after this long, instead of after steps.")] = None,
    batch_size: Annotated[Optional[int], typer.Option(min=2, help="Images a step.")] = None,
    augment: Annotated[str, typer.Option(help="What the discriminator sees: auto, none (the published DCGAN), or a list of "
                                              "translation,cutout,color,rotation.")] = "auto",
    shared_start: Annotated[str, typer.Option(help="Learn all classes first, then this one: auto, none, or the run to "
                                                   "start from.")] = "auto",
    from_class: Annotated[str, typer.Option(help="The class whose eyes a cyclegan translates.")] = "normal",
    hold_back: Annotated[float, typer.Option(help="Share of the patients kept back to measure quality, where the data have no "
                                                  "val split; 0 for none.")] = 0.15,
    features: Annotated[str, typer.Option(help="Feature space in which quality is measured: retina, timm:NAME, dinov2 or "
                                               "inception.")] = "retina",
    feature_weights: Annotated[Optional[Path], typer.Option(help="File with that space's weights.")] = None,
    projection: Projection = "auto", projection_weights: ProjectionWeights = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes of one node that train together.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes that train together (torchrun or Slurm).")] = 1,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="With --all-classes: keep broken pictures and copies, too.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="With --all-classes: classes side by side.")] = 1,
    ray: Annotated[Optional[str], typer.Option(help="With --all-classes: address of a Ray cluster, or local.")] = None,
    slurm: Annotated[Optional[str], typer.Option(help='With --all-classes: "partition=gpu,time=240,gpus=1", or local.')] = None,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", precision: Precision = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Train a generator of one class, or of every class that lacks images."""
    from ..runtime.errors import UserError

    if all_classes == (label is not None):
        raise UserError("expected either --class NAME or --all-classes")
    from ..synth.models import default_model

    model = model or default_model(projection_weights)
    options = {"model": model, "size": size, "steps": steps, "minutes": minutes, "batch_size": batch_size, "augment": augment,
               "shared_start": shared_start, "from_class": from_class, "hold_back": hold_back, "features": features,
               "feature_weights": feature_weights and str(feature_weights), "projection": projection,
               "projection_weights": projection_weights and str(projection_weights), "devices": devices, "nodes": nodes,
               "seed": seed, "device": device, "precision": precision}  # fmt: skip
    dataset = dataset_or_phantoms(data, quiet)
    if all_classes:
        _fill(dataset, fill_to, out, options, json, keep_all=keep_all, workers=workers, ray=ray, slurm=slurm, resume=resume,
              quiet=quiet)  # fmt: skip
        return
    from ..synth.train import train

    run = train(dataset, label, out=out, resume=resume, quiet=quiet, **options)
    show(json, {"run": str(run.path)}, f"{run.path}: generator of {label}; look at {run.path / 'report.html'}",
           f"next: fundus-synth generate {run.path} --count 200 --out {label}-synthetic")  # fmt: skip


def _fill(dataset, fill_to: int | None, out: Path | None, options: dict, json: bool, **how: object) -> None:
    from ..runtime.errors import UserError
    from ..synth.fill import fill

    if out is None:
        raise UserError("--all-classes needs a folder for what it makes", hint="Name it with --out.")
    filled = fill(dataset, fill_to or max(dataset.class_counts().values(), default=1), out, **how, **options)
    show(json, filled.summary(), *filled.lines())


@synth.command("generate")
def synth_generate(
    run: Annotated[Path, typer.Argument(help="Run of fundus-synth train.")],
    out: Annotated[Path, typer.Option(help="Dataset folder to make.")],
    count: Annotated[Optional[int], typer.Option(min=1, help="How many images; with --from default all.")] = None,
    source: Annotated[Optional[Path], typer.Option("--from", help="Dataset whose eyes a cyclegan translates.")] = None,
    truncation: Annotated[float, typer.Option(help="Above 0 to 2; below 1 more typical and less varied, above 1 more "
                                                      "varied and less real.")] = 1.0,
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Keep broken fields, eyes without a disc, and copies.")] = False,
    against: Annotated[Optional[Path], typer.Option(help="Real eyes: reject their copies, and learn from them how often "
                                                         "no disc is seen; default the run's own data.")] = None,
    classifier: Annotated[Optional[Path], typer.Option(help="Run of fundus-classify train: reject what it finds unlikely.")] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Least probability of the class by --classifier.")] = 0.5,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    seed: Seed = 0, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make synthetic images; every file says that it is synthetic, by which generator and seed."""
    from ..data.dataset import FundusDataset
    from ..runtime.errors import UserError

    if source is not None:
        from ..synth.translate import translate

        dataset = translate(run, FundusDataset.open(source), out, count, seed=seed, device=device, quiet=quiet)
        show(json, {"dataset": str(out), "images": len(dataset)}, f"{out}: {len(dataset)} translated eyes")
        return
    if count is None:
        raise UserError("--count is missing: how many images?")
    from ..synth.generate import generate, rejection_line

    rejection = None if keep_all else _rejection(run, against, classifier, min_score)
    dataset = generate(run, count, out, seed, truncation=truncation, rejection=rejection, workers=workers, device=device,
                       quiet=quiet)  # fmt: skip
    rejected = dataset.info.get("rejection", {})
    show(json, {"dataset": str(out), "images": len(dataset), "rejection": rejected},
         f"{out}: {len(dataset)} synthetic images", *([rejection_line(dataset)] if rejection else []))  # fmt: skip


def _rejection(run: Path, against: Path | None, classifier: Path | None, min_score: float):
    """What `generate` throws away; the run's own data, where they are still there, say what is a copy."""
    from ..data.dataset import FundusDataset
    from ..synth.checkpoint import DESCRIPTION, generator_folder, read_info
    from ..synth.rejection import Rejection
    from ..synth.train import data_of

    against, score = against or data_of(run), None
    if classifier is not None:
        # It brings the backbones along, which take seconds to import.
        from ..classify.class_score import ClassScore

        score = ClassScore(str(classifier), read_info(generator_folder(run) / DESCRIPTION).label)
    return Rejection(None if against is None else FundusDataset.open(against), score, min_score)


@synth.command("plan")
def synth_plan(
    data: Annotated[Path, typer.Argument(help="Dataset folder.")],
    size: Annotated[int, typer.Option(help="Image size, pixels.")] = 64,
    fill_to: Annotated[Optional[int], typer.Option(min=1, help="Images each class shall have; default as the largest.")] = None,
    projection: Projection = "auto", projection_weights: ProjectionWeights = None, device: Device = "auto",
    precision: Precision = "auto", json: Json = False,
) -> None:  # fmt: skip
    """What to train, how long it takes on this machine, and what not to expect: times a few real steps."""
    from rich.console import Console

    from ..data.dataset import FundusDataset
    from ..synth.plan import plan

    weights = projection_weights and str(projection_weights)
    advice = plan(FundusDataset.open(data), size=size, fill_to=fill_to, projection=projection, projection_weights=weights,
                  device=device, precision=precision)  # fmt: skip
    if not json:
        Console().print(*advice.tables())
    show(json, advice.summary(), *advice.lines())


@synth.command("walk")
def synth_walk(
    run: Annotated[Path, typer.Argument(help="Run of fundus-synth train.")],
    out: Annotated[Path, typer.Option(help="File to make: .gif or .webp for a loop, .png for a sheet of interpolations.")],
    eyes: Annotated[int, typer.Option(min=1, help="Eyes side by side, or rows of the sheet.")] = 6,
    truncation: Annotated[float, typer.Option(help="As in generate.")] = 1.0,
    seed: Seed = 0, device: Device = "cpu", json: Json = False,
) -> None:  # fmt: skip
    """Walk through the latent space: how eyes change into one another, smoothly or in jumps."""
    from ..synth.latent_walk import walk

    path = walk(run, out, eyes=eyes, truncation=truncation, seed=seed, device=device)
    show(json, {"file": str(path)}, f"{path}: generated eyes, not photographs")


@synth.command("evaluate")
def synth_evaluate(
    dataset: Annotated[Path, typer.Argument(help="Synthetic dataset folder.")],
    against: Annotated[Path, typer.Option(help="Real eyes; their val and test split where they have one.")],
    features: Annotated[Optional[list[str]], typer.Option(help="Feature space: retina (default), timm:NAME, dinov2, "
                                                               "inception or classifier:RUN; repeatable.")] = None,
    feature_weights: Annotated[Optional[list[Path]], typer.Option(help="File of weights, one for each space that has "
                                                                       "some, in order.")] = None,
    workers: Workers = None, seed: Seed = 0, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """How near synthetic eyes are to real ones that the generator has not seen, beside what real eyes reach."""
    from ..synth.judging.evaluate import evaluate

    spaces = features or ["retina"]
    if any(one.startswith("classifier:") for one in spaces):
        from ..classify.feature_space import with_classifiers

        spaces = with_classifiers(spaces)
    found = evaluate(dataset, against, features=spaces, feature_weights=feature_weights or (), seed=seed,
                     workers=workers, quiet=quiet)  # fmt: skip
    table = found.table()
    shown = [] if table.empty else [table.round(3).to_string(index=False)]
    show(json, found.summary(), *shown, *found.lines())


@synth.command("audit")
def synth_audit(
    synthetic: Annotated[Path, typer.Argument(help="Dataset of generated images.")],
    against: Annotated[Path, typer.Option(help="Dataset that the generator was trained on.")],
    holdout: Annotated[Optional[Path], typer.Option(help="Real eyes of other patients; default those of --against that the "
                                                         "generator has not seen.")] = None,
    run: Annotated[Optional[Path], typer.Option(help="Run of fundus-synth train: question its discriminator, too.")] = None,
    features: Annotated[str, typer.Option(help="Feature space: retina, timm:NAME, dinov2 or inception.")] = "retina",
    feature_weights: Annotated[Optional[Path], typer.Option(help="File with that space's weights.")] = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="No photographs on the page.")] = False,
    seed: Seed = 0, workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Look for copies of training eyes, and for what tells who was in the training. Exit code 1 when it is not passed."""
    from ..data.dataset import FundusDataset
    from ..synth.privacy.audit import audit

    real = None if holdout is None else FundusDataset.open(holdout)
    found = audit(FundusDataset.open(synthetic), FundusDataset.open(against), real, run=run, features=features,
                  feature_weights=feature_weights, seed=seed, workers=workers, quiet=quiet)  # fmt: skip
    found.write(pictures=not no_pictures)
    show(json, found.summary(), *found.lines(pictures=not no_pictures))
    raise typer.Exit(0 if found.passed else 1)


@synth.command("publish")
def synth_publish(
    dataset: Annotated[Path, typer.Argument(help="Synthetic dataset folder with a passed audit.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    licence: Annotated[Optional[str], typer.Option(help="Licence of the set as you state it, e.g. CC-BY-NC-4.0; default that of "
                                                        "the training data.")] = None,
    publisher: Annotated[str, typer.Option(help="Who publishes it.")] = "",
    url: Annotated[str, typer.Option(help="Where it will be found.")] = "",
    generator: Annotated[Optional[Path], typer.Option(help="Run that made it, to record how it was trained.")] = None,
    shards: Annotated[Optional[int], typer.Option(min=1, help="WebDataset shards of so many images, not single files.")] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="The table as Parquet, too.")] = False,
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make a folder that others can use and check. Copies that the audit found are left out."""
    from ..data.dataset import FundusDataset
    from ..synth.publishing.publish import publish

    published = publish(FundusDataset.open(dataset), out, licence=licence, publisher=publisher, url=url, generator=generator,
                        shards=shards, parquet=parquet, quiet=quiet)  # fmt: skip
    show(json, published.summary(), *published.lines())


@synth.command("verify")
def synth_verify(
    published: Annotated[Path, typer.Argument(help="Folder of fundus-synth publish.")],
    generator: Annotated[Optional[list[Path]], typer.Option(help="Run that made it: make its images again and compare; "
                                                                 "may be repeated.")] = None,
    sample: Annotated[Optional[int], typer.Option(min=1, help="With --generator: only so many images; default all.")] = None,
    seed: Annotated[int, typer.Option(help="Chooses those of --sample.")] = 0,
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Check a published set: files, table, marks, and with --generator every pixel. Exit code 1 when there is a fault."""
    from ..synth.publishing.verify import verify

    result = verify(published, generator or (), sample, seed=seed, quiet=quiet)
    show(json, result.summary(), *result.lines())
    raise typer.Exit(0 if result.ok else 1)
