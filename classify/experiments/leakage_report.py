"""The report of `leakage`: verdict, what the splits share, figures of each, an eye on both sides, and how it was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...data.dataset import FundusDataset
from ...runtime.files import read_json, write_json
from ...runtime.report import Report, new_figure
from ..fitting import TrainingOptions
from .leakage_result import METRICS, PRIMARY, PUBLISHED, Leakage
from .leaky_splits import COPIES, PATIENTS, UNITS

_COLORS = dict(zip(UNITS, ("#0072b2", "#e69f00", "#d55e00"), strict=True))  # Okabe and Ito 2008, told apart by all
_SHOWN = 3


def write_report(
    found: Leakage, pool: FundusDataset, sides: Mapping[str, np.ndarray], options: TrainingOptions,
    results: Mapping[str, Sequence[dict]],
) -> Path:  # fmt: skip
    """Write report.html and summary.json into the run folder; returns the report's path.

    Args:
        sides: of the first seed, see `draw_sides`.
        options: of the trainings, before their length is set.
        results: {unit: one job result a seed}.
    """
    report = Report("How much is memory?", found.verdict[0])
    report.points(found.verdict[1:])
    report.figure(
        _figure(found),
        "95 % intervals over test patients and seeds. The dotted line: always naming the largest class; "
        "the grey one: what study B reports.",
    )
    report.section("The same network, the same pictures, three splits")
    report.table(found.overlap_table(), "Known: the share of test pictures whose patient, or whose photograph as itself or as "
                                        "another copy, is in training.")  # fmt: skip
    report.table(found.table(), _table_caption(found))
    report.table(found.difference_table(), "Above the split by patients. The test pictures differ, so nothing is paired: patients "
                 "and seeds of both sides are resampled independently. Many patients are tested on both sides, which makes these "
                 "intervals too wide rather than too narrow. p is of the accuracy; adjusted p is corrected for two "
                 "comparisons (Holm 1979).")  # fmt: skip
    _add_pictures(report, pool, sides[COPIES])
    _add_method(report, found, pool, options, results)
    write_json(found.run.path / "summary.json", found.summary())
    return report.write(found.run.path / "report.html")


def _table_caption(found: Leakage) -> str:
    seeds = found.scores[PATIENTS][PRIMARY].seeds
    chance = "one seed, whose chance is not in them" if seeds == 1 else f"{seeds} seeds, each with splits of its own"
    which = f"of {found.target.classes[1]}" if len(found.target.classes) == 2 else "averaged over the classes"
    return (
        f"95 % bootstrap intervals over the patients of the test pictures; {chance}. AUROC is {which}. Always naming the "
        f"largest class would have accuracy {found.largest_class:.3f}."
    )


def _figure(found: Leakage) -> object:
    figure, axis = new_figure(7.4, 3.2)
    for number, (unit, row) in enumerate(found.scores.items()):
        middle = np.array([row[m].estimate for m in METRICS])
        # A percentile interval need not hold its estimate; lengths below 0 cannot be drawn.
        ends = np.maximum([middle - [row[m].low for m in METRICS], [row[m].high for m in METRICS] - middle], 0)
        place = np.arange(len(METRICS)) + 0.16 * (number - 1)
        axis.errorbar(place, middle, ends, fmt="o", capsize=3, color=_COLORS[unit], label=f"split by {unit}")
    axis.plot([-0.35, 0.35], [found.largest_class] * 2, ":", color="#5c656e")
    axis.plot([-0.35, 0.35], [PUBLISHED] * 2, color="#5c656e", linewidth=1)
    axis.annotate("study B", (0.36, PUBLISHED), va="center", color="#5c656e", fontsize=9)
    axis.set_xticks(range(len(METRICS)), METRICS.values())
    axis.set(ylim=(min(axis.get_ylim()[0], 0.5), 1.02), xlim=(-0.6, len(METRICS) - 0.4))
    axis.legend(frameon=False, loc="lower left", ncols=3, bbox_to_anchor=(0, 1), borderaxespad=0)
    return figure


def _add_pictures(report: Report, pool: FundusDataset, sides: np.ndarray) -> None:
    """The first photographs that have copies in training and in test."""
    photographs = pool.column("photograph").to_numpy()
    both = [name for name in dict.fromkeys(photographs[sides == "test"])
            if "train" in sides[photographs == name]][:_SHOWN]  # fmt: skip
    if not both:
        return
    report.section("One eye on both sides")
    for name in both:
        rows = np.flatnonzero(photographs == name)
        report.images([pool.read(row) for row in rows], [str(sides[row]) for row in rows], columns=len(rows), width=112,
                      photographs=True)  # fmt: skip
    report.text(
        "Each row is a photograph and its rotated copies, with the part that each stands in when copies are dealt out."
    )


def _add_method(
    report: Report, found: Leakage, pool: FundusDataset, options: TrainingOptions, results: Mapping[str, Sequence[dict]]
) -> None:
    config, rows = found.run.config, results[PATIENTS]
    steps = sorted({row["steps"] for row in rows})
    report.section("How it was done")
    report.facts({
        "pictures": f"{pool.name}: {len(pool)} pictures of {pool.column('photograph').nunique()} photographs of "
                    f"{len(pool.patients)} patients, {config['copies']} copies of each, rotated by any angle",
        "classes": ", ".join(found.target.classes),
        "network": f"{options.backbone}, {rows[0]['started_from']}, {options.size} px, {options.optimizer}, {options.schedule} "
                   f"rate from {options.resolved_learning_rate:g}, batch {options.batch_size}, last weights kept",
        "cost": f"{' or '.join(map(str, steps))} optimiser steps, the same by all splits of a seed",
        "balance": "every batch holds the classes in equal shares, by all splits",
        "command": " ".join(read_json(found.run.path / "environment.json")["command"]),
    })  # fmt: skip
    report.points([
        "The splits have the same number of pictures of each class in training and in test. As in study B, photographs and "
        "their copies are tested on; here by all three splits, so that only what is split differs.",
        "The patients of the leaky splits are the true ones when intervals are made: all pictures of a patient are "
        "resampled together.",
        "This measures the flaw on these photographs with this network. How much of study B's own figure is memory depends on "
        "its photographs and network; its figure cannot be taken apart without them.",
        "The folders named LEAKY hold classifiers that have seen their test patients. They are good for nothing else.",
    ])  # fmt: skip
