"""What each step of a combination bought: the table on val and test, its report, and what the command prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.files import write_json, write_text
from ..runtime.report import Report
from .chain import DECISION, Opinions
from .evidence import (
    Difference,
    Interval,
    SeedPredictions,
    adjusted_p_values,
    estimate,
    interval,
    paired_difference,
    verdict,
)

METRICS = {"macro_f1": "macro F1", "accuracy": "micro F1", "macro_auroc": "macro AUROC",
           "balanced_accuracy": "balanced accuracy"}  # fmt: skip
# Steps beside those of `chain`.
ENSEMBLE, ALONE, BEST_DECIDED = "ensemble", "metadata alone", "best run + decision"
_COMPARED = ("macro_f1", "macro_auroc")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Combination:
    """What `combine` found.

    Attributes:
        folder: predictions.csv, metrics.json, report.html, steps.html, steps.csv, summary.json.
        best_run: the run with the highest macro F1 on val, which the steps are held against.
        validation: {step: {metric: value}}, cross-fitted.
        scores: {step: {metric: Interval}} on test.
        differences: {step: {metric: Difference}} on test, against the best run.
        photographs: {run: macro F1 on test of single photographs}, where several were pooled.
        facts: what was chosen.
        metrics: metrics.json of the combination.
        verdict: the last step against the best run, and against the best run with a decision of its own.
    """

    folder: Path
    best_run: str
    validation: dict[str, dict[str, float]]
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    photographs: dict[str, float]
    facts: Mapping[str, object]
    metrics: dict
    verdict: list[str]

    def validation_table(self) -> pd.DataFrame:
        """One row a step: each metric on val."""
        return pd.DataFrame([{"step": step, **_named(values)} for step, values in self.validation.items()])

    def table(self) -> pd.DataFrame:
        """One row a step: each metric on test with its 95 % interval."""
        told = {step: {metric: str(value) for metric, value in row.items()} for step, row in self.scores.items()}
        return pd.DataFrame([{"step": step, **_named(values)} for step, values in told.items()])

    def difference_table(self) -> pd.DataFrame:
        """One row a step but the best run: each metric on test minus that of the best run, with its 95 % interval."""
        told = {step: {metric: str(value) for metric, value in row.items()} for step, row in self.differences.items()}
        return pd.DataFrame([{"step": f"{step}, minus {self.best_run}", **_named(row)} for step, row in told.items()])

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "folder": str(self.folder),
            "best_run": self.best_run,
            "verdict": self.verdict,
            "facts": dict(self.facts),
            "validation": self.validation,
            "scores": {step: {m: asdict(v) for m, v in row.items()} for step, row in self.scores.items()},
            "differences": {step: {m: asdict(v) for m, v in row.items()} for step, row in self.differences.items()},
            **({"macro_f1_of_single_photographs": self.photographs} if self.photographs else {}),
            "metrics": self.metrics,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        facts = [f"{name}: {value}" for name, value in self.facts.items()]
        return [
            *facts, "", "val, cross-fitted:", self.validation_table().to_string(index=False, float_format="{:.3f}".format),
            "", "test:", self.table().to_string(index=False), "",
            self.difference_table().to_string(index=False), "", *self.verdict, f"report: {self.folder / 'steps.html'}",
        ]  # fmt: skip


def judge_steps(
    folder: Path, best: str, answers: Mapping[str, Mapping[str, np.ndarray]], sides: Mapping[str, Opinions],
    photographs: dict[str, float], facts: Mapping[str, object], metrics: dict,
) -> Combination:  # fmt: skip
    """Every figure of every step, and each step on test against the run that is best on val.

    Args:
        best: the run that is best on val.
        answers: {split: {step: probabilities}}, see `combine`.
        sides: {split: the truth and the patients}.
    """
    told = {
        split: {step: SeedPredictions(sides[split].true, values, sides[split].patients) for step, values in steps.items()}
        for split, steps in answers.items()
    }  # fmt: skip
    test = told["test"]
    validation = {step: {m: estimate([run], m) for m in METRICS} for step, run in told["val"].items()}
    scores = {step: {m: interval([run], m, resamples=_RESAMPLES) for m in METRICS} for step, run in test.items()}
    differences = {
        step: {m: paired_difference([run], [test[best]], m, resamples=_RESAMPLES) for m in _COMPARED}
        for step, run in test.items()
        if step != best
    }
    sentences = _verdict(test, best, differences[DECISION]["macro_f1"])
    return Combination(folder, best, validation, scores, differences, photographs, facts, metrics, sentences)


def _verdict(test: Mapping[str, SeedPredictions], best: str, difference: Difference) -> list[str]:
    """The combination against the best run as it is, and as it is with a decision; p corrected for being two tests."""
    named = {f"the best run ({best})": difference}
    if BEST_DECIDED in test:
        decided = paired_difference([test[DECISION]], [test[BEST_DECIDED]], "macro_f1", resamples=_RESAMPLES)
        named[f"the best run ({best}) with a decision fitted on val as well"] = decided
    adjusted = adjusted_p_values(named)
    told = [verdict(found, "macro F1", "the combination", name, adjusted[name]) for name, found in named.items()]
    return [sentence[0].upper() + sentence[1:] for sentence in told]


def write_combination_report(result: Combination, folder: Path) -> None:
    """Write steps.html, steps.csv (of test) and summary.json into a folder that is still to become `result.folder`."""
    report = Report("What each step of the combination bought", " ".join(result.verdict))
    report.section("What was combined").facts(result.facts)
    report.section("Test patients").table(
        result.table(),
        "95 % intervals over resampled patients. Micro F1 is the accuracy. The largest probability decides in every row but "
        "the two with a decision.",
    )
    report.table(
        result.difference_table(),
        f"Differences to {result.best_run}, the run with the highest macro F1 on val, on the same resampled patients. The "
        "verdict above is about the last row; the other rows show where the difference comes from and are not claims.",
    )
    if result.photographs:
        told = ", ".join(f"{name} {value:.3f}" for name, value in result.photographs.items())
        report.text(f"Macro F1 where every photograph is answered by itself: {told}.")
    report.section("Validation patients").table(
        result.validation_table(),
        "Cross-fitted: each patient is answered by weights and multipliers that were fitted on others. The runs themselves "
        "were stopped where they did best on these patients, so their rows are too good.",
    )
    report.write(folder / "steps.html")
    write_text(folder / "steps.csv", result.table().to_csv(index=False, lineterminator="\n"))
    write_json(folder / "summary.json", result.summary())


def _named(values: Mapping[str, object]) -> dict[str, object]:
    return {METRICS[metric]: value for metric, value in values.items()}
