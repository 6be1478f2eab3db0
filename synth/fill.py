"""Bring every class to so many images: one shared start, a generator for each class that lacks images, and those images.

fundus-synth train --data DATASET --all-classes --fill-to 500 --out OUT
fundus-synth train --data DATASET --all-classes --fill-to 500 --out OUT --resume        # continue what was killed

    OUT/shared/                 the shared start, a run
    OUT/generators/<class>/     one run a class
    OUT/synthetic/<class>/      a dataset folder of what the class lacks
    OUT/summary.csv             one row a class
    OUT/jobs/                   results and errors of the jobs

The classes are independent jobs: one after the other, side by side, on a Ray cluster or as a Slurm array (`run_jobs`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from ..data.dataset import FundusDataset
from ..data.schema import read_table, table_to_csv
from ..runtime.errors import UserError, counts
from ..runtime.files import sha256_bytes, write_text
from ..runtime.jobs import Job, run_jobs
from ..runtime.runs import RunFolder
from .checkpoint import read_info, slug
from .generate import generate
from .held_back import ALL_CLASSES, FEWEST_IMAGES, divide
from .models import model_named
from .rejection import Rejection
from .train import FINISHED, Options, check_options, for_shared_start, shares_start, train

_HERE = "fundus_synth.synth.fill"
_SUMMARY, _TABLE = "summary.csv", "images.csv"


@dataclass(frozen=True)
class Filled:
    """What was made.

    Attributes:
        path: the folder.
        table: one row a class: label, real (images to train on), wanted, made, drawn, run, dataset, and why not.
    """

    path: Path
    table: pd.DataFrame

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"out": str(self.path), "classes": self.table.to_dict("records")}

    def lines(self) -> list[str]:
        """One line a class."""
        return [f"{row.label}: {row.real} real, {_made(row)}" for row in self.table.itertuples()]


def fill(
    dataset: FundusDataset, fill_to: int, out: Path | str, *, keep_all: bool = False, resume: bool = False,
    quiet: bool = False, workers: int | None = 1, ray: str | None = None, slurm: str | None = None,
    cores: int | None = None, jobs_per_gpu: int = 1, **options: object,
) -> Filled:  # fmt: skip
    """Train what is needed and generate what every class lacks to have `fill_to` images to train on.

    Classes with fewer than 8 images are left out, and said so. When it is killed, the same call with `resume` continues.

    Args:
        dataset: only its train split is learnt from and counted, where it has one.
        keep_all: keep every image generated; otherwise broken ones and copies are thrown away, also copies of real ones.
        workers, ray, slurm, cores, jobs_per_gpu: where the classes are trained, see `run_jobs`.
        options: fields of `train.Options`; `steps` are of each class (the shared start takes its share more), `minutes`
            are for all of it: half for the shared start, the rest shared out among the classes.

    Raises:
        UserError: bad options, no class that lacks images, or a folder that these options do not continue.
        JobError: a class failed; the others are done.
    """
    if fill_to < 1:
        raise UserError(f"--fill-to is {fill_to}; expected at least 1")
    wanted = Options(**options)
    check_options(wanted)
    model_named(wanted.model)
    real = {label: _images(dataset, label) for label in dataset.class_counts()}
    lacking = {label: fill_to - have for label, have in real.items() if FEWEST_IMAGES <= have < fill_to}
    if not lacking:
        raise UserError(
            f"has no class of {FEWEST_IMAGES} to {fill_to - 1} images; its classes are {counts(real)}",
            path=dataset.path,
        )
    out = Path(out).resolve()
    config = {
        "command": "fundus-synth train --all-classes", "data": str(dataset.path.resolve()), "fill_to": fill_to,
        "fingerprint": dataset.fingerprint, "keep_all": keep_all, **vars(wanted),
    }  # fmt: skip
    run = RunFolder.open_or_create(out, config, resume)
    write_text(out / _TABLE, table_to_csv(dataset.table))
    where = {"workers": workers, "ray": ray, "slurm": slurm, "cores": cores, "jobs_per_gpu": jobs_per_gpu}
    results = _run(run, dataset, lacking, wanted, keep_all, quiet, where)
    table = pd.DataFrame([_row(label, have, fill_to, results.get(label)) for label, have in real.items()])
    write_text(out / _SUMMARY, table.to_csv(index=False, lineterminator="\n"))
    return Filled(out, table)


def _run(
    run: RunFolder, dataset: FundusDataset, lacking: dict[str, int], wanted: Options, keep_all: bool, quiet: bool,
    where: dict,
) -> dict[str, dict]:  # fmt: skip
    """{label: result of `fill_class`}; the shared start first, then all classes."""
    alone = where["workers"] == 1 and where["ray"] is None and where["slurm"] is None
    # Alone, the trainings show how far they are; side by side, the list of jobs does.
    shown = {"quiet": quiet or not alone}
    data = {"data": str(dataset.path.resolve()), "table": str(run.path / _TABLE)}
    first, each = _divided(dataset, wanted, len(lacking))
    if first is not None:
        shared = run.path / "shared"
        job = Job("shared", f"{_HERE}:train_shared", {**data, "out": str(shared), "options": vars(first), **shown})
        run_jobs([job], run.path / "jobs", description="shared start", quiet=quiet or alone, **where)
        each = replace(each, shared_start=str(shared))
    names = class_folders(lacking)
    jobs = {
        label: Job(f"class-{names[label]}", f"{_HERE}:fill_class", {
            **data, "label": label, "count": count, "run": str(run.path / "generators" / names[label]),
            "out": str(run.path / "synthetic" / names[label]), "options": vars(each), "keep_all": keep_all, **shown,
        })
        for label, count in lacking.items()
    }  # fmt: skip
    done = run_jobs(list(jobs.values()), run.path / "jobs", description="classes", quiet=quiet or alone, **where)
    return {label: done[job.name] for label, job in jobs.items()}


def _divided(dataset: FundusDataset, wanted: Options, classes: int) -> tuple[Options | None, Options]:
    """Options of the shared start, or None when there is none, and of each class."""
    model = model_named(wanted.model)
    if not shares_start(wanted, model, dataset, ""):
        return None, wanted if wanted.minutes is None else replace(wanted, minutes=wanted.minutes / classes)
    first = for_shared_start(wanted, model, 1 / 2)
    return first, replace(wanted, minutes=first.minutes and first.minutes / classes)


def train_shared(data: str, table: str, out: str, options: dict, quiet: bool) -> dict:
    """A job: the shared start of all classes, begun, continued or already there."""
    if not (Path(out) / FINISHED).exists():
        train(_opened(data, table), ALL_CLASSES, out=out, resume=Path(out).exists(), quiet=quiet, **options)
    return {"run": out}


def fill_class(
    data: str, table: str, label: str, count: int, run: str, out: str, options: dict, keep_all: bool, quiet: bool
) -> dict:
    """A job: train a generator of one class, begun, continued or already there, and generate `count` images with it."""
    dataset = _opened(data, table)
    if not (Path(run) / FINISHED).exists():
        train(dataset, label, out=run, resume=Path(run).exists(), quiet=quiet, **options)
    info = read_info(Path(run) / "checkpoints" / "generator.json")
    if not (Path(out) / "metadata.csv").exists():
        seen = divide(dataset, label, options["hold_back"]).training
        rejection = None if keep_all else Rejection(against=seen)
        generate(run, count, out, options["seed"], rejection=rejection, quiet=quiet)
    made = FundusDataset.open(out)
    drawn = made.info.get("rejection", {}).get("drawn", len(made))
    return {"run": run, "dataset": out, "made": len(made), "drawn": drawn, "steps": info.steps}


def class_folders(labels: object) -> dict[str, str]:
    """{label: name of its folder}: the label itself where it is a plain lower-case name, else with a digest of it.

    So no label leaves the folder, and no two share one, also where the file system does not tell A from a.
    """

    def name(label: str) -> str:
        plain = slug(label)
        return (
            plain
            if plain.strip("_-") and plain == label == label.lower() and len(label) <= 80
            else _with_digest(plain, label)
        )

    return {label: name(label) for label in labels}


def _with_digest(plain: str, label: str) -> str:
    return f"{plain[:80].strip('-').lower() or 'class'}-{sha256_bytes(label.encode())[:8]}"


def _images(dataset: FundusDataset, label: str) -> int:
    """How many images of a class there are to train a classifier on."""
    of_class = dataset.of_class(label)
    return len(of_class.split("train")) if (of_class.column("split") != "").any() else len(of_class)


def _opened(data: str, table: str) -> FundusDataset:
    """The dataset as the caller had it: its folder, with the caller's table."""
    whole = FundusDataset.open(data)
    return FundusDataset(whole.path, whole.info, read_table(Path(table)))


def _row(label: str, have: int, fill_to: int, result: dict | None) -> dict:
    row = {
        "label": label,
        "real": have,
        "wanted": max(0, fill_to - have),
        "made": 0,
        "drawn": 0,
        "run": "",
        "dataset": "",
    }
    if result is not None:
        return {**row, **{name: result[name] for name in ("made", "drawn", "run", "dataset")}, "why_not": ""}
    enough = have >= fill_to
    return {**row, "why_not": "has enough" if enough else f"fewer than {FEWEST_IMAGES} images to train on"}


def _made(row) -> str:
    return row.why_not if row.why_not else f"{row.made} made of {row.drawn} draws: {row.dataset}"
