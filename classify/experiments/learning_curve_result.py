"""What a learning curve found, as values and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ...data.targets import Target
from ...runtime.runs import RunFolder
from ..evidence import Difference, Interval, SeedPredictions, adjusted_p_values, interval, paired_difference, verdict
from ..fitting import TrainingOptions

REFERENCE = "reference"
METRICS = {"accuracy": "accuracy", "quadratic_kappa": "quadratic kappa", "log_loss": "cross-entropy"}
# Study D: accuracy in percent, kappa, cross-entropy.
PUBLISHED = {
    REFERENCE: (72, 0.74, 0.79),
    "TL100": (82, 0.89, 0.62),
    "TL80": (81, 0.87, 0.62),
    "TL60": (80, 0.86, 0.66),
    "TL40": (78, 0.83, 0.74),
    "TL20": (75, 0.80, 0.88),
    "TL10": (73, 0.79, 0.95),
}


@dataclass(frozen=True)
class Arm:
    """One training of the curve.

    Attributes:
        name: REFERENCE or TL<share>.
        share: percent of the training patients.
        sides: split of each image of the divided dataset, "" where it is left out: object (n,).
        patients: who each training image shows.
    """

    name: str
    share: int
    seed: int
    sides: np.ndarray
    patients: list[str]
    options: TrainingOptions


@dataclass(frozen=True)
class LearningCurve:
    """What a learning curve found.

    Attributes:
        run: its run folder.
        trained_on: one row a name: model, share (percent), patients, images, steps; means over the seeds.
        scores: {name: {metric: Interval}} on the test patients, the reference first.
        differences: {name: {metric: Difference}} of each share against the reference.
        adjusted_p: {name: Holm-adjusted p-value of its difference in the primary metric}.
        verdict: a sentence on how few patients are enough, then one for each share.
    """

    run: RunFolder
    target: Target
    trained_on: pd.DataFrame
    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Difference]]
    adjusted_p: dict[str, float]
    verdict: list[str]

    @property
    def primary(self) -> str:
        """The metric that the verdicts are about."""
        return primary_metric(self.target)

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "report": str(self.run.path / "report.html"),
            "verdict": self.verdict,
            "primary": self.primary,
            "trained_on": self.trained_on.to_dict("records"),
            "scores": {name: {m: asdict(v) for m, v in row.items()} for name, row in self.scores.items()},
            "differences": {name: {m: asdict(v) for m, v in row.items()} for name, row in self.differences.items()},
            "adjusted_p": self.adjusted_p,
        }

    def table(self) -> pd.DataFrame:
        """One row a name: what it was trained on, and each metric with its 95 % interval."""
        scores = [{METRICS[m]: str(v) for m, v in self.scores[name].items()} for name in self.trained_on["model"]]
        return pd.concat([self.trained_on.drop(columns="share"), pd.DataFrame(scores)], axis=1)

    def published_table(self) -> pd.DataFrame:
        """One row a name: ours beside study D's, "-" where the study has no such row; accuracy in percent."""
        rows = []
        for name, ours in self.scores.items():
            row: dict[str, str] = {"model": name}
            study = PUBLISHED.get(name, (None,) * 3)
            for (metric, said), published in zip(METRICS.items(), study, strict=True):
                percent = metric == "accuracy"
                said = said.removeprefix("quadratic ")
                row[said] = f"{100 * ours[metric].estimate:.0f} %" if percent else f"{ours[metric].estimate:.2f}"
                row["D: " + said] = "-" if published is None else f"{published} %" if percent else f"{published:.2f}"
            rows.append(row)
        return pd.DataFrame(rows)

    def difference_table(self) -> pd.DataFrame:
        """One row a share: each metric minus the reference's, with its 95 % interval; p and adjusted p of the primary one."""
        rows = []
        for name, row in self.differences.items():
            told = {METRICS[self.primary]: str(row[self.primary]), "p": f"{row[self.primary].p:.3f}"}
            told["adjusted p"] = f"{self.adjusted_p[name]:.3f}"
            others = {METRICS[m]: str(v) for m, v in row.items() if m != self.primary}
            rows.append({"model": f"{name} - {REFERENCE}", **told, **others})
        return pd.DataFrame(rows)

    def lines(self) -> list[str]:
        """What the command prints."""
        tables = [self.table(), self.difference_table(), self.published_table()]
        shown = [line for table in tables for line in (table.to_string(index=False), "")]
        return [*shown, *self.verdict, f"report: {self.run.path / 'report.html'}"]


def primary_metric(target: Target) -> str:
    """Quadratic kappa where classes have an order, accuracy where they have none."""
    return "quadratic_kappa" if target.column == "grade" or len(target.classes) == 2 else "accuracy"


def compare_shares(
    run: RunFolder, target: Target, arms: Sequence[Arm], predictions: Sequence[SeedPredictions]
) -> LearningCurve:
    """Every figure, from what each arm said of the test patients.

    Args:
        arms: the same names for every seed, each seed's reference before its shares.
        predictions: one an arm.
    """
    of = {name: [said for arm, said in zip(arms, predictions, strict=True) if arm.name == name]
          for name in dict.fromkeys(arm.name for arm in arms)}  # fmt: skip
    scores = {name: {m: interval(runs, m) for m in METRICS} for name, runs in of.items()}
    differences = {
        name: {m: paired_difference(runs, of[REFERENCE], m) for m in METRICS}
        for name, runs in of.items()
        if name != REFERENCE
    }
    primary = primary_metric(target)
    adjusted = adjusted_p_values({name: row[primary] for name, row in differences.items()})
    trained_on = _trained_on(arms)
    sentences = [
        verdict(row[primary], METRICS[primary], name, f"the {REFERENCE}", adjusted[name])
        for name, row in differences.items()
    ]
    first = _how_few(trained_on, differences, adjusted, primary)
    return LearningCurve(run, target, trained_on, scores, differences, adjusted, [first, *sentences])


def _trained_on(arms: Sequence[Arm]) -> pd.DataFrame:
    rows = [{"model": arm.name, "share": arm.share, "patients": len(set(arm.patients)), "images": len(arm.patients),
             "steps": arm.options.steps} for arm in arms]  # fmt: skip
    return pd.DataFrame(rows).groupby("model", sort=False).mean().round().astype(int).reset_index()


def _how_few(
    trained_on: pd.DataFrame, differences: dict[str, dict[str, Difference]], adjusted: dict[str, float], primary: str
) -> str:
    """The smallest share from which on every one tried is better than the reference."""
    enough = None
    for name in reversed(differences):
        if not (adjusted[name] < 0.05 and differences[name][primary].low > 0):
            break
        enough = name
    if enough is None:
        return (
            "No share of the patients was shown to be enough for the pretrained network to beat the one from scratch."
        )
    row = trained_on.set_index("model").loc[enough]
    return (
        f"With pretrained weights {row['share']} % of the training patients ({row['patients']}) are enough to beat the same "
        f"network trained from scratch on all of them, by {METRICS[primary]}."
    )
