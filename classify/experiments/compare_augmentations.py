"""Does augmentation help? Every arm gets the same patients, the same optimiser steps and the same class balance.

What the comparison keeps equal, and why:

- *Patients.* One split by patient for all arms; generators are trained inside its training part. A generator that saw a
  held-out patient is refused, by the hashes in its file.
- *Cost.* Every training takes the same number of optimiser steps; more images do not mean more steps.
- *Balance.* Batches hold the classes in equal shares in every arm, so that an arm cannot win by rebalancing alone. Every
  class gets the same ratio of synthetic images, so that a generator's artefacts cannot give the class away.
- *Chance.* Several seeds an arm; intervals resample patients and seeds, differences are paired.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ...data.dataset import FundusDataset
from ...data.targets import Target, choose_target
from ...runtime.errors import JobError, UserError
from ...runtime.jobs import Job, run_jobs
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ...synth.checkpoint import load_generator, slug
from ...synth.generate import generate
from ...synth.rejection import Rejection
from ..evidence import SeedPredictions, adjusted_p_values, interval, paired_difference, verdict
from ..fitting import TrainingOptions, check_options
from ..held_out import refuse_seen
from .arms import Arm, parse_arms
from .comparison import METRICS, PRIMARY, Comparison, class_verdicts, ratio_verdicts
from .comparison_report import write_report
from .division import divide_dataset, tell
from .split_file import read_split, write_split
from .trainings import tested, tested_externally, training_job

_HERE = "fundus_synth.classify.experiments.compare_augmentations"


def compare_augmentations(
    dataset: FundusDataset, *, arms: list[str], seeds: int = 5, target: str = "label", classes: list[str] | None = None,
    backbone: str = "simple_cnn", size: int = 64, epochs: int = 10, batch_size: int = 32, weights: Path | None = None,
    ratios: str = "0.7,0.1,0.2", external: Path | None = None, generators: Sequence[Path] = (),
    generator_steps: int | None = None, workers: int = 1, ray: str | None = None, slurm: str | None = None, seed: int = 0,
    out: Path | None = None, resume: bool = False, device: str = "auto", precision: str = "auto", quiet: bool = False,
) -> Comparison:  # fmt: skip
    """Train every arm with several seeds, test all on the same held-out patients, and write report.html.

    Args:
        dataset: split already, or divided here by `ratios`, by patient.
        arms: see `parse_arms`; the first is the reference.
        seeds: trainings of each arm.
        epochs: passes over the *real* training images; turned into steps, the same for every arm.
        external: another dataset folder, on whose patients all arms are tested as well.
        generators: runs of `fundus-synth train`, at most one a class; classes without one get theirs trained here.
        workers, ray, slurm: where the trainings run, see `run_jobs`.

    Raises:
        UserError: unusable options or data, or a generator that saw held-out patients.
        JobError: a training failed.
    """
    parsed = parse_arms(arms)
    chosen = choose_target(dataset, target, classes)
    divided = divide_dataset(dataset, chosen, ratios, seed)
    if not quiet:
        tell(dataset, chosen)
    elsewhere = None if external is None else _elsewhere(external, chosen)
    given = _given_generators(generators, divided, chosen, elsewhere)
    steps = epochs * math.ceil(len(divided.split("train")) / batch_size)
    options = TrainingOptions(
        backbone=backbone, size=size, weights=str(weights) if weights else None, steps=steps, batch_size=batch_size,
        evaluate_every=steps // epochs, keep="last", device=device, precision=precision,
    )  # fmt: skip
    check_options(options, len(chosen.classes))
    if out is None:
        name = "compare-augmentations"
        out = latest_run_path("compare", name) if resume else default_run_path("compare", name)
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify compare-augmentations", "data": str(dataset.path), "fingerprint": divided.fingerprint,
        "target": target, "classes": list(chosen.classes), "arms": arms, "seeds": seeds, "epochs": epochs,
        "external": None if external is None else str(external),
        "generators": [str(path) for path in generators], "generator_steps": generator_steps, "seed": seed, **asdict(options),
    }, resume)  # fmt: skip
    write_split(divided, run.path / "split.csv")
    where = {"workers": workers, "ray": ray, "slurm": slurm}
    how = {"steps": generator_steps, "seed": seed, "device": device, "precision": precision, "quiet": quiet}
    synthetic = _make_synthetic(run, dataset, divided, chosen, parsed, given, how)
    results = _train_arms(
        run, dataset, chosen, parsed, synthetic, options, range(seed, seed + seeds), where, quiet, external
    )
    comparison = _judge(run, chosen, parsed, results, steps)
    if elsewhere is not None:
        there = _judge(run, chosen, parsed, results, steps, tested_externally)
        comparison = replace(comparison, external=there, external_name=elsewhere.name)
    write_report(comparison, divided, synthetic, options)
    return comparison


def _elsewhere(path: Path, target: Target) -> FundusDataset:
    """The images of the target's classes in another dataset.

    Raises:
        UserError: it has none of one of them, or no dataset.
    """
    dataset = FundusDataset.open(path)
    there = set(target.labels(dataset))
    if missing := [name for k, name in enumerate(target.classes) if k not in there]:
        raise UserError(f"has no image of {', '.join(missing)} to test on", path=path)
    return target.of(dataset)


def _given_generators(
    paths: Sequence[Path], dataset: FundusDataset, target: Target, elsewhere: FundusDataset | None = None
) -> dict[str, Path]:
    """{class: run} of the generators given, checked before anything is trained.

    Raises:
        UserError: not a generator, one of no class here, two of one class, or one that saw held-out patients.
    """
    held_out = dataset.subset(dataset.column("split") != "train")
    given: dict[str, Path] = {}
    for path in paths:
        _, info = load_generator(path)
        if info.label not in target.classes:
            raise UserError(f"makes {info.label}, which is none of {', '.join(target.classes)}", path=path)
        if info.label in given:
            raise UserError(f"is a second generator of {info.label}", path=path, hint="Give one a class.")
        for tested_on in (held_out, *(() if elsewhere is None else (elsewhere,))):
            refuse_seen(info.trained_on_patients, info.trained_on_images, tested_on, path)
        given[info.label] = path
    return given


def _make_synthetic(
    run: RunFolder, dataset: FundusDataset, divided: FundusDataset, target: Target, arms: list[Arm],
    given: dict[str, Path], how: dict,
) -> dict[str, dict[str, str]]:  # fmt: skip
    """{arm: {class: dataset folder}} of synthetic images: generators trained where none is given, then sampled.

    `how` are the options of `train_generator` that are the same for every class.
    """
    adding = [arm for arm in arms if arm.ratio > 0]
    if not adding:
        return {}
    missing = [name for name in target.classes if name not in given]
    jobs = [
        Job(f"generator-{slug(name)}", f"{_HERE}:train_generator", {
            "data": str(dataset.path.resolve()), "split": str((run.path / "split.csv").resolve()), "column": target.column,
            "classes": list(target.classes), "label": name, "out": str((run.path / "generators" / slug(name)).resolve()),
            **how,
        })
        for name in missing
    ]  # fmt: skip
    trained = run_jobs(jobs, run.path / "jobs", description="generators", quiet=True)
    runs = {**given, **{name: Path(trained[f"generator-{slug(name)}"]["run"]) for name in missing}}
    train = divided.split("train")
    labels = target.labels(train)
    made: dict[str, dict[str, str]] = {arm.name: {} for arm in adding}
    for arm, (number, name) in itertools.product(adding, enumerate(target.classes)):
        eyes = train.subset(labels == number)
        folder = run.path / "synthetic" / f"{slug(name)}-x{arm.ratio:g}{'-filtered' if arm.filtered else ''}"
        if not folder.exists():
            rejection = Rejection(against=eyes) if arm.filtered else None
            generate(
                runs[name], max(1, round(arm.ratio * len(eyes))), folder, seed=how["seed"], rejection=rejection,
                quiet=how["quiet"],
            )  # fmt: skip
        made[arm.name][name] = str(folder)
    return made


def train_generator(
    data: str, split: str, column: str, classes: list[str], label: str, steps: int | None, seed: int, out: str, device: str,
    precision: str, quiet: bool,
) -> dict:  # fmt: skip
    """A job: train a generator of one class on the training patients only."""
    from ...synth.train import train

    target = Target(column, tuple(classes))
    dataset = read_split(data, split, target).split("train")
    if column != "label":
        dataset = FundusDataset(dataset.path, dataset.info, dataset.table.assign(label=target.names(dataset)))
    # Each class by itself: a shared start of its own for each would cost more than the classes.
    run = train(dataset, label, steps=steps, shared_start="none", seed=seed, out=Path(out), resume=True, device=device,
                precision=precision, quiet=quiet)  # fmt: skip
    return {"run": str(run.path)}


def _train_arms(
    run: RunFolder, dataset: FundusDataset, target: Target, arms: list[Arm], synthetic: dict[str, dict[str, str]],
    options: TrainingOptions, seeds: range, where: dict, quiet: bool, external: Path | None,
) -> dict[str, list[dict]]:  # fmt: skip
    """{arm: one job result a seed}. Seeds are the outer loop, so that an interrupted comparison has whole rounds."""
    jobs = {
        (arm.name, seed): training_job(
            f"{arm.name.replace(':', '-').replace('+', '-')}-seed{seed}", dataset, run.path / "split.csv", target,
            run.path / "arms" / arm.name.replace(":", "-") / f"seed{seed}", replace(options, augment=arm.augment, seed=seed),
            list(synthetic.get(arm.name, {}).values()), external,
        )
        for seed in seeds
        for arm in arms
    }  # fmt: skip
    results = run_jobs(list(jobs.values()), run.path / "jobs", description="trainings", quiet=quiet, **where)
    return {arm.name: [results[jobs[arm.name, seed].name] for seed in seeds] for arm in arms}


def _judge(
    run: RunFolder, target: Target, arms: list[Arm], results: dict[str, list[dict]], steps: int,
    read: Callable[[dict], SeedPredictions] = tested,
) -> Comparison:  # fmt: skip
    """Every figure, from the predictions on disk that `read` reads."""
    uneven = {result["steps"] for rows in results.values() for result in rows} - {steps}
    if uneven:
        raise JobError(f"arms are not at equal cost: {steps} steps were planned, some took {sorted(uneven)}")
    predictions = {arm.name: [read(result) for result in results[arm.name]] for arm in arms}
    reference, metric = arms[0].name, f"F1 of {target.classes[1]}" if len(target.classes) == 2 else "macro F1"
    scores = {name: {m: interval(runs, m) for m in METRICS} for name, runs in predictions.items()}
    differences = {
        arm.name: {m: paired_difference(predictions[arm.name], predictions[reference], m) for m in METRICS}
        for arm in arms[1:]
    }
    adjusted = adjusted_p_values({arm: row[PRIMARY] for arm, row in differences.items()})
    sentences = [verdict(row[PRIMARY], metric, arm, reference, adjusted[arm]) for arm, row in differences.items()]
    sentences += ratio_verdicts(arms, predictions, metric)
    runs = {name: [Path(result["run"]) for result in rows] for name, rows in results.items()}
    return Comparison(
        run, target, arms, scores, differences, adjusted, class_verdicts(predictions, target.classes), sentences, steps,
        predictions, runs,
    )  # fmt: skip
