"""The report of `compare-augmentations`: verdict, curves, table, what each arm was shown, and where its networks looked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...runtime.files import read_json, write_json
from ...runtime.report import COLORS, Report, new_figure
from ..augmentation import make_augmentation, unguarded_discs
from ..checkpoint import load_classifier
from ..evidence import HARMS, HELPS, claim
from ..explain.methods import attribute
from ..explain.overlay import overlay
from ..fitting import TrainingOptions
from ..images import ImageSource, to_batch
from ..training import disc_positions
from .arms import Arm
from .comparison import PRIMARY, Comparison

_SHOWN = 8
_RATIO_CAPTION = (
    "Held-out patients; bars: 95 % intervals of each arm by itself. Dashed: the first arm. Whether two points differ is in the "
    "paired differences and the verdict, not in whether their bars overlap."
)


def write_report(
    comparison: Comparison, dataset: FundusDataset, synthetic: dict[str, dict[str, str]], options: TrainingOptions
) -> Path:
    """Write report.html, summary.json and table.csv into the run folder; returns the report's path."""
    run, target = comparison.run, comparison.target
    names = " vs ".join(target.classes) if len(target.classes) <= 3 else f"{len(target.classes)} classes"
    report = Report(f"Does augmentation help? {names}", _lead(comparison)).points(comparison.verdict)
    _add_figures(report, comparison)
    report.section("Held-out patients: final table")
    report.table(comparison.table(), _table_caption(comparison))
    if comparison.differences:
        report.table(comparison.difference_table(), _difference_caption(comparison))
    if comparison.by_class:
        report.section("Class by class").table(comparison.class_table(), _class_caption(comparison))
    if len({arm.ratio for arm in comparison.arms if arm.ratio > 0}) > 1:
        report.section("How many synthetic images").figure(ratio_figure(comparison), _RATIO_CAPTION)
    if comparison.external:
        _add_external(report, comparison.external, comparison.external_name)
    _add_samples(report, comparison, dataset, synthetic, options)
    _add_maps(report, comparison, dataset, options)
    _add_method(report, comparison, dataset, synthetic, options)
    write_json(run.path / "summary.json", comparison.summary())
    return report.write(run.path / "report.html")


def _lead(comparison: Comparison) -> str:
    claims = {arm: claim(row[PRIMARY], comparison.adjusted_p[arm]) for arm, row in comparison.differences.items()}
    told = {
        word: ", ".join(arm for arm, found in claims.items() if found == kind)
        for word, kind in (("help", HELPS), ("harm", HARMS))
    }
    found = [f"Shown to {word}: {arms}." for word, arms in told.items() if arms]
    return " ".join(found) or "No arm was shown to help or to harm."


def _add_external(report: Report, found: Comparison, name: str) -> None:
    images = len(found.predictions[found.arms[0].name][0].true)
    report.section(f"On another dataset: {name}").text(
        f"The same classifiers on {images} images that were in no part of the training, from other patients."
    )
    report.table(found.table(), _table_caption(found)).points(found.verdict)
    if found.differences:
        report.table(found.difference_table(), _difference_caption(found))
    if found.by_class:
        report.table(found.class_table(), _class_caption(found))


def _table_caption(comparison: Comparison) -> str:
    any_score = next(iter(comparison.scores.values()))["f1"]
    what = "of the second class" if len(comparison.target.classes) == 2 else "averaged over the classes"
    return (
        f"Mean over {any_score.seeds} seeds with 95 % bootstrap intervals over {any_score.patients} patients and the seeds. "
        f"F1, recall and AUROC are {what}; macro F1 averages both sides."
    )


def _difference_caption(comparison: Comparison) -> str:
    several = len(comparison.differences)
    return (
        "Difference to the first arm, paired by patient and seed. An interval that holds 0 is no evidence of a difference. "
        f"p is of F1; adjusted p is corrected for {several} arm{'s' if several > 1 else ''} against the first (Holm 1979), "
        "and only one below 0.05 is called an effect. Detectable: how large a true difference in F1 would have to be for "
        "these patients and seeds to show it four times in five."
    )


