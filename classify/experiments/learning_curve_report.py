"""The report of `learning-curve`: verdict, a curve for each metric, tables, study D's figures beside ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.dataset import FundusDataset
from ...runtime.files import read_json, write_json
from ...runtime.report import Report, new_figure
from ..fitting import TrainingOptions
from .learning_curve_result import METRICS, REFERENCE, LearningCurve

_REFERENCE, _TUNED = "#5c656e", "#0072b2"


def write_report(curve: LearningCurve, dataset: FundusDataset, options: TrainingOptions, started_from: str) -> Path:
    """Write report.html and summary.json into the run folder; returns the report's path.

    Args:
        dataset: the whole one, split.
        options: of the pretrained trainings, before their length is set.
        started_from: which weights were fine-tuned.
    """
    report = Report("What does transfer learning buy?", curve.verdict[0])
    report.points(curve.verdict[1:])
    report.section("Share of the training patients")
    for metric, name in METRICS.items():
        report.figure(_figure(curve, metric, name), _figure_caption(metric))
    report.section("Held-out patients")
    report.table(curve.table(), _table_caption(curve))
    report.table(curve.difference_table(), _difference_caption(curve))
    report.section("Beside study D")
    report.table(
        curve.published_table(),
        "D: as the study published it, from one run each. Other photographs, another network and size, another mix of grades: "
        "compare the shape of the columns, not the figures.",
    )
    _add_method(report, curve, dataset, options, started_from)
    write_json(curve.run.path / "summary.json", curve.summary())
    return report.write(curve.run.path / "report.html")


def _figure(curve: LearningCurve, metric: str, name: str) -> object:
    tuned = curve.trained_on[curve.trained_on["model"] != REFERENCE]
    found = [curve.scores[model][metric] for model in tuned["model"]]
    middle = np.array([one.estimate for one in found])
    # A percentile interval need not hold its estimate; lengths below 0 cannot be drawn.
    ends = np.maximum([[m - one.low for m, one in zip(middle, found, strict=True)],
                       [one.high - m for m, one in zip(middle, found, strict=True)]], 0)  # fmt: skip
    reference = curve.scores[REFERENCE][metric]
    figure, axis = new_figure(7.4, 3.1)
    axis.axhspan(reference.low, reference.high, color=_REFERENCE, alpha=0.15, linewidth=0)
    axis.axhline(reference.estimate, color=_REFERENCE, label="from scratch, all patients")
    axis.errorbar(tuned["share"], middle, ends, color=_TUNED, marker="o", capsize=3, label="pretrained, fine-tuned")
    axis.set(xlabel="share of the training patients, %", ylabel=name, xlim=(0, 104))
    axis.set_xticks(tuned["share"])
    axis.legend(frameon=False, loc="lower left", ncols=2, bbox_to_anchor=(0, 1), borderaxespad=0)
    return figure


def _figure_caption(metric: str) -> str:
    better = "Lower is better. " if metric == "log_loss" else ""
    return f"{better}Bars and the band: 95 % intervals over held-out patients and seeds."


def _table_caption(curve: LearningCurve) -> str:
    any_score = curve.scores[REFERENCE]["accuracy"]
    if any_score.seeds == 1:
        seeds = "One seed, whose chance, which patients it drew too, is not in the intervals"
    else:
        seeds = f"Means over {any_score.seeds} seeds, which also draw the patients and are resampled, too"
    return (
        f"95 % bootstrap intervals over {any_score.patients} held-out patients. {seeds}. Cross-entropy: nats an image, "
        "0 at best, lower is better."
    )


def _difference_caption(curve: LearningCurve) -> str:
    return (
        "Paired by patient and seed. An interval that holds 0 is no evidence of a difference. p is of "
        f"{METRICS[curve.primary]}; adjusted p is corrected for {len(curve.differences)} comparisons (Holm 1979), and only one "
        "below 0.05 is called an effect."
    )


def _add_method(
    report: Report, curve: LearningCurve, dataset: FundusDataset, options: TrainingOptions, started_from: str
) -> None:
    parts = {name: dataset.split(name) for name in ("train", "val", "test")}
    config, steps = curve.run.config, curve.trained_on["steps"]
    same = f"{steps.max()} optimiser steps in every training, so a small share is seen more often"
    passes = f"{config['epochs']} passes over its own images in every training, so a small share takes fewer steps"
    scratch = replace(options, weights=None, pretrained=False)
    report.section("How it was done")
    report.facts({
        "dataset": f"{dataset.name}, classes {', '.join(curve.target.classes)} of {curve.target.column}",
        **{name: f"{len(part)} images of {len(part.patients) or 'unknown'} patients" for name, part in parts.items()},
        "network": f"{options.backbone}, {options.size} px, {options.optimizer}, {options.schedule} rate, batch "
                   f"{options.batch_size}, {options.sampling} sampling, last weights kept",
        "reference": "random weights; all training patients; learning rate from "
                     f"{scratch.resolved_learning_rate:g}; the whole network from the first step on",
        "TLn": f"{started_from}; n % of the training patients; learning rate from {options.resolved_learning_rate:g}; the head "
               f"alone in the first {config['frozen_epochs']} of {config['epochs']} epochs, then the whole network",
        "equal": same if config["equal"] == "steps" else passes,
        "command": " ".join(read_json(curve.run.path / "environment.json")["command"]),
    })  # fmt: skip
    report.points([
        "All are tested on the same held-out patients. Shares are of patients: both eyes and all photographs of a patient "
        "come together. They are nested: with each seed, the patients of a share are among those of every larger one.",
        "The reference is the same backbone as timm makes it. Where the file of weights asks for its own normalisation of the "
        "pixels or padding of the convolutions, the reference has timm's instead.",
        *([] if curve.target.column == "grade" else ["Quadratic kappa is meant for classes in an order. Here it takes them in "
                                                     f"this one: {', '.join(curve.target.classes)}."]),
    ])  # fmt: skip
