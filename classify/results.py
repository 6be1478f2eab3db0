"""The results of one classifier: metrics.json with intervals, and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.files import write_json
from ..runtime.report import Report, new_figure
from . import metrics
from .calibration import reliability_table
from .decision import Decision
from .evidence import Interval, SeedPredictions, interval
from .predictions import decided_predictions, seed_predictions

_RESAMPLES = 2000
# Metrics that look at the class told and not at its probability; with two classes also without "macro_".
_DECIDED = ("accuracy", "balanced_accuracy", "micro_f1", "weighted_f1", "quadratic_kappa",
            "macro_precision", "macro_recall", "macro_specificity", "macro_f1")  # fmt: skip
_DECIDED_OF_TWO = ("precision", "recall", "specificity", "f1")
DECIDED = "decided_"
_NAMES = {
    "odir_score": "ODIR-2019 challenge score",
    "balanced_log_loss": "balanced log loss",
    "brier": "Brier score",
    "ece": "ECE",
}


def write_results(
    folder: Path,
    tables: Mapping[str, pd.DataFrame],
    classes: tuple[str, ...],
    facts: Mapping[str, object],
    history: pd.DataFrame | None = None,
    decision: Decision | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Write metrics.json and report.html.

    Metrics are of the largest probability. Where `decision` decides otherwise, those of the column `predicted` stand beside
    them with "decided_" before their names.

    Args:
        tables: {split: predictions, see `predictions.prediction_table`}; the report is about the last one.
        facts: what the report says of data and model.
        history: metrics.csv of the training, when there is one.
        decision: what decided `predicted`; the largest probability by default.

    Returns:
        {split: {metric: {"estimate", "low", "high"}}}, as in metrics.json; nan is null there.
    """
    runs = {split: seed_predictions(table, classes) for split, table in tables.items()}
    intervals = {split: _intervals(run, classes) for split, run in runs.items()}
    decision = decision or Decision(classes)
    decided = (
        runs if decision.plain else {split: decided_predictions(table, classes) for split, table in tables.items()}
    )
    if not decision.plain:
        for split, found in intervals.items():
            found.update(_decided_intervals(decided[split], classes))
    plain = {split: as_numbers(found) for split, found in intervals.items()}
    write_metrics(folder, plain)
    split = list(tables)[-1]
    _report(runs[split], decided[split], intervals, decision, facts, history).write(folder / "report.html")
    return plain


def write_metrics(folder: Path, values: Mapping[str, object]) -> None:
    """Write metrics.json; nan is null there."""
    write_json(folder / "metrics.json", dict(values))


def as_numbers(found: Mapping[str, Interval]) -> dict[str, dict[str, float]]:
    """{metric: {"estimate", "low", "high"}}."""
    return {name: {"estimate": i.estimate, "low": i.low, "high": i.high} for name, i in found.items()}


def _intervals(run: SeedPredictions, classes: tuple[str, ...]) -> dict[str, Interval]:
    names = metrics.summarize(run.true, run.probabilities)
    return {name: interval([run], name, classes=classes, resamples=_RESAMPLES) for name in names}


def _decided_intervals(run: SeedPredictions, classes: tuple[str, ...]) -> dict[str, Interval]:
    names = [*_DECIDED, *(_DECIDED_OF_TWO if len(classes) == 2 else ())]
    return {DECIDED + name: interval([run], name, classes=classes, resamples=_RESAMPLES) for name in names}


