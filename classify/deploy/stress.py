"""`fundus-classify stress`: what a classifier loses when the photograph is bad, on patients that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...data.wider_targets import target_of
from ...preprocess.standardize import STANDARD_SIZE
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ...runtime.files import read_json, refuse_existing, write_json
from ...runtime.progress import Progress
from ..checkpoint import About, load_classifier, weights_hash
from ..decision import load_decision
from ..held_out import unseen
from ..predictions import read_predictions, write_predictions
from ..trained_on import named_dataset
from .answer import Rules
from .attacks import ATTACKS
from .damages import DAMAGES, SEVERITIES, check_kinds, check_severities
from .fit_rules import fit_rules
from .stress_report import write_stress_report
from .stress_result import StressResult, stress_result
from .stress_units import NONE, Subject, unit_table

KINDS = (*DAMAGES, *ATTACKS)
OPTIONS, _RULES = "options.json", "rules.json"


@dataclass(frozen=True)
class Stressed:
    """What `stress` did: the folder, and its result."""

    folder: Path
    result: StressResult

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"folder": str(self.folder), **self.result.as_dict()}

    def lines(self) -> list[str]:
        """The same for people."""
        return [*self.result.verdicts, f"report: {self.folder / 'report.html'}"]


def stress(
    run: Path | str, dataset: FundusDataset | Path | str, *, kinds: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES, count: int = 400, out: Path | str | None = None, seed: int = 0,
    resume: bool = False, device: str = "auto", quiet: bool = False,
) -> Stressed:  # fmt: skip
    """Spoil the photographs of unseen patients, kind by kind and ever more, and see what the classifier makes of them.

    Each kind at each severity is a unit, written as soon as it is done: OUT/units/<kind>-<severity>.csv. From the units come
    stress.json and report.html.

    Args:
        kinds: names of `KINDS`; all by default.
        severities: of 1 to 5.
        count: at most so many images, of patients drawn at random; only whole patients.
        out: the folder; RUN/stress-<dataset> by default.
        resume: keep the units that are in the folder. Kinds and severities may be others than before, nothing else.

    Raises:
        UserError: no classifier of classes; an unknown kind or severity; no unseen patient; a folder that holds something
            else, or, with `resume`, units of another classifier, other images or another seed.
    """
    kinds, severities = list(dict.fromkeys(kinds or KINDS)), sorted(set(severities))
    check_kinds(kinds, tuple(ATTACKS))
    check_severities(severities)
    where = choose_device(device)
    model, about = load_classifier(run, where)
    _refuse_other_targets(about, run)
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    folder = Path(out) if out is not None else Path(run) / f"stress-{dataset.path.resolve().name}"
    chosen, labels = held_out_images(dataset, about, count, seed)
    options = _options(run, chosen, seed)
    _check_folder(folder, options, resume)
    rules = _rules(folder, options, run, dataset, device, quiet)
    pictures = image_cache(chosen, STANDARD_SIZE, quiet=quiet)
    subject = Subject(chosen, labels, pictures, model, load_decision(run, about), rules, where, seed)
    units = [(NONE, 0), *((kind, severity) for kind in kinds for severity in severities)]
    tables = _run_units(subject, units, folder / "units", quiet)
    result = stress_result(tables, about.classes, {"classifier": model.name, "dataset": dataset.name})
    write_json(folder / "stress.json", result.as_dict())
    write_stress_report(folder / "report.html", result, pictures[_example(tables[NONE, 0])])
    return Stressed(folder, result)


def held_out_images(dataset: FundusDataset, about: About, count: int, seed: int) -> tuple[FundusDataset, np.ndarray]:
    """Images of whole patients that the classifier neither trained on nor was selected on, and their classes, int (n,).

    Args:
        count: at most so many, unless the first patient drawn has more.

    Raises:
        UserError: there is none.
    """
    target = target_of(about.target, about.classes)
    labels = target.labels(dataset)
    rows = np.flatnonzero(target.known(dataset) & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError(f"has no unseen patient with {' or '.join(about.classes)}", path=dataset.path)
    people = np.asarray(dataset.patient_keys)[rows]
    names, number = np.unique(people, return_inverse=True)
    rank = np.random.default_rng(seed).permutation(len(names))
    images = np.cumsum(np.bincount(rank[number], minlength=len(names)))
    drawn = max(1, int((images <= count).sum()))
    rows = rows[rank[number] < drawn]
    return dataset.subset(rows), labels[rows]


def _refuse_other_targets(about: About, run: Path | str) -> None:
    if about.target in (MULTILABEL, HEMOGLOBIN):
        raise UserError(
            f"tells {about.target}, and stress judges one class an image", path=run,
            hint="Train one with --target label, grade or an expression.",
        )  # fmt: skip


def _options(run: Path | str, chosen: FundusDataset, seed: int) -> dict:
    return {"classifier": weights_hash(run), "images": chosen.fingerprint, "seed": seed, "side": STANDARD_SIZE}


def _check_folder(folder: Path, options: dict, resume: bool) -> None:
    if not (resume and (folder / OPTIONS).is_file()):
        refuse_existing(folder)
        return
    before = read_json(folder / OPTIONS)
    different = [name for name in options if before.get(name) != options[name]]
    if different:
        raise UserError(
            f"was made with other {' and '.join(different)}", path=folder, hint="Name another folder with --out."
        )


def _rules(folder: Path, options: dict, run: Path | str, dataset: FundusDataset, device: str, quiet: bool) -> Rules:
    """The rules of answering; fitted once, because that takes a while. What is to be resumed begins with them."""
    path = folder / _RULES
    if not path.is_file():
        fitted = fit_rules(run, named_dataset(run) or dataset, device=device, quiet=quiet)
        write_json(folder / OPTIONS, options)
        write_json(path, fitted.to_dict())
    try:
        return Rules.from_dict(read_json(path))
    except ValueError as error:
        raise UserError(str(error), path=path, hint="Remove the file: it is made again.") from error


def _run_units(
    subject: Subject, units: list[tuple[str, int]], folder: Path, quiet: bool
) -> dict[tuple[str, int], pd.DataFrame]:
    """The table of each unit, from its file where it is done."""
    tables, paths = {}, {unit: folder / f"{unit[0]}-{unit[1]}.csv" for unit in units}
    done = {unit for unit, path in paths.items() if path.is_file()}
    with Progress(len(units) * len(subject), "stress", quiet=quiet, start=len(done) * len(subject)) as progress:
        for unit, path in paths.items():
            if unit not in done:
                write_predictions(path, unit_table(subject, *unit, progress.advance))
            tables[unit] = read_predictions(path)[0]
    return tables


def _example(table: pd.DataFrame) -> int:
    """The picture that the report shows: of the best quality, so that what is wrong in it is the damage."""
    return int(table["quality"].argmax())
