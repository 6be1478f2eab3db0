"""The page of a stress test: verdicts, one small plot a damage, what each damage looks like, and all figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ...runtime.report import COLORS, Report
from ..evidence import Interval
from .attacks import ATTACKS, EPSILONS
from .damages import DAMAGES, SEVERITIES, damage
from .stress_result import COSTLY, StressResult, UnitResult

_COLUMNS = 3
_TILE = 160
_ACTIONS = (
    ("answered", "answered", COLORS[3]),
    ("referred", "referred", COLORS[1]),
    ("retaken", "photo again", COLORS[5]),
)


def write_stress_report(path: Path, result: StressResult, example: np.ndarray) -> Path:
    """Write the page; returns its path.

    Args:
        example: uint8 (side, side, 3), the standardised photograph that shows what each damage does.
    """
    report = Report(f"Stress test of {result.facts['classifier']}", _lead(result))
    report.facts(result.facts | {"undamaged AUC": str(result.undamaged.auc),
                                 "undamaged accuracy": str(result.undamaged.accuracy)})  # fmt: skip
    report.section("Verdicts").points(result.verdicts)
    report.section("AUC").text(
        "Macro AUC over the classes, of the same pictures from undamaged (0) to the worst (5). The band is the 95 % interval "
        f"over resampled patients; the dotted line lies {COSTLY} below the undamaged pictures. A verdict compares each severity "
        "with the undamaged pictures of the same patients, the worst first, and is corrected for the number of damages "
        "(Bonferroni). The scale is that of the damages; what an attack takes may leave it at the foot."
    )
    report.figure(
        _small_multiples(result, lambda axis, units: _auc_panel(axis, units, result)), "Macro AUC by severity."
    )
    report.section("What is answered").text(
        "Share of the pictures that are answered, referred to an expert, or to be taken again; black: answered, and wrongly; "
        "dashed: the share whose conformal set holds the right class. A system that knows its limits answers less as the "
        "pictures get worse, and the black line does not rise."
    )
    report.figure(_small_multiples(result, _action_panel, legend=True), "Shares of all pictures by severity.")
    _add_sheet(report.section("What each damage looks like"), result, example)
    report.section("What the severities mean").table(_levels(result), "D: diameter of the field of view.")
    report.section("All figures").text(
        "Estimate (95 % interval). AUC change: against the undamaged pictures, patients resampled on both sides alike; p is "
        "corrected as in the verdicts. Set: mean number of classes in the conformal set. Wrong: answered wrongly, as a share of "
        "all pictures, and of those answered."
    )
    return report.table(_figures(result)).write(path)


def _lead(result: StressResult) -> str:
    costly = [kind for kind in result.kinds if any(unit.costs for unit in result.of_kind(kind))]
    named = ", ".join(costly) or "no damage"
    unit = result.undamaged
    return (f"AUC {unit.auc.estimate:.3f} on undamaged pictures of {unit.auc.patients} unseen patients. Evidence that it falls, "
            f"and a fall found of more than {COSTLY} at some severity: {named}.")  # fmt: skip


def _small_multiples(result: StressResult, draw: Callable, legend: bool = False):
    """One panel a damage, all on the same scales."""
    from matplotlib.figure import Figure

    kinds = result.kinds
    rows = -(-len(kinds) // _COLUMNS)
    figure = Figure(figsize=(8.4, 0.5 + 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axis, kind in zip(axes.flat, kinds, strict=False):
        units = [result.undamaged, *result.of_kind(kind)]
        draw(axis, units)
        axis.set_title(kind, fontsize=10, loc="left")
        axis.set_xlim(-0.1, SEVERITIES[-1] + 0.1)
        axis.set_xticks([0, *SEVERITIES])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.6)
    for axis in axes.flat[len(kinds) :]:
        axis.set_visible(False)
    if legend:
        lines, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def _auc_panel(axis: object, units: list[UnitResult], result: StressResult) -> None:
    _line(axis, units, "auc", COLORS[1])
    axis.axhline(result.undamaged.auc.estimate - COSTLY, color="#777777", linewidth=0.9, linestyle=":")
    shown = [result.undamaged, *(unit for unit in result.units if unit.kind in DAMAGES)]
    ends = [value for unit in shown for value in (unit.auc.low, unit.auc.high) if np.isfinite(value)] or [0.0, 1.0]
    axis.set_ylim(min(ends) - 0.02, max(ends) + 0.02)


def _action_panel(axis: object, units: list[UnitResult]) -> None:
    for name, label, color in _ACTIONS:
        _line(axis, units, name, color, label)
    _line(axis, units, "wrong", COLORS[0], "answered wrongly")
    axis.plot([u.severity for u in units], [u.coverage.estimate for u in units], color=COLORS[4], linestyle="--",
              linewidth=1.2, label="right class in the set")  # fmt: skip
    axis.set_ylim(-0.02, 1.02)


def _line(axis: object, units: list[UnitResult], name: str, color: str, label: str = "") -> None:
    severities = [unit.severity for unit in units]
    values: list[Interval] = [getattr(unit, name) for unit in units]
    axis.fill_between(
        severities, [v.low for v in values], [v.high for v in values], color=color, alpha=0.18, linewidth=0
    )
    axis.plot(
        severities, [v.estimate for v in values], color=color, marker="o", markersize=3, linewidth=1.4, label=label
    )


def _add_sheet(report: Report, result: StressResult, example: np.ndarray) -> None:
    shown = [kind for kind in result.kinds if kind in DAMAGES]
    severities = sorted({unit.severity for unit in result.units})
    report.text(
        "One photograph of the test, undamaged and at each severity tested. What an attack on the network changes is too small "
        "to be seen: at most as many grey levels as the table says."
    )
    for kind in shown:
        pictures = [damage(example, kind, severity) for severity in (0, *severities)]
        small = [cv2.resize(p, (2 * _TILE, 2 * _TILE), interpolation=cv2.INTER_AREA) for p in pictures]
        captions = ["undamaged", *(f"{severity}: {DAMAGES[kind].levels[severity - 1]:g}" for severity in severities)]
        about = f"{kind}: {DAMAGES[kind].meaning} ({DAMAGES[kind].unit})"
        report.images(small, captions, len(small), about, _TILE, photographs=True)


def _levels(result: StressResult) -> pd.DataFrame:
    rows = []
    for kind in result.kinds:
        meaning, unit, levels = (
            (ATTACKS[kind][1], "grey levels of 255", EPSILONS)
            if kind in ATTACKS
            else (DAMAGES[kind].meaning, DAMAGES[kind].unit, DAMAGES[kind].levels)
        )
        numbers = {str(severity): f"{level:g}" for severity, level in zip(SEVERITIES, levels, strict=True)}
        rows.append({"damage": kind, **numbers, "unit": unit, "what happened": meaning})
    return pd.DataFrame(rows)


def _figures(result: StressResult) -> pd.DataFrame:
    units: Sequence[UnitResult] = [result.undamaged, *result.units]
    return pd.DataFrame([_row(unit) for unit in units])


def _row(unit: UnitResult) -> dict[str, object]:
    change = unit.auc_change
    return {
        "damage": unit.kind,
        "severity": unit.severity,
        "AUC": str(unit.auc),
        "AUC change": "-" if change is None else str(change),
        "p": unit.auc_p,
        "accuracy": str(unit.accuracy),
        "coverage": str(unit.coverage),
        "set": f"{unit.set_size:.1f}",
        "answered": unit.answered.estimate,
        "referred": unit.referred.estimate,
        "photo again": unit.retaken.estimate,
        "wrong": unit.wrong.estimate,
        "wrong of answered": unit.wrong_of_answered,
    }