def _class_caption(comparison: Comparison) -> str:
    tests = len(comparison.by_class) * len(comparison.target.classes)
    return (
        f"F1 of each class against the rest, minus that of arm {comparison.arms[0].name}, with its 95 % interval. What is called "
        f"an effect has a p-value below 0.05 after correction for all {tests} of them (Holm 1979)."
    )


def ratio_figure(comparison: Comparison):
    """Matplotlib figure: the primary metric against the ratio of synthetic images, a line for each way of adding them, with
    intervals; the first arm as a band."""
    figure, axis = new_figure(5.6, 3.8)
    kinds: dict[tuple[str, bool], list[Arm]] = {}
    for arm in sorted(comparison.arms, key=lambda arm: arm.ratio):
        if arm.ratio > 0:
            kinds.setdefault((arm.augment, arm.filtered), []).append(arm)
    first = comparison.scores[comparison.arms[0].name][PRIMARY]
    axis.axhspan(first.low, first.high, color=COLORS[0], alpha=0.08, linewidth=0)
    axis.axhline(first.estimate, color=COLORS[0], linewidth=1, linestyle="--", label=comparison.arms[0].name)
    for ((augment, filtered), arms), color in zip(kinds.items(), COLORS[1:] * 2, strict=False):
        values = [comparison.scores[arm.name][PRIMARY] for arm in arms]
        away = np.array([[v.estimate - v.low for v in values], [v.high - v.estimate for v in values]])
        name = " + ".join(
            [*([augment] if augment != "default" else []), "synthetic", *(["filtered"] if filtered else [])]
        )
        axis.errorbar([arm.ratio for arm in arms], [v.estimate for v in values], away, color=color, label=name,
                      marker="o", markersize=4, capsize=3, linewidth=1.2)  # fmt: skip
    axis.set_xscale("log")
    ratios = sorted({arm.ratio for arm in comparison.arms if arm.ratio > 0})
    axis.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    axis.minorticks_off()
    axis.set(xlabel="synthetic images for each real one", ylabel=_primary_name(comparison))
    axis.legend(frameon=False, fontsize=8)
    return figure


def _primary_name(comparison: Comparison) -> str:
    classes = comparison.target.classes
    return f"F1, {classes[1]}" if len(classes) == 2 else "macro F1"


