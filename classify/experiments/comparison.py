"""The outcome of a comparison of arms, as values and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..evidence import Difference, Interval, SeedPredictions, holm, smallest_detectable_difference
from .arms import Arm

# Of the second class when there are two, else macro averages; macro_f1 is the average in both cases.
METRICS = ("f1", "recall", "auroc", "accuracy", "macro_f1")
PRIMARY = "f1"  # what the verdicts are about: one test an arm, corrected for the number of arms


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        run: its run folder.
        arms: in the order given; the first is what the others are held against.
        scores: {arm: {metric: Interval}} on the test patients.
        differences: {arm: {metric: Difference}} against the first arm.
        adjusted_p: {arm: Holm-adjusted p-value of its difference in the primary metric}.
        verdict: one sentence for each arm but the first.
        steps: optimiser steps of every training.
        predictions: {arm: one SeedPredictions a seed}.
        runs: {arm: one run folder a seed}, in the same order.
    """

    run: RunFolder
    target: Target
    arms: list[Arm]
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    adjusted_p: dict[str, float]
    verdict: list[str]
    steps: int
    predictions: dict[str, list[SeedPredictions]]
    runs: dict[str, list[Path]]

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "report": str(self.run.path / "report.html"),
            "verdict": self.verdict,
            "steps": self.steps,
            "scores": {arm: {m: asdict(v) for m, v in row.items()} for arm, row in self.scores.items()},
            "differences": {arm: {m: asdict(v) for m, v in row.items()} for arm, row in self.differences.items()},
            "adjusted_p": self.adjusted_p,
            "smallest_detectable_difference": self.smallest_detectable(),
        }

    def smallest_detectable(self) -> dict[str, float]:
        """{arm: the true difference in the primary metric that this test set would have shown four times in five}, at the
        strictest level of the correction, 0.05 divided by the number of arms that are held against the first."""
        alpha = 0.05 / max(1, len(self.differences))
        return {arm: smallest_detectable_difference(row[PRIMARY], alpha=alpha) for arm, row in self.differences.items()}

    def table(self) -> pd.DataFrame:
        """One row an arm: each metric with its 95 % interval."""
        rows = [{"arm": arm, **{m: str(v) for m, v in row.items()}} for arm, row in self.scores.items()]
        return pd.DataFrame(rows)

    def difference_table(self) -> pd.DataFrame:
        """One row an arm but the first: each metric minus that of the first arm, with its 95 % interval; beside the
        primary metric p, the Holm-adjusted p, and the smallest difference that would have been shown."""
        detectable = self.smallest_detectable()
        rows = [{"arm": f"{arm} - {self.arms[0].name}", PRIMARY: str(row[PRIMARY]), "p": f"{row[PRIMARY].p:.3f}",
                 "adjusted p": f"{self.adjusted_p[arm]:.3f}", "detectable": f"{detectable[arm]:.3f}",
                 **{m: str(v) for m, v in row.items() if m != PRIMARY}} for arm, row in self.differences.items()]  # fmt: skip
        return pd.DataFrame(rows)

    def lines(self) -> list[str]:
        """What the command prints."""
        tables = [self.table().to_string(index=False)]
        if self.differences:
            tables += ["", self.difference_table().to_string(index=False)]
        return [*tables, "", *self.verdict, f"report: {self.run.path / 'report.html'}"]


def adjusted_p_values(differences: Mapping[str, Mapping[str, Difference]]) -> dict[str, float]:
    """{arm: Holm-adjusted p-value}. The family is every arm against the first, in the primary metric."""
    adjusted = holm([row[PRIMARY].p for row in differences.values()])
    return dict(zip(differences, adjusted.tolist(), strict=True))
