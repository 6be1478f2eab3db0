"""The results of a classifier of several labels an image: predictions.csv, metrics.json with intervals, report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.dataset import FundusDataset
from ..runtime.report import Report
from .decision import Decision
from .evidence import Interval
from .metrics import binary_auroc, binary_average_precision, odir_score
from .predictions import PREFIX, image_columns, present
from .results import DECIDED, as_numbers, history_figure, write_metrics

TRUE = "t_"
_RESAMPLES = 2000
_BLOCK = 250
_BY_LABEL = ("auroc", "average_precision", "f1", "recall", "precision")
_NAMES = {"odir_score": "ODIR-2019 challenge score", "log_loss": "log loss"}


def label_table(
    dataset: FundusDataset, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...], decision: Decision
) -> pd.DataFrame:
    """One row an image: file_name, patient_id, split, t_<label> (0 or 1) for each, predicted (the names of the labels present,
    with semicolons between), and p_<label> for each.

    Args:
        labels: 0/1 (n, k).
        probabilities: of `predict_images`.
        decision: with thresholds.
    """
    told, decided = decision.calibrated(probabilities), decision.decide(probabilities)
    table = image_columns(dataset).assign(**{TRUE + name: labels[:, k].astype(int) for k, name in enumerate(classes)})
    table["predicted"] = [present(row, classes) for row in decided]
    return table.assign(**{PREFIX + name: told[:, k] for k, name in enumerate(classes)})


def write_label_results(
    folder: Path, tables: Mapping[str, pd.DataFrame], classes: tuple[str, ...], facts: Mapping[str, object],
    history: pd.DataFrame | None = None, decision: Decision | None = None,
) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
    """Write metrics.json and report.html; arguments and return as `results.write_results`.

    Metrics are macro averages over labels ("macro_auroc"), of one label ("auroc:diabetes"), log loss and ODIR's official score.
    Those that need a decision are at 0.5, and with "decided_" before them of the column `predicted`.
    """
    intervals = {split: label_intervals(table, classes) for split, table in tables.items()}
    plain = {split: as_numbers(found) for split, found in intervals.items()}
    write_metrics(folder, plain)
    _report(list(tables.values())[-1], intervals, classes, facts, history, decision).write(folder / "report.html")
    return plain


def label_intervals(table: pd.DataFrame, classes: tuple[str, ...], resamples: int = _RESAMPLES) -> dict[str, Interval]:
    """Every metric of a predictions.csv with a 95 % percentile interval over resampled patients.

    A label that no image has no metric (nan), and macro averages leave it out; an interval is nan where the metric was
    undefined in more than a twentieth of the resamples.
    """
    names, rows = np.unique(table["patient_id"].to_numpy(dtype=str), return_inverse=True)
    estimates = label_metrics(table, classes, np.ones((1, len(table))))
    random, blocks = np.random.default_rng(0), []
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        times = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        blocks.append(label_metrics(table, classes, times[:, rows]))
    found = {}
    for name, estimate in estimates.items():
        values = np.concatenate([block[name] for block in blocks])
        defined = values[~np.isnan(values)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) >= 0.95 * resamples else (np.nan, np.nan)
        found[name] = Interval(float(estimate[0]), float(low), float(high), resamples, len(names), 1)
    return found


def label_metrics(table: pd.DataFrame, classes: tuple[str, ...], weights: np.ndarray) -> dict[str, np.ndarray]:
    """{metric: float (b,)} for image weights (b, n), see `write_label_results`."""
    true = table[[TRUE + name for name in classes]].to_numpy(dtype=bool)
    told = table[[PREFIX + name for name in classes]].to_numpy(dtype=np.float64)
    weights = np.asarray(weights, dtype=np.float64)
    each = {
        "auroc": [binary_auroc(true[:, k], told[:, k], weights) for k in range(len(classes))],
        "average_precision": [binary_average_precision(true[:, k], told[:, k], weights) for k in range(len(classes))],
        **_of_decision(true, told >= 0.5, weights, ""),
        **_of_decision(true, decided_labels(table, classes), weights, DECIDED),
    }
    macro = {_named("macro_", name): _mean(np.stack(values, axis=1)) for name, values in each.items()}
    single = {f"{name}:{label}": values[k] for name, values in each.items() for k, label in enumerate(classes)}
    kept = np.clip(told, 1e-15, 1 - 1e-15)
    losses = -np.where(true, np.log(kept), np.log(1 - kept)).mean(axis=1)
    whole = {"odir_score": odir_score(true, told, weights), "log_loss": weights @ losses / weights.sum(axis=1)}
    return {**macro, **whole, **single}


def decided_labels(table: pd.DataFrame, classes: tuple[str, ...]) -> np.ndarray:
    """The column `predicted` as bool (n, k)."""
    told = [set(str(text).split("; ")) for text in table["predicted"]]
    return np.array([[name in row for name in classes] for row in told], dtype=bool).reshape(len(table), len(classes))


def _of_decision(true: np.ndarray, told: np.ndarray, weights: np.ndarray, prefix: str) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {prefix + name: [] for name in ("f1", "recall", "precision")}
    for actual, positive in zip(true.T, told.T, strict=True):
        hits, there, called = (weights @ part for part in (actual & positive, actual, positive))
        found[prefix + "f1"].append(np.where(there > 0, _ratio(2 * hits, there + called), np.nan))
        found[prefix + "recall"].append(_ratio(hits, there))
        found[prefix + "precision"].append(_ratio(hits, called))
    return found


def _report(
    table: pd.DataFrame, intervals: Mapping[str, Mapping[str, Interval]], classes: tuple[str, ...],
    facts: Mapping[str, object], history: pd.DataFrame | None, decision: Decision | None,
) -> Report:  # fmt: skip
    split, found = list(intervals.items())[-1]
    auroc, f1 = found["macro_auroc"], found[DECIDED + "macro_f1"]
    lead = (
        f"Macro AUROC {auroc.estimate:.3f}, 95 % interval {auroc.low:.3f} to {auroc.high:.3f}; macro F1 {f1.estimate:.3f} "
        f"({f1.low:.3f} to {f1.high:.3f}), with thresholds of 0.5 {found['macro_f1'].estimate:.3f}; "
        f"{auroc.patients} held-out patients."
    )
    report = Report(f"Labels: {', '.join(classes)}", lead)
    report.section("What was trained").facts(facts)
    report.section("Metrics").text(
        "Estimate, and 95 % percentile interval over resampled patients of one trained model. Macro: averaged over labels. "
        "Columns named decided: thresholds chosen on the validation patients, where they are too good; all others: 0.5. "
        "ODIR-2019 challenge score: the mean of kappa, micro F1 and AUC over all labels together, at 0.5; most labels are "
        "absent, so it is not to be compared with a macro F1."
    )
    report.table(_whole_table(intervals))
    report.section("Labels").table(_label_rows(table, found, classes, decision), caption=f"split: {split}")
    if history is not None:
        columns = ("val_macro_auroc", "val_macro_average_precision")
        report.section("Training").figure(
            history_figure(history, columns=columns), "Loss, and metrics on the validation images."
        )
    return report


def _whole_table(intervals: Mapping[str, Mapping[str, Interval]]) -> pd.DataFrame:
    rows = []
    for name in next(iter(intervals.values())):
        if ":" in name or name.startswith(DECIDED):
            continue
        row = {"metric": _NAMES.get(name, name.replace("_", " "))}
        for split, found in reversed(intervals.items()):
            row[split], row[f"{split}, decided"] = str(found[name]), str(found.get(DECIDED + name, ""))
        rows.append(row)
    return pd.DataFrame(rows)


def _label_rows(
    table: pd.DataFrame, found: Mapping[str, Interval], classes: tuple[str, ...], decision: Decision | None
) -> pd.DataFrame:
    rows = []
    for k, label in enumerate(classes):
        row = {"label": label, "images": int(table[TRUE + label].sum())}
        if decision is not None and decision.thresholds is not None:
            row["threshold"] = decision.thresholds[k]
        for name in _BY_LABEL:
            row[name.replace("_", " ")] = str(found.get(f"{DECIDED}{name}:{label}", found[f"{name}:{label}"]))
        rows.append(row)
    return pd.DataFrame(rows)


def _named(macro: str, name: str) -> str:
    return DECIDED + macro + name.removeprefix(DECIDED) if name.startswith(DECIDED) else macro + name


def _mean(values: np.ndarray) -> np.ndarray:
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
