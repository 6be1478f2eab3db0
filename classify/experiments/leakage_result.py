"""What the leakage experiment found: figures of each split, and how far the leaky ones are above the one by patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..evidence import Difference, Interval, SeedPredictions, adjusted_p_values, independent_difference, interval
from .leaky_splits import COPIES, IMAGES, PATIENTS

METRICS = {"accuracy": "accuracy", "macro_f1": "macro F1", "auroc": "AUROC"}
PRIMARY = "accuracy"  # what study B reports, and what the verdicts are about
PUBLISHED = 0.9817  # study B, APTOS, MobileNetV3 small
_UNIT = {PATIENTS: "by patient", IMAGES: "by image", COPIES: "by copy, as study B did"}
_RESAMPLES = 2000


@dataclass(frozen=True)
class Leakage:
    """What the experiment found.

    Attributes:
        run: its run folder.
        overlap: one row a unit: what test and training pictures have in common, see `leaky_splits.overlap`; means over seeds.
        largest_class: accuracy of always naming the largest class; the same in all splits.
        scores: {unit: {metric: Interval}} on the test pictures of each split.
        differences: {IMAGES | COPIES: {metric: Difference}} from the split by patients.
        adjusted_p: {unit: Holm-adjusted p-value of its difference in accuracy}.
        verdict: a sentence on study B's figure, then one for each leaky split.
    """

    run: RunFolder
    target: Target
    overlap: pd.DataFrame
    largest_class: float
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    adjusted_p: dict[str, float]
    verdict: list[str]

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "report": str(self.run.path / "report.html"),
            "verdict": self.verdict,
            "overlap": self.overlap.to_dict("records"),
            "largest_class": self.largest_class,
            "scores": {unit: {m: asdict(v) for m, v in row.items()} for unit, row in self.scores.items()},
            "differences": {unit: {m: asdict(v) for m, v in row.items()} for unit, row in self.differences.items()},
            "adjusted_p": self.adjusted_p,
        }

    def table(self) -> pd.DataFrame:
        """One row a unit: each metric with its 95 % interval."""
        rows = [{"split by": unit, **{METRICS[m]: str(v) for m, v in row.items()}} for unit, row in self.scores.items()]
        return pd.DataFrame(rows)

    def overlap_table(self) -> pd.DataFrame:
        """One row a unit: pictures and patients, and the known ones in percent."""
        table = self.overlap.copy()
        for name in ("known patient", "known photograph"):
            table[name] = [f"{100 * share:.0f} %" for share in table[name]]
        return table

    def difference_table(self) -> pd.DataFrame:
        """One row a leaky split: each metric minus that of the split by patients; p and adjusted p of the accuracy."""
        rows = []
        for unit, row in self.differences.items():
            told = {METRICS[PRIMARY]: str(row[PRIMARY]), "p": f"{row[PRIMARY].p:.3f}"}
            others = {METRICS[m]: str(v) for m, v in row.items() if m != PRIMARY}
            rows.append(
                {"split by": f"{unit} - {PATIENTS}", **told, "adjusted p": f"{self.adjusted_p[unit]:.3f}", **others}
            )
        return pd.DataFrame(rows)

    def lines(self) -> list[str]:
        """What the command prints."""
        tables = [self.overlap_table(), self.table(), self.difference_table()]
        shown = [line for table in tables for line in (table.to_string(index=False), "")]
        return [*shown, *self.verdict, f"report: {self.run.path / 'report.html'}"]


def measure(
    run: RunFolder, target: Target, predictions: Mapping[str, Sequence[SeedPredictions]], overlap: pd.DataFrame
) -> Leakage:
    """Every figure, from what each training said of its own test pictures.

    Args:
        predictions: {unit: one entry a seed}, PATIENTS first.
        overlap: one row a unit and seed.
    """
    scores = {unit: {m: interval(runs, m, resamples=_RESAMPLES) for m in METRICS} for unit, runs in predictions.items()}
    differences = {
        unit: {m: independent_difference(runs, predictions[PATIENTS], m) for m in METRICS}
        for unit, runs in predictions.items()
        if unit != PATIENTS
    }
    adjusted = adjusted_p_values({unit: row[PRIMARY] for unit, row in differences.items()})
    shared = overlap.groupby("split by", sort=False).mean().reset_index()
    whole = ["training pictures", "test pictures", "test patients"]
    shared[whole] = shared[whole].round().astype(int)
    sentences = [sentence(unit, scores, row[PRIMARY], adjusted[unit]) for unit, row in differences.items()]
    largest = float(np.mean([np.bincount(one.true).max() / len(one.true) for one in predictions[PATIENTS]]))
    return Leakage(run, target, shared, largest, scores, differences, adjusted, [_study_b(scores), *sentences])


def sentence(unit: str, scores: Mapping[str, Mapping[str, Interval]], difference: Difference, adjusted_p: float) -> str:
    """What a leaky split adds to the accuracy. It claims memory only when the adjusted p is below 0.05 and the interval is
    above 0."""
    told = f"{difference.low:+.3f} to {difference.high:+.3f}, Holm-adjusted p {adjusted_p:.3f}"
    found = (
        f"Split {_UNIT[unit]}, accuracy is {scores[unit][PRIMARY].estimate:.3f} against "
        f"{scores[PATIENTS][PRIMARY].estimate:.3f} on patients never seen"
    )
    if not np.isfinite([difference.low, difference.high, adjusted_p]).all():
        return f"{found}; too few patients to compare them."
    if difference.low > 0 and adjusted_p < 0.05:
        return f"{found}: {difference.estimate:+.3f} (95 % interval {told}) is memory of eyes seen in training."
    if difference.high < 0 and adjusted_p < 0.05:
        return f"{found}: {difference.estimate:+.3f} (95 % interval {told}), which memory cannot explain."
    return f"{found}: no evidence of memory ({difference.estimate:+.3f}, 95 % interval {told})."


def _study_b(scores: Mapping[str, Mapping[str, Interval]]) -> str:
    copies, patients = (scores[unit][PRIMARY].estimate for unit in (COPIES, PATIENTS))
    return (
        f"Study B reports {100 * PUBLISHED:.1f} % with copies on both sides of its split. Split so here, the same network "
        f"scores {100 * copies:.1f} %; on patients it never saw, {100 * patients:.1f} %."
    )
