"""`fundus-classify evaluate`: test a trained classifier on a dataset folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..data.wider_targets import target_of
from ..runtime.devices import choose_device
from ..runtime.errors import UserError
from .checkpoint import load_classifier
from .decision import load_decision
from .held_out import unseen
from .images import ImageSource
from .outcomes import outcome_of
from .predictions import predict_images, write_predictions
from .results import DECIDED
from .tasks import task_of


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        folder: where predictions.csv, metrics.json and report.html are.
        metrics: {metric: {"estimate", "low", "high"}} with 95 % intervals over patients.
        left_out: images that were not used because the classifier had seen their patient.
        names: which metrics `lines` tells.
    """

    folder: Path
    metrics: dict[str, dict[str, float]]
    left_out: int
    names: tuple[str, ...]

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"folder": str(self.folder), "left_out": self.left_out, "metrics": self.metrics}

    def lines(self) -> list[str]:
        """The same for people."""
        told = []
        for name in filter(self.metrics.__contains__, self.names):
            decided = self.metrics.get(DECIDED + name)
            beside = f"; as decided {_told(decided)}" if decided else ""
            told.append(f"{name}: {_told(self.metrics[name])}{beside}")
        if self.left_out:
            told.append(f"{self.left_out} images left out: the classifier was trained or selected on their patients")
        return [*told, f"report: {self.folder / 'report.html'}"]


def evaluate(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    out: Path | str | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Test a classifier on the patients of a dataset that it has never seen, and write predictions.csv, metrics.json
    and report.html into `out` (RUN/evaluation-<dataset> by default).

    The run's decision is applied (see `decision`); plain and decided metrics stand side by side.

    Images of patients in the classifier's train or val split are left out, so the training dataset itself can be given.

    Raises:
        UserError: no classifier; no image of its classes, or no unseen patient.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    decision = load_decision(run, about)
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    target, outcome = target_of(about.target, about.classes), outcome_of(about.target)
    labels, wanted = target.labels(dataset), target.known(dataset)
    if not wanted.any():
        raise UserError(f"has no image of {', '.join(target.classes)} (target {target.column})", path=dataset.path)
    rows = np.flatnonzero(wanted & unseen(dataset, about.patients))
    if not len(rows):
        raise UserError("the classifier has seen every patient of it in training", path=dataset.path)
    probabilities = predict_images(
        model,
        ImageSource(image_cache(dataset, model.size, quiet=quiet), rows),
        device=where,
        task=task_of(about.target),
    )
    table = outcome.table(dataset.subset(rows), labels[rows], probabilities, target.classes, decision)
    folder = Path(out) if out is not None else Path(run) / f"evaluation-{dataset.path.resolve().name}"
    write_predictions(folder / "predictions.csv", table)
    left_out = int(wanted.sum() - len(rows))
    facts = {"dataset": dataset.name, "classifier": model.name, "left out, seen in training": left_out}
    metrics = outcome.write(folder, {"test": table}, target.classes, facts, decision=decision)
    return Evaluation(folder, metrics["test"], left_out, outcome.told)


def _told(metric: dict[str, float]) -> str:
    return f"{metric['estimate']:.3f} (95 % interval {metric['low']:.3f} to {metric['high']:.3f})"
