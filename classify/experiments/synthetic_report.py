"""The report of `judge-synthetic`: verdict, recognition beside held-out real eyes, pictures, and what can be learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...data.dataset import FundusDataset
from ...runtime.files import read_json, write_json
from ...runtime.report import Report, new_figure
from ..calibration import reliability_table
from ..images import ImageSource
from ..training import Part
from .synthetic_judgement import Judgement

_COLORS = {"trtr": "#0072b2", "trts": "#d55e00"}  # Okabe and Ito 2008, told apart by all
_SHOWN = 4
_MOST_CLASSES_SHOWN = 8


def write_report(judgement: Judgement, dataset: FundusDataset, made: Sequence[Part]) -> Path:
    """Write report.html and summary.json into the run folder; returns the report's path.

    Args:
        dataset: the real eyes, split.
        made: the synthetic images, in the order of the predictions.
    """
    classes = judgement.target.classes
    names = " vs ".join(classes) if len(classes) <= 3 else f"{len(classes)} classes"
    report = Report(f"Do synthetic eyes show their class? {names}", " ".join(judgement.verdict))
    _add_recognition(report, judgement)
    _add_pictures(report, judgement, ImageSource.join([part.images for part in made]))
    _add_learning(report, judgement)
    _add_method(report, judgement, dataset, made)
    write_json(judgement.run.path / "summary.json", judgement.summary())
    return report.write(judgement.run.path / "report.html")


def _add_recognition(report: Report, judgement: Judgement) -> None:
    report.section("Does a classifier that knows real eyes recognise the class?")
    report.table(judgement.recognition_table(), _caption(judgement) + " ECE: expected calibration error, 10 equal bins of "
                 "confidence, 0 at best; few images make it too high. Accuracy, macro F1 and ECE depend on how many images "
                 "each class has, which may differ between the columns; AUROC and balanced accuracy hardly do.")  # fmt: skip
    report.table(
        judgement.class_table(), "Each class against the rest. Recall: the share of its images that is recognised."
    )
    report.table(judgement.meant_and_recognized(), "Synthetic images, in percent of a row: the class that was meant, and what "
                                                   "the classifier takes it for (all seeds together).")  # fmt: skip
    report.figure(_reliability(judgement), "Right as often as sure? Below the diagonal the classifier is too sure of itself. "
                                           "Bins with fewer than 5 images are left out; all seeds together.")  # fmt: skip


def _caption(judgement: Judgement) -> str:
    real, synthetic = (judgement.scores[kind]["accuracy"] for kind in ("trtr", "trts"))
    seeds = (
        "one seed, whose chance is not in them" if real.seeds == 1 else f"{real.seeds} seeds, which are resampled, too"
    )
    return (
        f"95 % bootstrap intervals over {real.patients} held-out patients and over {synthetic.patients} synthetic images; "
        f"{seeds}."
    )


def _reliability(judgement: Judgement) -> object:
    figure, axis = new_figure(5.2, 4.2)
    axis.plot([0, 1], [0, 1], color="#5c656e", linewidth=0.8)
    for kind, name in (("trtr", "held-out real eyes"), ("trts", "synthetic eyes")):
        runs = judgement.predictions[kind]
        table = reliability_table(
            np.concatenate([run.true for run in runs]), np.concatenate([run.probabilities for run in runs])
        )
        table = table[table["images"] >= 5 * len(runs)]
        axis.plot(table["confidence"], table["accuracy"], "o-", color=_COLORS[kind], label=name)
    axis.set(
        xlabel="confidence (probability of the predicted class)",
        ylabel="share predicted right",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axis.legend(frameon=False)
    return figure


def _add_pictures(report: Report, judgement: Judgement, images: ImageSource) -> None:
    """The images of every class that the first seed's classifier recognises best and least."""
    run = judgement.predictions["trts"][0]
    report.section("Recognised best and least")
    for k, name in enumerate(judgement.target.classes[:_MOST_CLASSES_SHOWN]):
        rows = np.flatnonzero(run.true == k)
        rows = rows[np.argsort(-run.probabilities[rows, k], kind="stable")]
        if len(rows) > 2 * _SHOWN:
            rows = np.concatenate([rows[:_SHOWN], rows[-_SHOWN:]])
        told = [f"p = {run.probabilities[row, k]:.2f}" for row in rows]
        report.images(list(images.take(rows)), told, columns=2 * _SHOWN, width=112, photographs=True,
                      caption=f"Synthetic {name}: p is the probability that the classifier gives to {name}.")  # fmt: skip


def _add_learning(report: Report, judgement: Judgement) -> None:
    report.section("Can the class be learned from synthetic eyes alone?")
    report.table(judgement.training_table(), f"Tested on {judgement.differences['accuracy'].patients} held-out patients, with "
                 "95 % bootstrap intervals; the difference is paired by patient and seed. An interval that holds 0 is no "
                 "evidence of one.")  # fmt: skip


def _add_method(report: Report, judgement: Judgement, dataset: FundusDataset, made: Sequence[Part]) -> None:
    options, parts = judgement.options, {name: dataset.split(name) for name in ("train", "val", "test")}
    report.section("How it was done")
    report.facts({
        "real eyes": dataset.name,
        **{name: f"{len(part)} images of {len(part.patients) or 'unknown'} patients" for name, part in parts.items()},
        "synthetic eyes": "; ".join(f"{part.dataset.name}, {len(part.labels)} images" for part in made),
        "network": f"{options.backbone}, {options.size} px, {options.optimizer}, {options.schedule} rate from "
                   f"{options.resolved_learning_rate:g}, batch {options.batch_size}",
        "cost": f"{options.steps} optimiser steps in every training, last weights kept",
        "balance": "every batch holds the classes in equal shares, in every training",
        "command": " ".join(read_json(judgement.run.path / "environment.json")["command"]),
    })  # fmt: skip
    report.points([
        "The generators never saw a patient of the val and test split: their files name whom they were trained on, and others "
        "are refused.",
        "Recognition says nothing of variety or privacy: copies of training eyes are recognised best of all. See "
        "fundus-synth evaluate and audit.",
        "Where each class has a generator of its own, a classifier trained on synthetic eyes can tell the generators apart "
        "instead of the classes. On real eyes that is of no use to it, so it shows there as a loss.",
        "Trained on synthetic, tested on real: Esteban, Hyland and R\u00e4tsch 2017, arXiv:1706.02633.",
    ])  # fmt: skip
