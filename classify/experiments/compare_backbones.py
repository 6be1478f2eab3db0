"""Which network? Every backbone gets the same patients, the same optimiser steps and the same class balance, and is held
against what it costs to run.

    fundus-classify compare-backbones --data DATASET --backbones simple_cnn,mobilenetv2_100 --weights mobilenetv2_100=FILE
    fundus-classify compare-backbones --data DATASET --study E

What is compared is a network with the weights it starts from. A comparison of some from pretrained weights with some from random
ones says so first of all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ...data.dataset import FundusDataset
from ...data.targets import Target, choose_target
from ...runtime.errors import JobError, UserError
from ...runtime.jobs import Job, run_jobs
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ..backbones import SIMPLE_CNN
from ..cost import Cost
from ..evidence import Difference, adjusted_p_values, interval, paired_difference, verdict
from ..fitting import TrainingOptions, check_options
from ..heads import LINEAR
from ..presets import Study, study_named
from ..tasks import check_head
from .backbone_comparison import METRICS, PRIMARY, RANDOM, BackboneComparison, unfairness
from .backbone_report import write_report
from .division import divide_dataset, tell
from .split_file import write_split
from .trainings import tested, training_job

BACKBONES = (SIMPLE_CNN, "mobilenetv2_100", "resnet18")
_SIZE, _TARGET = 64, "label"
_ROUNDS = 15


def compare_backbones(
    dataset: FundusDataset, *, backbones: Sequence[str] | None = None, study: str | None = None, seeds: int = 3,
    target: str | None = None, classes: Sequence[str] | None = None, size: int | None = None, head: str | None = None,
    epochs: int = 10, batch_size: int = 32, weights: Sequence[str] = (), pretrained: bool = False, augment: str = "default",
    ratios: str = "0.7,0.1,0.2", workers: int = 1, ray: str | None = None, slurm: str | None = None, seed: int = 0,
    out: Path | None = None, resume: bool = False, device: str = "auto", precision: str = "auto", quiet: bool = False,
) -> BackboneComparison:  # fmt: skip
    """Train every backbone with several seeds, test all on the same held-out patients, and write report.html and summary.json.

    Args:
        dataset: split already, or divided here by `ratios`, by patient.
        backbones: see `create_backbone`; the first is what the others are held against. By default the study's, or BACKBONES.
        study: "A" to "E": its backbones, size, head and target are taken where they are not given, see `presets`.
        seeds: trainings of each backbone.
        epochs: passes over the training images; turned into steps, the same for every backbone.
        weights: "BACKBONE=FILE", local weights.
        pretrained: fetch timm's weights for the others; there are none of simple_cnn.
        workers, ray, slurm: where the trainings run, see `run_jobs`.
        resume: continue a run that was interrupted; finished trainings are not repeated.

    Raises:
        UserError: unusable options, data or weights.
        JobError: a training failed.
    """
    source = study_named(study) if study else None
    names = list(backbones or (source.backbones if source else BACKBONES))
    files = weight_files(weights, names)
    head = head or (source.head if source else LINEAR)
    chosen = choose_target(dataset, target or (source.target if source else _TARGET), classes)
    check_head(head, chosen.column, chosen.classes)
    divided = divide_dataset(dataset, chosen, ratios, seed)
    if not quiet:
        tell(dataset, chosen)
    epoch = math.ceil(len(divided.split("train")) / batch_size)
    common = TrainingOptions(
        size=size or (source.size if source else _SIZE), head=head, steps=epochs * epoch, batch_size=batch_size, augment=augment,
        evaluate_every=epoch, keep="last", device=device, precision=precision,
    )  # fmt: skip
    options = {name: _with_weights(common, name, files, pretrained) for name in names}
    for one in options.values():
        check_options(one, len(chosen.classes))
    if out is None:
        name = "compare-backbones"
        out = latest_run_path("compare", name) if resume else default_run_path("compare", name)
    shared = {key: value for key, value in asdict(common).items() if key not in ("backbone", "weights", "pretrained")}
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify compare-backbones", "data": str(dataset.path), "fingerprint": divided.fingerprint,
        "study": source.letter if source else None, "target": chosen.column, "classes": list(chosen.classes), "backbones": names,
        "weights": files, "pretrained": pretrained, "seeds": seeds, "epochs": epochs, "seed": seed, **shared,
    }, resume)  # fmt: skip
    write_split(divided, run.path / "split.csv")
    where = {"workers": workers, "ray": ray, "slurm": slurm}
    results = _train(run, dataset, chosen, options, range(seed, seed + seeds), where, quiet)
    comparison = _judge(run, chosen, source, options, results, _measure(run, results))
    write_report(comparison, divided)
    return comparison


def weight_files(given: Sequence[str], backbones: Sequence[str]) -> dict[str, str]:
    """{backbone: absolute path} of "BACKBONE=FILE", after the names of the backbones were checked for being several."""
    if twice := [name for name in dict.fromkeys(backbones) if list(backbones).count(name) > 1]:
        raise UserError(f"backbone {twice[0]} is named twice")
    files: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UserError(f"weights {text!r} were given, BACKBONE=FILE was expected")
        if name not in backbones:
            raise UserError(f"weights are given for {name}, which is not compared", hint=f"Use {', '.join(backbones)}.")
        if name in files:
            raise UserError(f"weights of {name} are given twice")
        files[name] = str(Path(path).resolve())
    return files


def _with_weights(common: TrainingOptions, name: str, files: dict[str, str], pretrained: bool) -> TrainingOptions:
    fetched = pretrained and name not in files and name != SIMPLE_CNN
    return replace(common, backbone=name, weights=files.get(name), pretrained=fetched)


def _train(
    run: RunFolder, dataset: FundusDataset, target: Target, options: dict[str, TrainingOptions], seeds: range, where: dict,
    quiet: bool,
) -> dict[str, list[dict]]:  # fmt: skip
    """{backbone: one job result a seed}. Seeds are the outer loop, so that an interrupted comparison has whole rounds."""
    jobs = {
        (name, seed): training_job(
            f"{name}-seed{seed}", dataset, run.path / "split.csv", target, run.path / "backbones" / name / f"seed{seed}",
            replace(one, seed=seed),
        )
        for seed in seeds
        for name, one in options.items()
    }  # fmt: skip
    results = run_jobs(list(jobs.values()), run.path / "jobs", description="trainings", quiet=quiet, **where)
    return {name: [results[jobs[name, seed].name] for seed in seeds] for name in options}


def _measure(run: RunFolder, results: dict[str, list[dict]]) -> dict:
    """What `cost.measure_costs` returns, of the first seed's classifiers; measured here, and kept like a training."""
    runs = {name: rows[0]["run"] for name, rows in results.items()}
    job = Job("costs", "fundus_synth.classify.cost:measure_costs", {"runs": runs, "rounds": _ROUNDS})
    return run_jobs([job], run.path / "jobs", description="costs", quiet=True)["costs"]


