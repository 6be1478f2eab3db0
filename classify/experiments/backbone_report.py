"""The report of `compare-backbones`: verdict, quality against cost, tables, and the study's figures beside ours."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...data.dataset import FundusDataset
from ...runtime.files import read_json, write_json
from ...runtime.report import COLORS, Report, new_figure
from ..evidence import HARMS, HELPS, NO_EVIDENCE, claim
from .backbone_comparison import PRIMARY, RANDOM, BackboneComparison, unfairness

_MARKERS = "osD^v"


def write_report(comparison: BackboneComparison, dataset: FundusDataset) -> Path:
    """Write report.html and summary.json into the run folder; returns the report's path.

    Args:
        dataset: the images, split.
    """
    run, classes = comparison.run, comparison.target.classes
    names = " vs ".join(classes) if len(classes) <= 3 else f"{len(classes)} classes"
    report = Report(f"Which network? {names}", _lead(comparison))
    if comparison.differences:
        report.section("Verdict").points(comparison.verdict[-len(comparison.differences) :])
    report.section("Quality against cost")
    report.figure(_figure(comparison), _figure_caption(comparison))
    report.section("Held-out patients")
    report.table(comparison.table(), _table_caption(comparison))
    if comparison.differences:
        report.table(comparison.difference_table(), _difference_caption(comparison))
    report.section("What each costs to run")
    report.table(comparison.cost_table(), _cost_caption(comparison))
    _add_study(report, comparison)
    _add_method(report, comparison, dataset)
    write_json(run.path / "summary.json", comparison.summary())
    return report.write(run.path / "report.html")


def _lead(comparison: BackboneComparison) -> str:
    """The answer in a line, after the warning where there is one."""
    first, differences = comparison.first, comparison.differences
    if not differences:
        return f"Only one backbone, {first}: nothing to compare it with."
    found = [claim(row[PRIMARY], comparison.adjusted_p[name]) for name, row in differences.items()]
    told = f"Macro F1 on held-out patients, against {first}: {found.count(HELPS)} of {len(found)} higher, "
    told += f"{found.count(HARMS)} lower, {found.count(NO_EVIDENCE)} without evidence of a difference."
    return f"{unfairness(comparison.started_from)} {told}".strip()


def _figure(comparison: BackboneComparison) -> object:
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axis = new_figure(5.6, 4.0)
    for index, (name, cost) in enumerate(comparison.costs.items()):
        value = comparison.scores[name][PRIMARY]
        color = COLORS[index % len(COLORS)]
        spread = [[max(0.0, value.estimate - value.low)], [max(0.0, value.high - value.estimate)]]
        axis.errorbar(
            [cost.multiply_adds / 1e6], [value.estimate], spread, color=color, marker=_MARKERS[index % len(_MARKERS)],
            markersize=8, markeredgewidth=1.6, capsize=3, linestyle="none", label=name,
            markerfacecolor="white" if comparison.started_from[name] == RANDOM else color,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set(xlabel="million multiply-adds of one image (logarithmic)", ylabel="macro F1, held-out patients")
    axis.margins(x=0.15)
    figure.legend(frameon=False, loc="outside upper left", ncols=2, fontsize="small")
    return figure


def _figure_caption(comparison: BackboneComparison) -> str:
    return (
        f"Up is better, left is cheaper. Bars: 95 % intervals. Filled: from pretrained weights; hollow: from random weights. "
        f"Images of {comparison.options[comparison.first].size} pixels."
    )


def _table_caption(comparison: BackboneComparison) -> str:
    any_score = comparison.scores[comparison.first][PRIMARY]
    seeds = (
        "one seed, whose chance is not in them" if any_score.seeds == 1 else f"{any_score.seeds} seeds, resampled too"
    )
    return (
        f"95 % bootstrap intervals over {any_score.patients} patients; {seeds}. Macro F1 and macro AUROC are averaged over the "
        "classes, balanced accuracy is the mean recall. Of log loss, less is better; of all others, more."
    )


def _difference_caption(comparison: BackboneComparison) -> str:
    several = len(comparison.differences)
    return (
        "Difference to the first backbone, paired by patient and seed. An interval that holds 0 is no evidence of a difference. "
        f"p is of macro F1; adjusted p is corrected for {several} comparison{'s' if several > 1 else ''} (Holm 1979), and only "
        "one below 0.05 is called an effect. Detectable: how large a true difference in macro F1 would have to be for these "
        "patients and seeds to show it four times in five."
    )


def _cost_caption(comparison: BackboneComparison) -> str:
    return (
        "MACs: multiply-adds of one image in convolutions, linear layers and attention. File: the classifier's safetensors, with "
        f"its head. Times: one image at a time on the processor of the machine that wrote this page, {comparison.threads} "
        f"thread{'s' if comparison.threads > 1 else ''}; the networks took turns; median, and 10th to 90th percentile of "
        f"{len(comparison.costs[comparison.first].milliseconds)} rounds."
    )


def _add_study(report: Report, comparison: BackboneComparison) -> None:
    study = comparison.study
    if study is None:
        return
    report.section(f"Study {study.letter}: {study.title}")
    report.text(f"Flaw of the study: {study.flaw}")
    report.table(
        comparison.published_table(),
        "What the study published, and the same figure here. Other patients, and other settings where this page says so: the "
        "two columns lie side by side, they are no test. A dash: not compared here.",
    )
    wanted = [f"{name} was not compared." for name in study.backbones if name not in comparison.options]
    options = comparison.options[comparison.first]
    differs = [
        f"{what}: {there} in the study, {here} here."
        for what, there, here in (
            ("Size", f"{study.size} px", f"{options.size} px"),
            ("Head", study.head, options.head),
            ("Target", study.target, comparison.target.column),
            ("Classes", study.classes, len(comparison.target.classes)),
        )
        if there != here
    ]
    report.points(
        [*study.notes, *wanted, *differs, "Every backbone is trained by one recipe, below, not by the study's."]
    )


def _add_method(report: Report, comparison: BackboneComparison, dataset: FundusDataset) -> None:
    parts = {name: dataset.split(name) for name in ("train", "val", "test")}
    options = comparison.options[comparison.first]
    report.section("How it was done")
    report.facts({
        "dataset": f"{dataset.name}, {len(dataset)} images",
        **{name: f"{len(part)} images of {len(part.patients) or 'unknown'} patients" for name, part in parts.items()},
        "networks": f"{options.size} px, head {options.head}",
        "training": f"{options.optimizer}, {options.schedule} rate, batch {options.batch_size}, augmentation {options.augment}",
        "cost": f"{options.steps} optimiser steps for every backbone, last weights kept",
        "balance": "every batch holds the classes in equal shares, for every backbone",
        **{f"{name} started from": f"{weights}; first learning rate {comparison.options[name].resolved_learning_rate:g}"
           for name, weights in comparison.started_from.items()},
    })  # fmt: skip
    report.text(
        "The split is by patient, and the same for all. The verdicts are about macro F1 alone, with p-values corrected for the "
        "number of backbones; the intervals, and the other metrics, are each told as if it were the only one."
    )
    report.command(shlex.join(read_json(comparison.run.path / "environment.json")["command"]))
