"""The page of a finished training: what the generator makes, how near it came to real eyes, and how it got there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.report import Report, new_figure
from ..runtime.runs import RunFolder
from .checkpoint import GeneratorInfo

_SHOWN = 36


def write_training_report(run: RunFolder, info: GeneratorInfo, pictures: np.ndarray) -> Path:
    """Write RUN/report.html.

    Args:
        run: a finished run with metrics.csv and, where quality was measured, quality.csv.
        info: of the generator that was kept.
        pictures: what it makes, uint8 (n, size, size, 3), shown in this order.

    Returns:
        the page's path.
    """
    report = Report(f"Generator of {info.label}", _lead(info))
    report.section("What it makes")
    report.images(list(pictures[:_SHOWN]), columns=9, width=96,
                  caption="The first seeds, none left out. Generated, not photographs.")  # fmt: skip
    report.section("How it was trained").facts(_facts(info))
    metrics, quality = _table(run, "metrics.csv"), _table(run, "quality.csv")
    if quality is not None:
        report.figure(_quality_figure(quality, info), "Distance to the eyes held back (KID, with its 95 % interval) and recall, "
                      "by step. The state marked was kept.")  # fmt: skip
    if metrics is not None:
        report.figure(_loss_figure(metrics), "Losses by step.")
    return report.write(run.path / "report.html")


def _lead(info: GeneratorInfo) -> str:
    quality = info.quality
    if not quality:
        return (f"{info.images} images of {info.patients} patients. Too few to hold some back, so nothing here says how good "
                "it is: look at the pictures, and compare them with real eyes.")  # fmt: skip
    return (f"KID {quality['kid']:.3f} ({quality['kid_low']:.3f} to {quality['kid_high']:.3f}) and recall "
            f"{quality['recall']:.2f} against {quality['held_back']} eyes of patients it has not seen, in the feature space "
            f"{quality['features']}. 0 would be as near as other real eyes.")  # fmt: skip


def _facts(info: GeneratorInfo) -> dict:
    seen = {
        "images": info.images,
        "patients": info.patients,
        "dataset": info.dataset.get("name"),
        "kept step": info.steps,
    }
    options = {**info.architecture, **seen, "seed": info.seed, **info.recipe}
    return {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in options.items()
    }


def _table(run: RunFolder, name: str) -> pd.DataFrame | None:
    path = run.path / name
    return pd.read_csv(path) if path.is_file() else None


def _quality_figure(quality: pd.DataFrame, info: GeneratorInfo) -> object:
    figure, (left, right) = new_figure(columns=2)
    left.fill_between(quality["step"], quality["kid_low"], quality["kid_high"], alpha=0.2, linewidth=0)
    left.plot(quality["step"], quality["kid"], marker=".")
    left.set(xlabel="step", ylabel="KID", ylim=(min(0, quality["kid"].min()), None))
    right.plot(quality["step"], quality["recall"], marker=".", label="recall")
    right.plot(quality["step"], quality["precision"], marker=".", label="precision")
    right.set(xlabel="step", ylim=(0, 1.02))
    right.legend(frameon=False)
    for axis in (left, right):
        axis.axvline(info.steps, color="#888888", linewidth=0.8, linestyle="--")
    return figure


def _loss_figure(metrics: pd.DataFrame) -> object:
    figure, axis = new_figure()
    for name in metrics.columns:
        if name.endswith("_loss"):
            axis.plot(metrics["step"], metrics[name].rolling(5, min_periods=1).mean(), label=name)
    axis.set(xlabel="step")
    axis.legend(frameon=False)
    return figure