def _judge(
    run: RunFolder, target: Target, study: Study | None, options: dict[str, TrainingOptions], results: dict[str, list[dict]],
    measured: dict,
) -> BackboneComparison:  # fmt: skip
    """Every figure, from the predictions on disk."""
    first, *others = options
    planned = options[first].steps
    if uneven := {result["steps"] for rows in results.values() for result in rows} - {planned}:
        raise JobError(f"backbones are not at equal cost: {planned} steps were planned, some took {sorted(uneven)}")
    metrics = METRICS + (("quadratic_kappa",) if target.column == "grade" else ())
    said = {name: [tested(result) for result in rows] for name, rows in results.items()}
    started_from = {name: rows[0]["started_from"] for name, rows in results.items()}
    differences = {name: {m: paired_difference(said[name], said[first], m) for m in metrics} for name in others}
    adjusted = adjusted_p_values({name: row[PRIMARY] for name, row in differences.items()})
    sentences = [_sentence(name, first, differences[name][PRIMARY], adjusted[name], started_from) for name in others]
    warning = unfairness(started_from)
    return BackboneComparison(
        run, target, study, options, started_from,
        {name: {m: interval(runs, m) for m in metrics} for name, runs in said.items()},
        differences, adjusted, [warning, *sentences] if warning else sentences,
        {name: Cost(**facts) for name, facts in measured["costs"].items()}, measured["threads"], said,
    )  # fmt: skip


def _sentence(
    name: str, first: str, difference: Difference, adjusted_p: float, started_from: dict[str, str]
) -> str:  # fmt: skip
    told = verdict(difference, "macro F1", name, first, adjusted_p)
    blank = [one for one in (name, first) if started_from[one] == RANDOM]
    if len(blank) != 1:
        return told
    return f"{told} Not a fair pair: {blank[0]} alone started from random weights."
