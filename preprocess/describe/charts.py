"""The page's plots, each a matplotlib figure in the reports' style."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...data.labels import who_cutoffs
from ...runtime.report import new_figure
from .association import Association

# Okabe and Ito 2008: told apart by all.
SEX_COLORS = {"female": "#d55e00", "male": "#0072b2", "not stated": "#999999"}
_IMAGES, _PATIENTS, _LINE = "#0072b2", "#9ecae1", "#1c2024"
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#1c2024")


def class_bars(table: pd.DataFrame):
    """Images and patients of each class, one pair of bars a class, in the table's order from the top."""
    figure, axis = new_figure(8, 1.0 + 0.42 * len(table))
    y = np.arange(len(table))
    for shift, column, color in ((-0.19, "images", _IMAGES), (0.19, "patients", _PATIENTS)):
        if table[column].any():
            bars = axis.barh(y + shift, table[column], 0.36, color=color, label=column)
            axis.bar_label(bars, padding=3, fontsize=8)
    axis.set_yticks(y, table["class"])
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.margins(x=0.1)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def histogram_by_sex(people: pd.DataFrame, xlabel: str, counted: str):
    """Histograms of `value` drawn over one another, one a sex."""
    figure, axis = new_figure(8, 3.4)
    edges = _edges(people["value"])
    for sex, values in _by_sex(people):
        color = SEX_COLORS[sex]
        axis.hist(values, edges, color=color, alpha=0.25)
        axis.hist(values, edges, color=color, histtype="step", linewidth=1.6, label=f"{sex} ({len(values)})")
    axis.set(xlabel=xlabel, ylabel=counted)
    axis.legend(frameon=False)
    return figure


def hemoglobin_by_sex(people: pd.DataFrame, counted: str):
    """One panel a sex, one x axis, with the WHO's cut-off of adults; what lies below it is filled."""
    sexes = [(sex, values) for sex, values in _by_sex(people) if sex != "not stated"]
    figure, axes = new_figure(9, 3.4, columns=len(sexes))
    edges = np.arange(np.floor(people["value"].min()), np.floor(people["value"].max()) + 1.01, 0.5)
    for axis, (sex, values) in zip(np.atleast_1d(axes), sexes, strict=True):
        cutoff = who_cutoffs(sex).anemia
        below = values < cutoff
        axis.hist([values[below], values[~below]], edges, stacked=True, color=[SEX_COLORS[sex], "#d9d9d9"])
        axis.axvline(cutoff, color=_LINE, linestyle="--", linewidth=1.2)
        top = axis.get_ylim()[1] * 1.18
        axis.set(xlabel="haemoglobin, g/dL", ylabel=counted, xlim=(edges[0], edges[-1]), ylim=(0, top),
                 title=f"{sex}: {below.sum()} of {len(values)} below {cutoff:g}")  # fmt: skip
        axis.annotate(f"{cutoff:g} ", (cutoff, top), ha="right", va="top", fontsize=9)
    return figure


def scatter(x: pd.Series, y: pd.Series, groups: pd.Series, names: list[str], xlabel: str, ylabel: str):
    """Points coloured by group; at most eight groups have a colour of their own."""
    figure, axis = new_figure(8, 3.8)
    colors = [SEX_COLORS[n] if n in SEX_COLORS else _COLORS[i % len(_COLORS)] for i, n in enumerate(names)]
    for name, color in zip(names, colors, strict=True):
        here = groups == name
        axis.scatter(x[here], y[here], s=12, alpha=0.6, linewidths=0, color=color, label=name, rasterized=True)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.6)
    return figure


