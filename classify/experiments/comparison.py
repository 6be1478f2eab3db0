"""The outcome of a comparison of arms, as values and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..evidence import Difference, Interval, SeedPredictions
from .arms import Arm

# Of the second class when there are two, else macro averages; macro_f1 is the average in both cases.
METRICS = ("f1", "recall", "auroc", "accuracy", "macro_f1")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        run: its run folder.
        arms: in the order given; the first is what the others are held against.
        scores: {arm: {metric: Interval}} on the test patients.
        differences: {arm: {metric: Difference}} against the first arm.
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
        }

    def table(self) -> pd.DataFrame:
        """One row an arm: each metric with its 95 % interval."""
        rows = [{"arm": arm, **{m: str(v) for m, v in row.items()}} for arm, row in self.scores.items()]
        return pd.DataFrame(rows)

    def difference_table(self) -> pd.DataFrame:
        """One row an arm but the first: each metric minus that of the first arm, with its 95 % interval."""
        rows = [{"arm": f"{arm} - {self.arms[0].name}", **{m: str(v) for m, v in row.items()}}
                for arm, row in self.differences.items()]  # fmt: skip
        return pd.DataFrame(rows)

    def lines(self) -> list[str]:
        """What the command prints."""
        tables = [self.table().to_string(index=False)]
        if self.differences:
            tables += ["", self.difference_table().to_string(index=False)]
        return [*tables, "", *self.verdict, f"report: {self.run.path / 'report.html'}"]