def _report(
    run: SeedPredictions,
    decided: SeedPredictions,
    intervals: Mapping[str, Mapping[str, Interval]],
    decision: Decision,
    facts: Mapping[str, object],
    history: pd.DataFrame | None,
) -> Report:
    classes, (split, found) = decision.classes, list(intervals.items())[-1]
    f1 = found["macro_f1" if decision.plain else DECIDED + "macro_f1"]
    lead = f"Macro F1 {f1.estimate:.3f}, 95 % interval {f1.low:.3f} to {f1.high:.3f}, {f1.patients} held-out patients."
    if not decision.plain:
        lead += f" With the largest probability instead of the decision: {found['macro_f1'].estimate:.3f}."
    report = Report(f"Classifier: {' vs '.join(classes)}", lead)
    report.section("What was trained").facts(facts)
    report.section("Metrics").text(
        "Estimate, and 95 % percentile interval over resampled patients of one trained model: "
        "the chance of another training run is not in it."
    )
    report.text(_explained(classes))
    report.table(_interval_table(intervals, classes))
    if not decision.plain:
        report.section("Decision").text(_decision_told(decision)).table(_decision_table(decision))
    report.section("Classes").table(_by_class(run, decided, classes), caption=f"split: {split}")
    report.figure(confusion_figure(decided, classes), "Rows: true class. Columns: predicted class.")
    report.figure(roc_figure(run, classes), "ROC curve of each class against the rest.")
    report.figure(precision_recall_figure(run, classes), "Precision and recall of each class against the rest; dotted: "
                                                         "the share of the class, which chance would reach.")  # fmt: skip
    report.section("Calibration").figure(
        reliability_figure(run),
        "Left: share of images told right in each tenth of confidence (the largest probability), with the images in it; "
        "on the diagonal confidence is accuracy. Right: how many images have that confidence. The expected calibration "
        f"error, ECE, is the distance from the diagonal averaged over the images: {found['ece'].estimate:.3f}.",
    )
    if history is not None:
        report.section("Training").figure(history_figure(history), "Loss, and metrics on the validation images.")
    return report


def _by_class(run: SeedPredictions, decided: SeedPredictions, classes: tuple[str, ...]) -> pd.DataFrame:
    """`metrics.by_class`, of the decision where it can be."""
    table = metrics.by_class(run.true, run.probabilities, classes)
    told = metrics.by_class(decided.true, decided.probabilities, classes)
    return table.assign(**{name: told[name] for name in _DECIDED_OF_TWO})


def _decision_told(decision: Decision) -> str:
    told = (
        "Chosen on the validation patients, never on the test patients; the columns named decided are of it, all others of "
        "the largest probability. On the validation split itself they are too good: it was chosen there. Probabilities have "
        f"the temperature {decision.temperature:.2f}, which changes none of the classes with the largest probability. "
    )
    if decision.cuts is not None:
        return told + (
            "The network tells a number; each grade begins at its cut, placed for quadratic kappa. Its probabilities are those "
            f"of a normal error of variance {decision.temperature:.2f} around the number, on the grades. Table: the cuts."
        )
    return told + "The class with the largest probability times factor is told; factors were placed for macro F1."


def _decision_table(decision: Decision) -> pd.DataFrame:
    if decision.cuts is not None:
        between = [f"{low} | {high}" for low, high in zip(decision.classes, decision.classes[1:], strict=False)]
        return pd.DataFrame({"grades": between, "cut": decision.cuts})
    return pd.DataFrame({"class": decision.classes, "factor": decision.multipliers})


def _explained(classes: tuple[str, ...]) -> str:
    told = (
        "Balanced log loss: every class weighs the same. Brier score: summed over the classes, 0 to 2. "
        "ECE: expected calibration error, see Calibration."
    )
    if len(classes) > 2:
        told += (
            " ODIR-2019 challenge score: the mean of kappa, micro F1 and AUC over the labels of all classes together; most "
            "of them are absent, so it is not to be compared with a macro F1."
        )
    return told


def confusion_figure(run: SeedPredictions, classes: tuple[str, ...]):
    """Matplotlib figure: counts, shaded by the share of the true class."""
    matrix = metrics.confusion_matrix(run.true, run.probabilities.argmax(1), len(classes))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.6 * len(classes)
    figure, axis = new_figure(side, side)
    axis.grid(False)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(matrix.shape):
        color = "white" if shares[i, j] > 0.5 else "black"
        axis.text(j, i, f"{matrix[i, j]:.0f}", ha="center", va="center", color=color)
    axis.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="predicted", ylabel="true")
    return figure


def roc_figure(run: SeedPredictions, classes: tuple[str, ...]):
    """Matplotlib figure: ROC curves; of two classes only the positive one's."""
    figure, axis = new_figure(4.6, 4.2)
    for k in range(1 if len(classes) == 2 else 0, len(classes)):
        positive, order = run.true == k, np.argsort(-run.probabilities[:, k], kind="stable")
        if positive.all() or not positive.any():
            continue
        hits, misses = np.cumsum(positive[order]), np.cumsum(~positive[order])
        # Equal scores are one point of the curve, not a staircase in an arbitrary order.
        last = np.r_[np.diff(run.probabilities[order, k]) != 0, True]
        axis.plot(np.r_[0, misses[last] / misses[-1]], np.r_[0, hits[last] / hits[-1]], label=classes[k])
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    axis.set(xlabel="1 - specificity", ylabel="recall", xlim=(0, 1), ylim=(0, 1.01))
    axis.legend(frameon=False, fontsize=8)
    return figure


