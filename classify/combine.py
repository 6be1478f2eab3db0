"""`fundus-classify combine`: several runs, the patient's other photographs and the metadata as one answer.

Everything is fitted on validation patients (the metadata baseline on training patients); the test patients are looked at
once, at the end, and every step that was tried is shown. What is said of validation patients themselves is cross-fitted:
each of them is answered by a combination that was fitted on others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..data.targets import Target
from ..runtime.errors import UserError
from ..runtime.files import appearing_folder, refuse_existing, write_json
from ..runtime.runs import RunFolder, default_run_path, environment
from .calibration import fit_temperature, scale_temperature
from .chain import DECISION, Chain, Opinions, cross_fitted, fit_chain
from .combine_report import ALONE, BEST_DECIDED, ENSEMBLE, Combination, judge_steps, write_combination_report
from .ensemble import Members, average, read_members
from .log_pool import logarithms
from .metadata_baseline import MetadataBaseline, fit_metadata
from .metrics import score
from .pooling import POOLS, fellow_answers, group_photographs, pool_photographs
from .predictions import PREFIX, write_predictions
from .results import write_results


def combine(
    runs: Sequence[Path | str], *, dataset: FundusDataset | Path | str | None = None, pool: str = "none",
    metadata: bool = False, out: Path | str | None = None, seed: int = 0,
) -> Combination:  # fmt: skip
    """Combine what runs of `fundus-classify train` say of the same val and test images, and write OUT/predictions.csv,
    metrics.json, report.html (of the combination), steps.html, steps.csv and summary.json (what each step bought).

    Args:
        runs: their folders.
        dataset: where they were trained; needed for `metadata` and pool "eye".
        pool: "none"; "fellow": the patient's other photographs help; "eye" or "patient": one answer for each.
        metadata: let age, sex and blood pressure help.
        out: runs/combine-<time>-<runs> by default.

    Raises:
        UserError: runs that do not fit together (`read_members`), an unknown pool, photographs that have no one class
            (`group_photographs`), no patient with several photographs, or a dataset without what is asked of it.
    """
    _check(pool, metadata, dataset)
    members = read_members(runs)
    if dataset is not None and not isinstance(dataset, FundusDataset):
        dataset = FundusDataset.open(dataset)
    rows = None if dataset is None else _rows(dataset, members, _target(runs[0], members))
    folder = Path(out) if out is not None else default_run_path("combine", f"{len(runs)}-runs")
    refuse_existing(folder)

    single = members
    if pool in ("eye", "patient"):
        members, kept = _pooled(members, pool, None if rows is None else dataset.column("eye").to_numpy()[rows])
        rows = None if rows is None else rows[kept]
    baseline = None
    if metadata:
        held_out = np.unique(members.table["patient_id"])
        baseline = fit_metadata(dataset, _target(runs[0], members), held_out)
    opinions = _opinions(members, pool, baseline, dataset, rows)

    val = (members.table["split"] == "val").to_numpy()
    chain, steps = _fitted(opinions, val, seed)
    # Last, where it changes no decision: on cross-fitted answers, as those of the fit itself are too sure.
    temperature = fit_temperature(logarithms([steps["val"][DECISION]])[0], opinions.true[val])
    best = max(members.probabilities, key=lambda run: _macro_f1(members.true[val], members.probabilities[run][val]))
    answers = _answers(members, opinions, val, best, steps, temperature, seed)

    rows = {"val": val, "test": ~val}
    tables = {split: _table(members, rows[split], told[DECISION]) for split, told in answers.items()}
    facts = _facts(members, pool, chain, baseline, temperature)
    photographs = _by_photograph(single, members) if pool in ("eye", "patient") else {}
    sides = {split: opinions.of(rows[split]) for split in answers}
    with appearing_folder(folder) as growing:
        write_json(growing / "environment.json", environment())
        write_predictions(growing / "predictions.csv", pd.concat(tables.values(), ignore_index=True))
        metrics = write_results(growing, tables, members.classes, facts)
        result = judge_steps(folder, best, answers, sides, photographs, facts, metrics)
        write_combination_report(result, growing)
    return result


def _check(pool: str, metadata: bool, dataset: object) -> None:
    if pool not in POOLS:
        raise UserError(f"there is no pool {pool!r}; expected one of {', '.join(POOLS)}")
    if dataset is None and (metadata or pool == "eye"):
        option = "--metadata" if metadata else "--pool eye"
        raise UserError(f"{option} reads the dataset's table", hint="Name the dataset with --data.")


def _target(run: Path | str, members: Members) -> Target:
    return Target(str(RunFolder(Path(run)).config.get("target", "label")), members.classes)


def _rows(dataset: FundusDataset, members: Members, target: Target) -> np.ndarray:
    """The row of each predicted image in the dataset, int (n,).

    Raises:
        UserError: an image that is not there, or is of another patient or class there.
    """
    places = pd.Series(np.arange(len(dataset)), index=dataset.column("file_name"))
    rows = places.reindex(members.table["file_name"]).to_numpy()
    there = ~np.isnan(rows)
    if not there.all():
        raise UserError(
            f"has no row for {int((~there).sum())} of {len(there)} predicted images, e.g. "
            f"{members.table['file_name'][~there].iloc[0]!r}", path=dataset.path, hint="Name the dataset of the runs.",
        )  # fmt: skip
    part = dataset.subset(rows.astype(int))
    other = (target.names(part) != members.table["true"]) | (np.array(part.patient_keys) != members.table["patient_id"])
    if other.any():
        raise UserError(
            f"gives {int(other.sum())} of {len(other)} predicted images another class or patient than the runs", path=dataset.path,
            hint="Name the dataset of the runs.",
        )  # fmt: skip
    return rows.astype(int)


def _pooled(members: Members, kind: str, eyes: np.ndarray | None) -> tuple[Members, np.ndarray]:
    """One row a group, and which row of each group stands for it, int (g,)."""
    groups = group_photographs(members.table, kind, eyes)
    first = np.unique(groups, return_index=True)[1]
    pooled = {name: pool_photographs(values, groups) for name, values in members.probabilities.items()}
    return replace(members, table=members.table.iloc[first].reset_index(drop=True), probabilities=pooled), first


def _opinions(
    members: Members,
    pool: str,
    baseline: MetadataBaseline | None,
    dataset: FundusDataset | None,
    rows: np.ndarray | None,
) -> Opinions:
    images, patients = average(list(members.probabilities.values())), members.table["patient_id"].to_numpy(dtype=str)
    fellow = None
    if pool == "fellow":
        val = members.table[members.table["split"] == "val"]
        if not val["patient_id"].duplicated().any():
            raise UserError("no patient has two photographs in val, so there are no fellow eyes to learn from")
        fellow = fellow_answers(images, patients)
    told = None if baseline is None else baseline.predict(dataset.subset(rows))
    return Opinions(members.true, patients, images, fellow, told)


def _fitted(opinions: Opinions, val: np.ndarray, seed: int) -> tuple[Chain, dict[str, dict[str, np.ndarray]]]:
    """The chain, and {split: {step: probabilities}}, those of val cross-fitted."""
    chain = fit_chain(opinions.of(val), seed)
    return chain, {"val": cross_fitted(opinions.of(val), seed), "test": chain.apply(opinions.of(~val))}


def _answers(
    members: Members, opinions: Opinions, val: np.ndarray, best: str, fitted: dict[str, dict[str, np.ndarray]],
    temperature: float, seed: int,
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    """{split: {step: probabilities}} of every step, in the order of the tables."""
    several, helped = len(members.probabilities) > 1, opinions.fellow is not None or opinions.metadata is not None
    # What the decision buys by itself, so that the rest of the combination cannot borrow from it.
    alone = Opinions(opinions.true, opinions.patients, members.probabilities[best])
    decided = _fitted(alone, val, seed)[1] if several or helped else None
    answers = {}
    for split, rows in (("val", val), ("test", ~val)):
        steps = {name: values[rows] for name, values in members.probabilities.items()}
        if decided is not None:
            steps[BEST_DECIDED] = decided[split][DECISION]
        if several:
            steps[ENSEMBLE] = opinions.images[rows]
        if opinions.metadata is not None:
            steps[ALONE] = opinions.metadata[rows]
        steps |= fitted[split]
        steps[DECISION] = scale_temperature(logarithms([steps[DECISION]])[0], temperature)
        answers[split] = steps
    return answers


def _macro_f1(true: np.ndarray, probabilities: np.ndarray) -> float:
    return float(score("macro_f1", true, probabilities))


def _table(members: Members, rows: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    names = np.asarray(members.classes, dtype=object)
    told = pd.DataFrame(probabilities, columns=[PREFIX + name for name in members.classes])
    table = members.table[rows].reset_index(drop=True)
    return pd.concat([table.assign(predicted=names[probabilities.argmax(axis=1)]), told], axis=1)


def _by_photograph(single: Members, pooled: Members) -> dict[str, float]:
    """Macro F1 on test of each run where every photograph is answered by itself."""
    test = (single.table["split"] == "test").to_numpy()
    return {name: _macro_f1(single.true[test], single.probabilities[name][test]) for name in pooled.probabilities}


def _facts(
    members: Members, pool: str, chain: Chain, baseline: MetadataBaseline | None, temperature: float
) -> dict[str, object]:
    counts = members.table["split"].value_counts()
    unit = {"eye": "eyes", "patient": "patients"}.get(pool, "images")
    factors = zip(members.classes, chain.multipliers, strict=True)
    facts: dict[str, object] = {
        "runs": ", ".join(members.probabilities),
        **({"averaged by": "arithmetic mean of the probabilities"} if len(members.probabilities) > 1 else {}),
        unit: f"{counts['val']} val, {counts['test']} test",
    }
    if pool in ("eye", "patient"):
        facts["photographs"] = f"one answer for each {pool}: geometric mean of its photographs"
    if chain.fellow is not None:
        facts["fellow eye"] = str(chain.fellow)
    if baseline is not None:
        facts["metadata baseline"] = (
            f"{', '.join(baseline.columns)}; {baseline.images} training images of {baseline.patients} patients"
        )
        facts["metadata"] = str(chain.metadata)
    return facts | {
        "multipliers": ", ".join(f"{name} {factor:.2f}" for name, factor in factors),
        "temperature": f"{temperature:.3f}, after the decision",
        "fitted on": "validation patients; rows of val are answered by combinations that were fitted on the others",
    }
