"""The results of a classifier's sibling that tells haemoglobin: predictions.csv, metrics.json with intervals, report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.binary_views import number_column
from ..data.dataset import FundusDataset
from ..data.labels import WHO_ADULTS
from ..runtime.errors import UserError
from ..runtime.report import Report, new_figure
from .decision import Decision
from .evidence import Interval, SeedPredictions, interval
from .hemoglobin_metrics import agreement, who_labels
from .predictions import image_columns
from .results import as_numbers, history_figure, write_metrics

_RESAMPLES = 2000
_YOUNGEST = 0.5  # years; the WHO gives no cut-off below
_CLASS_METRICS = ("accuracy", "balanced_accuracy", "recall", "specificity", "precision")
_CLASS = "anemia_"
_NAMES = {
    "mae": "mean absolute error, g/dL",
    "bias": "bias (told - measured), g/dL",
    "lower_limit": "lower limit of agreement, g/dL",
    "upper_limit": "upper limit of agreement, g/dL",
}


def hemoglobin_table(
    dataset: FundusDataset, labels: np.ndarray, told: np.ndarray, classes: tuple[str, ...], decision: Decision | None = None
) -> pd.DataFrame:  # fmt: skip
    """One row an image: file_name, patient_id, split, sex, age_years, measured, told (g/dL).

    Args:
        labels: measured, g/dL, float (n,).
        told: of `predict_images`, float (n, 1).
    """
    people = {"sex": dataset.column("sex").to_numpy(dtype=object), "age_years": number_column(dataset, "age_years")}
    return image_columns(dataset).assign(**people, measured=labels, told=told[:, 0])


def write_hemoglobin_results(
    folder: Path, tables: Mapping[str, pd.DataFrame], classes: tuple[str, ...], facts: Mapping[str, object],
    history: pd.DataFrame | None = None, decision: Decision | None = None,
) -> dict[str, dict[str, dict[str, float]]]:  # fmt: skip
    """Write metrics.json and report.html; arguments and return as `results.write_results`.

    mae, bias and limits of agreement are in g/dL; metrics named anemia_ are of the WHO's class by measured and by told
    haemoglobin, for the images whose patient's sex is known.

    Raises:
        UserError: a split of fewer than two patients.
    """
    intervals = {split: _intervals(table, split) for split, table in tables.items()}
    plain = {split: as_numbers(found) for split, found in intervals.items()}
    write_metrics(folder, plain)
    _report(list(tables.values())[-1], intervals, facts, history).write(folder / "report.html")
    return plain


def who_classes(table: pd.DataFrame) -> SeedPredictions | None:
    """Whether patients are anaemic by the WHO's cut-offs: by what was measured and by what was told.

    Only images with a known sex count, and none of children under six months. Nobody is taken to be pregnant. None where no
    image is left.
    """
    usable = table["sex"].isin(list(WHO_ADULTS)) & ~(table["age_years"].astype(float) < _YOUNGEST)
    if not usable.any():
        return None
    known = table[usable]
    people = known["sex"].tolist(), known["age_years"].to_numpy(float)
    true, told = (who_labels(known[name].to_numpy(float), *people) for name in ("measured", "told"))
    return SeedPredictions(true, np.eye(2)[told], known["patient_id"].to_numpy(dtype=str))


def _intervals(table: pd.DataFrame, split: str) -> dict[str, Interval]:
    patients = table["patient_id"].to_numpy(dtype=str)
    if len(set(patients)) < 2:
        raise UserError(
            f"split {split} has one patient, at least two were expected to say how well haemoglobin is told"
        )
    found = agreement(table["measured"], table["told"], patients, resamples=_RESAMPLES)
    classes = who_classes(table)
    if classes is None:
        return found
    return found | {_CLASS + name: interval([classes], name, resamples=_RESAMPLES) for name in _CLASS_METRICS}


def _report(
    table: pd.DataFrame, intervals: Mapping[str, Mapping[str, Interval]], facts: Mapping[str, object],
    history: pd.DataFrame | None,
) -> Report:  # fmt: skip
    found = list(intervals.values())[-1]
    mae, guess = found["mae"], np.abs(table["measured"] - table["measured"].mean()).mean()
    lead = (
        f"Mean absolute error {mae.estimate:.2f} g/dL, 95 % interval {mae.low:.2f} to {mae.high:.2f}, {mae.patients} held-out "
        f"patients. Telling everyone their mean would be {guess:.2f} g/dL wrong."
    )
    report = Report("Haemoglobin from the fundus", lead)
    report.section("What was trained").facts(facts)
    report.section("Metrics").text(
        "Estimate, and 95 % percentile interval over resampled patients of one trained model. Limits of agreement: bias -+ 1.96 "
        "standard deviations of the differences (Bland and Altman 1986). Metrics of anaemia: the WHO's class for sex and age by "
        "the haemoglobin told, against that by the haemoglobin measured; pregnancies are not looked at."
    )
    report.table(_interval_table(intervals))
    report.section("Agreement").figure(
        agreement_figure(table, found),
        "Left: told against measured, one dot an image; on the line they agree. Right: their difference against their mean, "
        "with bias (line) and limits of agreement (dashed).",
    )
    if (classes := who_classes(table)) is not None:
        report.section("Anaemia by the WHO").text(_class_sentence(classes, len(table)))
    if history is not None:
        report.section("Training").figure(
            history_figure(history, "val_squared_error", ("val_mae",), "squared error, (g/dL)²", "g/dL"),
            "Loss, and mean absolute error on the validation images.",
        )
    return report


def _class_sentence(classes: SeedPredictions, images: int) -> str:
    told = classes.probabilities.argmax(axis=1)
    found, anemic = int((told & classes.true).sum()), int(classes.true.sum())
    return (
        f"Of {len(classes.true)} images with known sex ({images} in all) {anemic} are of anaemic patients, {found} of them told "
        f"as such; {int((told > classes.true).sum())} others are told anaemic."
    )


def agreement_figure(table: pd.DataFrame, found: Mapping[str, Interval]):
    """Matplotlib figure: told against measured, and Bland and Altman's plot, g/dL."""
    measured, told = table["measured"].to_numpy(float), table["told"].to_numpy(float)
    figure, (left, right) = new_figure(9, 4, columns=2)
    ends = [min(measured.min(), told.min()) - 0.3, max(measured.max(), told.max()) + 0.3]
    left.plot(ends, ends, color="#999999", linewidth=0.8, linestyle="--")
    left.scatter(measured, told, s=12, alpha=0.7)
    left.set(xlabel="measured, g/dL", ylabel="told, g/dL", xlim=ends, ylim=ends, aspect="equal")
    right.scatter((measured + told) / 2, told - measured, s=12, alpha=0.7)
    for name, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
        right.axhline(found[name].estimate, color="#555555", linewidth=0.9, linestyle=style)
    right.set(xlabel="mean of both, g/dL", ylabel="told - measured, g/dL")
    return figure


def _interval_table(intervals: Mapping[str, Mapping[str, Interval]]) -> pd.DataFrame:
    names = list(list(intervals.values())[-1])
    rows = []
    for name in names:
        row = {"metric": _NAMES.get(name, name.replace(_CLASS, "anaemia: ").replace("_", " "))}
        rows.append(row | {split: str(found.get(name, "")) for split, found in reversed(intervals.items())})
    return pd.DataFrame(rows)