def precision_recall_figure(run: SeedPredictions, classes: tuple[str, ...]):
    """Matplotlib figure: precision against recall; of two classes only the positive one's."""
    figure, axis = new_figure(4.6, 4.2)
    for k in range(1 if len(classes) == 2 else 0, len(classes)):
        positive, order = run.true == k, np.argsort(-run.probabilities[:, k], kind="stable")
        if not positive.any():
            continue
        last = np.r_[np.diff(run.probabilities[order, k]) != 0, True]
        hits, flagged = np.cumsum(positive[order])[last], np.arange(1, len(order) + 1)[last]
        # Drawn as steps: between two thresholds precision cannot be interpolated (Davis and Goadrich 2006).
        (line,) = axis.step(np.r_[0, hits / hits[-1]], np.r_[hits[0] / flagged[0], hits / flagged], label=classes[k])
        axis.axhline(positive.mean(), color=line.get_color(), linewidth=0.8, linestyle=":")
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    axis.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def reliability_figure(run: SeedPredictions):
    """Matplotlib figure: accuracy against confidence in ten bins, and the number of images in each."""
    table = reliability_table(run.true, run.probabilities)
    used, middles = table.dropna(), (table["low"] + table["high"]) / 2
    figure, (left, right) = new_figure(9, 3.8, columns=2)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle="--")
    left.plot(used["confidence"], used["accuracy"], marker="o")
    for confidence, accuracy, images in used[["confidence", "accuracy", "images"]].itertuples(index=False):
        left.annotate(f"{images:.0f}", (confidence, accuracy), textcoords="offset points", xytext=(6, -9), fontsize=7)
    right.bar(middles, table["images"], width=0.092)
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.01))
    right.set(xlabel="confidence", ylabel="images", xlim=(0, 1))
    return figure


def history_figure(
    history: pd.DataFrame, loss: str = "val_log_loss", columns: Sequence[str] = ("val_macro_f1", "val_recall", "val_auroc"),
    loss_unit: str = "cross-entropy", unit: str = "",
):  # fmt: skip
    """Matplotlib figure: losses on the left, validation metrics on the right, by epoch.

    Args:
        loss, columns: of metrics.csv; the columns are shares from 0 to 1 where they have no `unit`.
    """
    figure, (left, right) = new_figure(9, 3.4, columns=2)
    marker = "o" if len(history) == 1 else None
    for column, label in (("train_loss", "train"), (loss, "validation")):
        left.plot(history["epoch"], history[column], label=label, marker=marker)
    for column in columns:
        label = column.removeprefix("val_").replace("_", " ")
        right.plot(history["epoch"], history[column], label=label, marker=marker)
    left.set(xlabel="epoch", ylabel=loss_unit)
    right.set(xlabel="epoch", **({"ylabel": unit} if unit else {"ylim": (0, 1.01)}))
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    return figure


def _interval_table(intervals: Mapping[str, Mapping[str, Interval]], classes: tuple[str, ...]) -> pd.DataFrame:
    """One row a metric; a column for each split, the one that the report is about first, and for what was decided there."""
    positive = f" of {classes[1]}"
    # The mean of two classes' recalls is the balanced accuracy, and so is that of their specificities.
    repeated = {"macro_recall", "macro_specificity", "macro_auroc"} if len(classes) == 2 else {"macro_recall"}
    rows, there = [], list(next(iter(intervals.values())))
    decided = any(name.startswith(DECIDED) for name in there)
    for name in there:
        if name not in repeated and not name.startswith(DECIDED):
            row = {"metric": _NAMES.get(name, name.replace("_", " ")) + (positive if name in metrics.BY_CLASS else "")}
            for split, found in reversed(intervals.items()):
                row[split] = str(found[name])
                if decided:
                    row[f"{split}, decided"] = str(found.get(DECIDED + name, ""))
            rows.append(row)
    return pd.DataFrame(rows)
