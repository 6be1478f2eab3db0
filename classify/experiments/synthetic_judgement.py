"""What the trainings on real and synthetic eyes found, as values, sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..calibration import expected_calibration_error
from ..evidence import Difference, Interval, SeedPredictions, interval, paired_difference, verdict
from ..fitting import TrainingOptions

METRICS = {
    "macro_auroc": "macro AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
}


@dataclass(frozen=True)
class Judgement:
    """What was found. Kinds are "trtr", "trts" and "tstr", see `judge_synthetic`.

    Attributes:
        run: its run folder.
        options: of every training; the seeds differ.
        predictions: {kind: one SeedPredictions a seed}.
        scores: {kind: {metric: Interval}} with METRICS, "ece", and "auroc:<class>" and "recall:<class>" of every class
            against the rest. Patients are resampled for real eyes, images for synthetic ones.
        calibration: {kind: ECE with every class weighing the same}, the mean over seeds: real and synthetic eyes seldom
            have the same mixture of classes, on which ECE depends.
        differences: {metric of METRICS: Difference}, tstr minus trtr, paired by patient and seed.
        verdict: one sentence on whether the classes are recognised, one on whether they can be learned.
    """

    run: RunFolder
    target: Target
    options: TrainingOptions
    predictions: dict[str, list[SeedPredictions]]
    scores: dict[str, dict[str, Interval]]
    calibration: dict[str, float]
    differences: dict[str, Difference]
    verdict: list[str]

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "report": str(self.run.path / "report.html"),
            "verdict": self.verdict,
            "classes": list(self.target.classes),
            "steps": self.options.steps,
            "scores": {kind: {m: asdict(v) for m, v in row.items()} for kind, row in self.scores.items()},
            "ece_equal_classes": self.calibration,
            "differences": {"tstr - trtr": {m: asdict(v) for m, v in self.differences.items()}},
        }

    def recognition_table(self) -> pd.DataFrame:
        """One row a metric: held-out real eyes beside synthetic ones, seen by the classifier that knows real eyes."""
        columns = {"held-out real": "trtr", "synthetic": "trts"}
        rows = [
            {"": name, **{eyes: str(self.scores[kind][m]) for eyes, kind in columns.items()}}
            for m, name in {**METRICS, "ece": "ECE"}.items()
        ]
        equal = {eyes: f"{self.calibration[kind]:.3f}" for eyes, kind in columns.items()}
        return pd.DataFrame([*rows, {"": "ECE, classes weighing the same", **equal}])

    def class_table(self) -> pd.DataFrame:
        """One row a class: AUROC against the rest and recall, of real and of synthetic eyes."""
        rows = []
        for k, name in enumerate(self.target.classes):
            row: dict[str, object] = {"class": name}
            for kind, eyes in (("trtr", "real"), ("trts", "synthetic")):
                row[f"{eyes} images"] = int((self.predictions[kind][0].true == k).sum())
                row[f"AUROC, {eyes}"] = str(self.scores[kind][f"auroc:{name}"])
                row[f"recall, {eyes}"] = str(self.scores[kind][f"recall:{name}"])
            rows.append(row)
        return pd.DataFrame(rows)

    def meant_and_recognized(self) -> pd.DataFrame:
        """One row a class that the generator meant: in percent, what the classifier that knows real eyes takes it for."""
        runs, classes = self.predictions["trts"], self.target.classes
        rows = []
        for k, name in enumerate(classes):
            taken = np.concatenate([run.probabilities.argmax(1)[run.true == k] for run in runs])
            shares = np.bincount(taken, minlength=len(classes)) / len(taken)
            rows.append({"meant": name, **{c: f"{s:.0%}" for c, s in zip(classes, shares, strict=True)}})
        return pd.DataFrame(rows)

    def training_table(self) -> pd.DataFrame:
        """Trained on real, on synthetic, and the difference; all on the same held-out patients."""
        rows = [{"trained on": eyes, **{name: str(self.scores[kind][m]) for m, name in METRICS.items()}}
                for kind, eyes in (("trtr", "real"), ("tstr", "synthetic"))]  # fmt: skip
        difference = {name: str(self.differences[m]) for m, name in METRICS.items()}
        return pd.DataFrame([*rows, {"trained on": "synthetic - real", **difference}])

    def lines(self) -> list[str]:
        """What the command prints."""
        return [
            self.recognition_table().to_string(index=False), "", self.class_table().to_string(index=False), "",
            self.training_table().to_string(index=False), "", *self.verdict, f"report: {self.run.path / 'report.html'}",
        ]  # fmt: skip


def judge(
    run: RunFolder, target: Target, options: TrainingOptions, predictions: dict[str, list[SeedPredictions]]
) -> Judgement:
    """Every figure, from the predictions of the three kinds."""
    scores = {kind: _scores(runs, target.classes) for kind, runs in predictions.items()}
    calibration = {kind: _calibration(runs) for kind, runs in predictions.items()}
    differences = {m: paired_difference(predictions["tstr"], predictions["trtr"], m) for m in METRICS}
    learned = verdict(differences["macro_auroc"], "macro AUROC", "training on synthetic eyes", "training on real eyes")
    sentences = [recognition(scores["trts"], scores["trtr"], target.classes), learned[0].upper() + learned[1:]]
    return Judgement(run, target, options, predictions, scores, calibration, differences, sentences)


def recognition(synthetic: dict[str, Interval], real: dict[str, Interval], classes: Sequence[str]) -> str:
    """One plain sentence, or two. It claims only what the intervals, which hold chance or do not, allow.

    Args:
        synthetic, real: "macro_auroc" and "auroc:<class>" of the same classifiers on synthetic and on held-out real eyes.
    """
    ours, theirs = synthetic["macro_auroc"], real["macro_auroc"]
    who = "a classifier trained on real eyes"
    if not theirs.low > 0.5:
        return (
            f"Nothing can be said of the synthetic eyes: {who} does not tell held-out real eyes apart better than chance, "
            f"macro AUROC {theirs}."
        )
    figures = f"macro AUROC {ours}, against {theirs} on held-out real eyes"
    if ours.high < 0.5:
        return f"The classes of the synthetic eyes are mixed up: {who} tells them apart worse than chance, {figures}."
    if not ours.low > 0.5:
        return f"No evidence that {who} recognises the classes of the synthetic ones: {figures}."
    unclear = [name for name in classes if not synthetic[f"auroc:{name}"].low > 0.5]
    more = f" Not better than chance: {', '.join(unclear)}." if unclear else ""
    return f"A{who[1:]} recognises the classes of the synthetic ones better than chance: {figures}.{more}"


def _scores(runs: Sequence[SeedPredictions], classes: Sequence[str]) -> dict[str, Interval]:
    names = [*METRICS, "ece", *(f"auroc:{c}" for c in classes), *(f"recall:{c}" for c in classes)]
    return {name: interval(runs, name, classes=classes) for name in names}


def _calibration(runs: Sequence[SeedPredictions]) -> float:
    values = []
    for run in runs:
        weights = 1 / np.bincount(run.true, minlength=run.probabilities.shape[1])[run.true]
        values.append(expected_calibration_error(run.true, run.probabilities, weights=weights))
    return float(np.mean(values))
