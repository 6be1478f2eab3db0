"""How much of a test figure is memory? Study B made rotated copies of its photographs and split afterwards, so that near-copies
of test pictures were in training. Here the same network is trained and tested three times on the same pictures, split by:

- *patients*: nobody of the test pictures was seen in training. What a figure should mean.
- *images*: photographs are dealt out one by one, so that the other eye of a test patient may be in training.
- *copies*: the photographs and their rotated copies are dealt out one by one, as in study B.

    fundus-classify leakage --data DATASET --target "dr: grade >= 1"

Equal in all three: the pool of pictures, how many of each class are trained and tested on, the optimiser steps, the network and
its seed. As in the study, the test pictures are photographs and copies, in all three. Every seed draws other splits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from ...data.dataset import FundusDataset
from ...data.splits import parse_ratios
from ...data.targets import Target, choose_target
from ...runtime.errors import JobError, UserError
from ...runtime.jobs import Job, run_jobs
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ..fitting import TrainingOptions, check_options
from ..training import divide, split_dataset
from .division import tell
from .leakage_report import write_report
from .leakage_result import Leakage, measure
from .leaky_splits import PATIENTS, UNITS, draw_sides, overlap, with_leaky_split, write_pool
from .split_file import read_split, write_split
from .trainings import fit_and_predict, tested

_HERE = "fundus_synth.classify.experiments.leakage"


def leakage(
    dataset: FundusDataset, *, target: str = "label", classes: Sequence[str] | None = None, seeds: int = 3, copies: int = 4,
    backbone: str = "simple_cnn", size: int = 64, epochs: int = 10, batch_size: int = 32, weights: Path | None = None,
    ratios: str = "0.7,0.1,0.2", workers: int = 1, ray: str | None = None, slurm: str | None = None, seed: int = 0,
    out: Path | None = None, resume: bool = False, device: str = "auto", precision: str = "auto", quiet: bool = False,
) -> Leakage:  # fmt: skip
    """Train and test on the three splits with several seeds, and write report.html and summary.json.

    Args:
        dataset: with patients; a split that it has is not used.
        seeds: splits of each kind, and trainings.
        copies: rotated copies of each photograph; study B had 4 for APTOS, 8 for Messidor.
        epochs: passes over the training pictures, copies too.
        ratios: shares of train, val and test. Validation pictures are looked at, but nothing is chosen by them.
        workers, ray, slurm: where the trainings run, see `run_jobs`.
        resume: continue a run that was interrupted; finished trainings are not repeated.

    Raises:
        UserError: no patients, or unusable options or data.
        JobError: a training failed.
    """
    if not dataset.patients:
        raise UserError(
            "names no patients (column patient_id), so a split by patient cannot be held against others",
            path=dataset.path,
        )
    chosen = choose_target(dataset, target, classes)
    part, shares = chosen.of(dataset), parse_ratios(ratios)
    divided = {n: split_dataset(divide(part, chosen, shares, n), chosen, n) for n in range(seed, seed + seeds)}
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, batch_size=batch_size, keep="last",
        device=device, precision=precision,
    )  # fmt: skip
    check_options(options, len(chosen.classes))
    if not quiet:
        tell(dataset, chosen)
    if out is None:
        name = "leakage"
        out = latest_run_path("measure", name) if resume else default_run_path("measure", name)
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify leakage", "data": str(dataset.path), "fingerprint": part.fingerprint, "target": target,
        "classes": list(chosen.classes), "seeds": seeds, "copies": copies, "ratios": ratios, **asdict(options),
        "epochs": epochs, "seed": seed,
    }, resume)  # fmt: skip
    pool = _pool(run, part, chosen, copies=copies, size=size, seed=seed, quiet=quiet)
    sides = {number: draw_sides(parted, chosen, pool, number) for number, parted in divided.items()}
    where = {"workers": workers, "ray": ray, "slurm": slurm}
    results = _train(run, pool, chosen, sides, (options, epochs), where, quiet)
    shared = [{"split by": unit, **overlap(pool, of[unit])} for of in sides.values() for unit in UNITS]
    predictions = {unit: [tested(result) for result in rows] for unit, rows in results.items()}
    found = measure(run, chosen, predictions, pd.DataFrame(shared))
    write_report(found, pool, sides[seed], options, results)
    return found


def _pool(run: RunFolder, part: FundusDataset, target: Target, **how) -> FundusDataset:
    path = run.path / "pool"
    return FundusDataset.open(path) if path.exists() else write_pool(part, target, path, **how)


def _train(
    run: RunFolder, pool: FundusDataset, target: Target, sides: dict[int, dict], length: tuple[TrainingOptions, int],
    where: dict, quiet: bool,
) -> dict[str, list[dict]]:  # fmt: skip
    """{unit: one job result a seed}. Seeds are the outer loop, so that what is interrupted has whole rounds."""
    options, epochs = length
    jobs, planned = {}, {}
    for seed, of in sides.items():
        epoch = math.ceil((of[PATIENTS] == "train").sum() / options.batch_size)
        planned[seed] = epochs * epoch
        seeded = replace(options, steps=planned[seed], evaluate_every=epoch, seed=seed)
        for unit in UNITS:
            name = f"{unit if unit == PATIENTS else f'LEAKY-{unit}'}-seed{seed}"
            split = run.path / "splits" / f"{name}.csv"
            write_split(with_leaky_split(pool, of[unit]), split)
            jobs[unit, seed] = Job(name, f"{_HERE}:train_and_test", {
                "pool": str(pool.path.resolve()), "split": str(split.resolve()), "unit": unit, "classes": list(target.classes),
                "out": str((run.path / "arms" / name).resolve()), "options": asdict(seeded),
            })  # fmt: skip
    results = run_jobs(list(jobs.values()), run.path / "jobs", description="trainings", quiet=quiet, **where)
    for (_, seed), job in jobs.items():
        if results[job.name]["steps"] != planned[seed]:
            raise JobError(f"training {job.name} took {results[job.name]['steps']} steps, {planned[seed]} were planned")
    return {unit: [results[jobs[unit, seed].name] for seed in sides] for unit in UNITS}


def train_and_test(pool: str, split: str, unit: str, classes: list[str], out: str, options: dict) -> dict:
    """A job: one training on a split of the pool, and its predictions; see `trainings.train_and_test`.

    The split by patients goes through the check that every dataset goes through; the others could not.
    """
    target = Target("label", tuple(classes))
    if unit == PATIENTS:
        dataset = read_split(pool, split, target)
    else:
        opened = FundusDataset.open(pool)
        sides = pd.read_csv(split, dtype=str).set_index("file_name")["split"]
        dataset = with_leaky_split(opened, sides.loc[opened.column("file_name")].to_numpy())
    return fit_and_predict(dataset, target, out, TrainingOptions(**options))
