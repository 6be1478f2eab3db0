"""The outcome of a comparison of backbones, as values and as tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..cost import Cost
from ..evidence import Difference, Interval, SeedPredictions, interval, smallest_detectable_difference
from ..options import TrainingOptions
from ..presets import Study

METRICS = ("macro_f1", "macro_auroc", "accuracy", "balanced_accuracy", "log_loss")
PRIMARY = "macro_f1"  # what the verdicts are about: one test a backbone, corrected for their number
RANDOM = "random weights"
_COSTS = ("parameters", "multiply_adds", "file_bytes", "milliseconds")


@dataclass(frozen=True)
class BackboneComparison:
    """What a comparison of backbones found.

    Attributes:
        run: its run folder.
        study: whose backbones they are, or None.
        options: {backbone: how it was trained}, in the order given; the first is what the others are held against.
        started_from: {backbone: which weights training started from}.
        scores: {backbone: {metric: Interval}} on the test patients.
        differences: {backbone: {metric: Difference}} against the first.
        adjusted_p: {backbone: Holm-adjusted p-value of its difference in the primary metric}.
        verdict: what to know before the rest, if anything, then one sentence for each backbone but the first.
        costs: {backbone: Cost}.
        threads: that the times were measured with.
        predictions: {backbone: one SeedPredictions a seed}.
    """

    run: RunFolder
    target: Target
    study: Study | None
    options: dict[str, TrainingOptions]
    started_from: dict[str, str]
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    adjusted_p: dict[str, float]
    verdict: list[str]
    costs: dict[str, Cost]
    threads: int
    predictions: dict[str, list[SeedPredictions]]

    @property
    def first(self) -> str:
        """The backbone that the others are held against."""
        return next(iter(self.options))

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "report": str(self.run.path / "report.html"),
            "verdict": self.verdict,
            "steps": self.options[self.first].steps,
            "fair": not unfairness(self.started_from),
            "started_from": self.started_from,
            "scores": {name: {m: asdict(v) for m, v in row.items()} for name, row in self.scores.items()},
            "differences": {name: {m: asdict(v) for m, v in row.items()} for name, row in self.differences.items()},
            "adjusted_p": self.adjusted_p,
            "smallest_detectable_difference": self.smallest_detectable(),
            "costs": {name: asdict(cost) for name, cost in self.costs.items()},
            "threads": self.threads,
            "published": [] if self.study is None else self.published_table().to_dict("records"),
        }

    def smallest_detectable(self) -> dict[str, float]:
        """{backbone: the true difference in the primary metric that this test set would have shown four times in five}, at
        the strictest level of the correction."""
        alpha = 0.05 / max(1, len(self.differences))
        rows = self.differences.items()
        return {name: smallest_detectable_difference(row[PRIMARY], alpha=alpha) for name, row in rows}

    def table(self) -> pd.DataFrame:
        """One row a backbone: the weights it started from, and each metric with its 95 % interval."""
        return pd.DataFrame([
            {"backbone": name, "weights": "random" if self.started_from[name] == RANDOM else "pretrained",
             **{m: str(v) for m, v in row.items()}}
            for name, row in self.scores.items()
        ])  # fmt: skip

    def difference_table(self) -> pd.DataFrame:
        """One row a backbone but the first: each metric minus the first's, with its 95 % interval; beside the primary metric
        p, the Holm-adjusted p, and the smallest difference that would have been shown."""
        detectable = self.smallest_detectable()
        return pd.DataFrame([
            {"backbone": f"{name} - {self.first}", PRIMARY: str(row[PRIMARY]), "p": f"{row[PRIMARY].p:.3f}",
             "adjusted p": f"{self.adjusted_p[name]:.3f}", "detectable": f"{detectable[name]:.3f}",
             **{m: str(v) for m, v in row.items() if m != PRIMARY}}
            for name, row in self.differences.items()
        ])  # fmt: skip

    def cost_table(self) -> pd.DataFrame:
        """One row a backbone: parameters, multiply-adds and file in millions, and the time of one image on this machine."""
        return pd.DataFrame([
            {"backbone": name, "parameters (M)": f"{cost.parameters / 1e6:.2f}", "MACs (M)": f"{cost.multiply_adds / 1e6:.1f}",
             "file (MB)": f"{cost.file_bytes / 1e6:.1f}", "CPU ms an image": _spread(cost.milliseconds, 1),
             f"time over {self.first}": _spread(cost.relative, 2)}
            for name, cost in self.costs.items()
        ])  # fmt: skip

    def published_table(self) -> pd.DataFrame:
        """One row a published figure: the study's model, the figure's name, the study's value, and ours with its interval."""
        rows = [
            {"model of the study": one.model, "backbone here": one.backbone, "figure": _UNITS.get(figure, (figure,))[0],
             "published": _told(figure, value), "here": self._ours(one.backbone, figure)}
            for one in self.study.published for figure, value in one.values.items()
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _ours(self, backbone: str, figure: str) -> str:
        if backbone not in self.options:
            return "-"
        if figure in _COSTS:
            return _told(figure, float(np.median(getattr(self.costs[backbone], figure))))
        return str(interval(self.predictions[backbone], figure))

    def lines(self) -> list[str]:
        """What the command prints."""
        tables = [self.table(), self.difference_table() if self.differences else None, self.cost_table()]
        lines = [line for table in tables if table is not None for line in (table.to_string(index=False), "")]
        if self.study is not None:
            lines += [self.published_table().to_string(index=False), "", self.study.flaw, ""]
        return [*lines, *self.verdict, f"report: {self.run.path / 'report.html'}"]


def unfairness(started_from: dict[str, str]) -> str:
    """What must be said first when some backbones started from pretrained weights and some did not; "" otherwise."""
    blank = [name for name, weights in started_from.items() if weights == RANDOM]
    told = [name for name in started_from if name not in blank]
    if not blank or not told:
        return ""
    return (
        f"NOT A FAIR COMPARISON OF BACKBONES: {', '.join(told)} started from pretrained weights, {', '.join(blank)} from random "
        "ones. A difference between them may be that of the weights."
    )


# How costs are told: name with unit, divisor, decimals.
_UNITS = {
    "parameters": ("parameters (M)", 1e6, 2),
    "multiply_adds": ("MACs (M)", 1e6, 1),
    "file_bytes": ("file (MB)", 1e6, 1),
    "milliseconds": ("CPU ms an image", 1, 1),
}


def _told(figure: str, value: float) -> str:
    _, divisor, decimals = _UNITS.get(figure, (figure, 1, 3))
    return f"{value / divisor:.{decimals}f}"


def _spread(values: tuple[float, ...], decimals: int) -> str:
    low, middle, high = np.percentile(values, [10, 50, 90])
    if low == high:
        return f"{middle:.{decimals}f}"
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"