def boxes(values: pd.Series, groups: pd.Series, names: list[str], xlabel: str):
    """One box a group from the top: quartiles, median, and whiskers from the 5th to the 95th percentile."""
    kept = [(name, values[(groups == name) & values.notna()]) for name in names]
    kept = [(name, part) for name, part in kept if len(part)]
    figure, axis = new_figure(8, 1.0 + 0.32 * len(kept))
    y = np.arange(len(kept))
    p5, q1, median, q3, p95 = np.array([part.quantile([0.05, 0.25, 0.5, 0.75, 0.95]) for _, part in kept]).T
    axis.hlines(y, p5, p95, color="#888888", linewidth=1.2)
    axis.barh(y, q3 - q1, 0.55, left=q1, color=_PATIENTS)
    axis.vlines(median, y - 0.275, y + 0.275, color=SEX_COLORS["female"], linewidth=2)
    axis.set_yticks(y, [f"{name} ({len(part)})" for name, part in kept])
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set(xlabel=xlabel)
    return figure


def associations(named: list[tuple[str, Association]]):
    """Cramer's V with its interval, one line a factor, the strongest on top."""
    figure, axis = new_figure(8, 1.0 + 0.3 * len(named))
    y = np.arange(len(named))
    v = np.array([a.v for _, a in named])
    reach = np.array([(max(a.v - a.low, 0), max(a.high - a.v, 0)) for _, a in named]).T
    axis.errorbar(v, y, xerr=reach, fmt="none", ecolor="#888888", elinewidth=1.4)
    axis.scatter(v, y, s=30, zorder=3, color=["#d55e00" if a.strong else _IMAGES for _, a in named])
    axis.axvline(0.3, color="#888888", linestyle=":", linewidth=1)
    axis.set_yticks(y, [name for name, _ in named])
    axis.invert_yaxis()
    axis.set(xlabel="Cramer's V with the class", xlim=(-0.02, 1.02))
    return figure


def histogram(values: pd.Series, xlabel: str, line: float | None = None):
    """One histogram over 0..1, with an upright line where something begins to be doubtful."""
    figure, axis = new_figure(8, 2.8)
    axis.hist(values.dropna(), np.linspace(0, 1, 41), color=_IMAGES)
    if line is not None:
        axis.axvline(line, color=_LINE, linestyle="--", linewidth=1.2)
    axis.set(xlabel=xlabel, ylabel="images", xlim=(0, 1))
    return figure


def landmark_maps(panels: list[tuple[str, pd.DataFrame, pd.DataFrame]]):
    """One panel an eye: how often the disc's centre lies where (heat), and the foveas (points), fractions of the width.

    Args:
        panels: (title, discs (n, 2), foveas (m, 2)), columns x and y.
    """
    figure, axes = new_figure(4.2 * len(panels) + 0.4, 4.4, columns=len(panels))
    for axis, (title, discs, foveas) in zip(np.atleast_1d(axes), panels, strict=True):
        heat, _, _ = np.histogram2d(discs["y"], discs["x"], bins=40, range=((0, 1), (0, 1)))
        axis.imshow(heat, extent=(0, 1, 1, 0), cmap="Oranges", interpolation="nearest")
        if len(foveas):
            axis.scatter(foveas["x"], foveas["y"], s=5, color="#0072b2", alpha=0.5, linewidths=0, rasterized=True)
        angle = np.linspace(0, 2 * np.pi, 200)
        axis.plot(0.5 + 0.5 * np.cos(angle), 0.5 + 0.5 * np.sin(angle), color="#888888", linewidth=1)
        axis.grid(visible=False)
        axis.set(title=title, xlim=(0, 1), ylim=(1, 0), aspect="equal")
    return figure


def _by_sex(people: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    sex = people["sex"].where(people["sex"] != "", "not stated")
    return [(name, people["value"][sex == name]) for name in SEX_COLORS if (sex == name).any()]


def _edges(values: pd.Series) -> np.ndarray:
    """Round edges of width 5, or 1 where the range is short."""
    low, high = values.min(), values.max()
    width = 5 if high - low > 30 else 1
    return np.arange(np.floor(low / width) * width, high + 1.001 * width, width)
