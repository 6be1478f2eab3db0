"""The outcome of a comparison of arms, as values and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..evidence import (
    Difference,
    Interval,
    SeedPredictions,
    adjusted_p_values,
    claim,
    paired_difference,
    smallest_detectable_difference,
    verdict,
)
from .arms import Arm

# Of the second class when there are two, else macro averages; macro_f1 is the average in both cases.
METRICS = ("f1", "recall", "auroc", "accuracy", "macro_f1")
PRIMARY = "f1"  # what the verdicts are about: one test an arm, corrected for the number of arms


@dataclass(frozen=True)
class ClassVerdict:
    """F1 of one class, an arm minus the first arm, with its p-value corrected for all classes and arms."""

    difference: Difference
    adjusted_p: float

    @property
    def claim(self) -> str:
        """ "helps", "harms" or "no evidence"."""
        return claim(self.difference, self.adjusted_p)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        run: its run folder.
        arms: in the order given; the first is what the others are held against.
        scores: {arm: {metric: Interval}} on the test patients.
        differences: {arm: {metric: Difference}} against the first arm.
        adjusted_p: {arm: Holm-adjusted p-value of its difference in the primary metric}.
        by_class: {arm: {class: ClassVerdict}} for each arm but the first; empty for two classes, where the primary metric
            is about the second class already.
        verdict: one sentence for each arm but the first, then what more synthetic images change, see `ratio_verdicts`.
        steps: optimiser steps of every training.
        predictions: {arm: one SeedPredictions a seed}.
        runs: {arm: one run folder a seed}, in the same order.
        external, external_name: the same of the patients of another dataset, and its name, where one was given.
    """

    run: RunFolder
    target: Target
    arms: list[Arm]
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    adjusted_p: dict[str, float]
    by_class: dict[str, dict[str, ClassVerdict]]
    verdict: list[str]
    steps: int
    predictions: dict[str, list[SeedPredictions]]
    runs: dict[str, list[Path]]
    external: Comparison | None = None
    external_name: str = ""

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
            "by_class": {arm: {name: asdict(v) for name, v in row.items()} for arm, row in self.by_class.items()},
            **({"external": {"name": self.external_name, **self.external.summary()}} if self.external else {}),
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

    def class_table(self) -> pd.DataFrame:
        """One row a class, for every arm but the first: F1 minus that of the first arm, and what may be said of it."""
        rows = [
            {"class": name, **{arm: f"{row[name].difference}: {row[name].claim}" for arm, row in self.by_class.items()}}
            for name in self.target.classes
        ]
        return pd.DataFrame(rows)

    def lines(self) -> list[str]:
        """What the command prints."""
        lines = [*self._tables(), "", *self.verdict]
        if self.external:
            lines += ["", f"On {self.external_name}:", "", *self.external._tables(), "", *self.external.verdict]
        return [*lines, f"report: {self.run.path / 'report.html'}"]

    def _tables(self) -> list[str]:
        tables = [self.table().to_string(index=False)]
        if self.differences:
            tables += ["", self.difference_table().to_string(index=False)]
        if self.by_class:
            tables += ["", self.class_table().to_string(index=False)]
        return tables


def class_verdicts(
    predictions: Mapping[str, Sequence[SeedPredictions]], classes: Sequence[str]
) -> dict[str, dict[str, ClassVerdict]]:
    """{arm: {class: ClassVerdict}} of F1 against the first arm. The family is every class in every arm: 7 classes and 2 arms
    are 14 tests. Empty for two classes."""
    if len(classes) == 2:
        return {}
    (_, reference), *others = predictions.items()
    found = {
        (arm, name): paired_difference(runs, reference, f"f1:{name}", classes=classes)
        for arm, runs in others
        for name in classes
    }
    adjusted = adjusted_p_values(found)
    return {arm: {name: ClassVerdict(found[arm, name], adjusted[arm, name]) for name in classes} for arm, _ in others}


def ratio_verdicts(arms: Sequence[Arm], predictions: Mapping[str, Sequence[SeedPredictions]], metric: str) -> list[str]:
    """Do more synthetic images help more? Of arms that differ in their ratio alone, each against that with the smallest, one
    sentence each; the family of the p-values is all of these."""
    kinds: dict[tuple, list[Arm]] = {}
    for arm in sorted(arms, key=lambda arm: arm.ratio):
        if arm.ratio > 0:
            kinds.setdefault((arm.augment, arm.filtered), []).append(arm)
    pairs = [(more.name, kind[0].name) for kind in kinds.values() for more in kind[1:]]
    found = {(more, least): paired_difference(predictions[more], predictions[least], PRIMARY) for more, least in pairs}
    adjusted = adjusted_p_values(found)
    return [verdict(found[pair], metric, *pair, adjusted[pair]) for pair in pairs]