def _add_figures(report: Report, comparison: Comparison) -> None:
    figure, axes = new_figure(9.5, 3.6, columns=2)
    for arm, color in zip(comparison.arms, COLORS * 2, strict=False):
        curves = [pd.read_csv(path / "metrics.csv") for path in comparison.runs[arm.name]]
        for axis, column in zip(axes, ("val_f1", "val_recall"), strict=True):
            values = np.stack([curve[column].to_numpy(float) for curve in curves])
            epochs = np.arange(1, values.shape[1] + 1)
            axis.plot(epochs, values.mean(0), color=color, label=arm.name)
            axis.fill_between(epochs, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
    positive = comparison.target.classes[1] if len(comparison.target.classes) == 2 else "all classes (macro)"
    for axis, name in zip(axes, ("F1", "Recall"), strict=True):
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(
            xlabel="epoch of the real images (equal steps in every arm)", ylabel=f"{name}, {positive}", ylim=(0, 1)
        )
    axes[0].legend(frameon=False)
    report.section("F1 and recall as training goes on")
    report.figure(figure, "Validation patients. Line: mean over seeds; band: smallest to largest seed.")


def _add_samples(
    report: Report, comparison: Comparison, dataset: FundusDataset, synthetic: dict[str, dict[str, str]],
    options: TrainingOptions,
) -> None:  # fmt: skip
    report.section("What each arm was shown")
    target, train = comparison.target, dataset.split("train")
    count = _SHOWN if len(target.classes) == 2 else _SHOWN // 2
    for arm in comparison.arms:
        cells: list[tuple[np.ndarray, str]] = []
        for label, name in enumerate(target.classes):
            there = train.subset(np.flatnonzero(target.labels(train) == label)[:count])
            parts = [(there, name)]
            if arm.name in synthetic:
                made = FundusDataset.open(synthetic[arm.name][name])
                made = made.subset(range(min(len(made), count // 2)))
                parts = [
                    (there.subset(range(max(0, min(len(there), count - len(made))))), name),
                    (made, f"{name}, synthetic"),
                ]
            for part, caption in parts:
                cells += [(image, caption) for image in _augmented(part, arm, options.size)]
        report.images(
            [c[0] for c in cells], [c[1] for c in cells], columns=_SHOWN, caption=f"Arm {arm.name}", width=112
        )


def _augmented(part: FundusDataset, arm: Arm, size: int) -> np.ndarray:
    """The images as a training step of this arm sees them: uint8 (n, size, size, 3)."""
    batch = to_batch(np.array(image_cache(part, size)))
    batch = make_augmentation(arm.augment)(batch, torch.Generator().manual_seed(0), disc_positions(part))
    return (batch * 255).round().byte().permute(0, 2, 3, 1).numpy()


def _add_maps(report: Report, comparison: Comparison, dataset: FundusDataset, options: TrainingOptions) -> None:
    test, target = dataset.split("test"), comparison.target
    labels = target.labels(test)
    rows = np.concatenate([np.flatnonzero(labels == k)[:4] for k in range(len(target.classes))])[:12]
    source = ImageSource(image_cache(test, options.size), rows)
    images = source.take(np.arange(len(rows)))
    report.section("Where the networks looked (Grad-CAM)")
    report.images(list(images), [f"{target.classes[labels[r]]}" for r in rows], columns=_SHOWN, width=112,
                  caption="The test images.")  # fmt: skip
    for arm in comparison.arms:
        model, _ = load_classifier(comparison.runs[arm.name][0])
        maps = attribute(model, images, labels[rows])
        scale = float(maps.max()) or 1.0
        sheet = [overlay(image, heat, scale) for image, heat in zip(images, maps, strict=True)]
        said = comparison.predictions[arm.name][0].probabilities[rows, labels[rows]]
        report.images(sheet, [f"{target.classes[labels[r]]}: p = {p:.2f}" for r, p in zip(rows, said, strict=True)],
                      columns=_SHOWN, width=112,
                      caption=f"Arm {arm.name}: evidence for the true class, one colour scale for the row "
                              f"(maximum {scale:.3g}). p is the probability given to the true class.")  # fmt: skip


def _add_method(
    report: Report, comparison: Comparison, dataset: FundusDataset, synthetic: dict[str, dict[str, str]],
    options: TrainingOptions,
) -> None:  # fmt: skip
    parts = {name: dataset.split(name) for name in ("train", "val", "test")}
    report.section("How it was done")
    report.facts({
        "dataset": f"{dataset.name}, {len(dataset)} images",
        **{name: f"{len(part)} images of {len(part.patients) or 'unknown'} patients" for name, part in parts.items()},
        "network": f"{options.backbone}, {options.size} px, {options.optimizer}, {options.schedule} rate from "
                   f"{options.resolved_learning_rate:g}, batch {options.batch_size}",
        "cost": f"{comparison.steps} optimiser steps in every arm, last weights kept",
        "balance": "every batch holds the classes in equal shares, in every arm",
        "command": " ".join(_command(comparison)),
    })  # fmt: skip
    report.text(
        "No held-out patient was seen by a classifier's training or by a generator: the split is by patient, generators are "
        "trained inside its training part or refused. The verdicts are about F1 alone, with p-values corrected for the "
        "number of arms; the intervals, and the other metrics, are each told as if it were the only one."
    )
    for arm in comparison.arms:
        made = [FundusDataset.open(folder) for folder in synthetic.get(arm.name, {}).values()]
        discs = np.concatenate([disc_positions(part) for part in (dataset.split("train"), *made)])
        if warning := unguarded_discs(arm.augment, discs):
            report.text(f"Arm {arm.name}: {warning}")


def _command(comparison: Comparison) -> list[str]:
    return read_json(comparison.run.path / "environment.json")["command"]
