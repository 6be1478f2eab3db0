"""The page of an evaluation: how near the synthetic eyes are to real ones, whether they are eyes, and what they look like.

It shows no real photograph, so it may be published beside the synthetic images.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...data.cache import fit_square
from ...runtime.report import Report, new_figure
from ..distance_intervals import Estimate
from .anatomy import FIGURES, Anatomy
from .comparison import BEYOND, TOGETHER, WORSE, Comparison, Judgement

if TYPE_CHECKING:
    from .evaluate import Evaluation

NAMES = {
    "kid": "KID", "frechet": "Fréchet distance", "precision": "precision", "recall": "recall", "density": "density",
    "coverage": "coverage",
}  # fmt: skip
MEANINGS = (
    "KID and Fréchet distance: how far the two sets are apart; 0 when they are alike, lower is better.",
    "Precision and density: how many synthetic eyes look like some real eye.",
    "Recall and coverage: how many real eyes look like some synthetic one; a generator that only makes typical eyes has little.",
    "Real eyes: what one random half of the real patients gets against the other half, on as many images; in brackets, where "
    "other real eyes would lie in about 95 of 100 cases. What lies in there cannot be told from real eyes by this measure.",
    "Ratio: over the mean of real eyes. That of KID is 0 but for chance, so its ratio is over the upper end.",
    "Beyond real eyes is no praise: copies of real eyes are, and sets of nothing but typical eyes. The audit looks for copies.",
    "Of 20 figures of real eyes one or two would be called worse or beyond, too.",
)
_SHOWN, _OF_EACH = 24, 6
_COLOR, _FLOOR = "#a8421f", "#c3ccd3"


def headline(space: str, found: Comparison) -> str:
    """What a comparison says, in one or two sentences."""
    if not found.images:
        return f"{space}: too few images to compare"
    kid = found["kid"]
    told = f"KID {kid.value} in the space {space}, where real eyes reach {kid.floor.high:.3g} against other real eyes"
    worse, beyond = (
        [NAMES[one.measure] for one in found.judgements if one.verdict == which] for which in (WORSE, BEYOND)
    )
    told += f"; worse than real eyes by {', '.join(worse)}" if worse else "; no measure is worse than that of real eyes"
    return told + (f", beyond them by {', '.join(beyond)}" if beyond else "")


def anatomy_line(found: Anatomy) -> str:
    """The shares of synthetic eyes, those of real eyes in brackets."""
    shares = (f"{name} {found.synthetic[key].value:.0%} ({found.real[key].value:.0%})" for key, name in FIGURES.items())
    return f"anatomy, in brackets that of real eyes: {', '.join(shares)}"


def write_evaluation_report(found: Evaluation) -> Path:
    """Write evaluation.html; returns its path."""
    lead = ". ".join(headline(space, groups[TOGETHER]) for space, groups in found.distances.items())
    report = Report(f"Evaluation of {found.synthetic.name}", f"{lead}.")
    for space, groups in found.distances.items():
        _distances(report, space, _shown_groups(groups))
    report.section("How to read the figures").points(MEANINGS)
    _anatomy(report, found)
    _pictures(report, found)
    report.section("How it was measured").facts(_facts(found)).points(found.notes).command(shlex.join(found.command))
    return report.write(found.page)


def _facts(found: Evaluation) -> dict[str, object]:
    real = found.real
    return {
        "synthetic images": f"{len(found.synthetic)}, {found.distinct} of them different",
        "real images": f"{len(real)} of {len(set(real.patient_keys))} patients, of {found.against.name}",
        "looked at in": f"{found.size} x {found.size} pixels",
        "feature spaces": ", ".join(found.distances),
    }


def _shown_groups(groups: dict[str, Comparison]) -> dict[str, Comparison]:
    """What could be compared: all classes together first, then each; a single class under its own name."""
    classes = [name for name in groups if name != TOGETHER]
    return {name: groups[name] for name in _shown(classes) if groups[name].images}


def _shown(classes: list[str]) -> list[str]:
    return classes if len(classes) == 1 else [TOGETHER, *classes]


def _distances(report: Report, space: str, groups: dict[str, Comparison]) -> None:
    report.section(f"Distance to real eyes: {space}")
    if not groups:
        report.text("Too few images to say anything.")
        return
    for measures in (("kid", "frechet", "density"), ("precision", "recall", "coverage")):
        report.figure(_figure(groups, measures))
    report.text(
        "Points: synthetic eyes, with 95 % intervals over patients. Grey: where real eyes lie against other real eyes."
    )
    rows = [(name, found, one) for name, found in groups.items() for one in found.judgements]
    report.table(pd.DataFrame([_row(*row) for row in rows]), "Images: on each side, equally many of each class.")


def _row(group: str, found: Comparison, one: Judgement) -> dict[str, object]:
    ratio = "-" if one.ratio is None else f"{one.ratio:.2f}"
    return {
        "class": group, "images": found.images, "measure": NAMES[one.measure], "synthetic eyes": _interval(one.value),
        "real eyes": _interval(one.floor), "ratio": ratio, "verdict": one.verdict,
    }  # fmt: skip


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"


def _figure(groups: dict[str, Comparison], measures: tuple[str, ...]) -> object:
    figure, axes = new_figure(9.0, 1.1 + 0.3 * len(groups), len(measures))
    names = list(groups)[::-1]
    for axis, measure in zip(axes, measures, strict=True):
        for place, name in enumerate(names):
            one = groups[name][measure]
            # The edge keeps a floor in sight beside values that lie far off.
            axis.barh(
                place, one.floor.high - one.floor.low, 0.6, one.floor.low, color=_FLOOR, edgecolor=_FLOOR, linewidth=2
            )
            axis.plot([one.value.low, one.value.high], [place, place], color=_COLOR, linewidth=1.4)
            axis.plot(one.value.value, place, "o", color=_COLOR, markersize=4.5)
        axis.margins(x=0.06)
        axis.set(title=NAMES[measure], ylim=(-0.6, len(names) - 0.4))
        axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
    return figure


def _anatomy(report: Report, found: Evaluation) -> None:
    report.section("Anatomy")
    if TOGETHER not in found.anatomy:
        report.text("Too few real eyes to take limits from.")
        return
    report.text("Limits are the 1st and 99th percentile of one half of the real patients; the shares of real eyes are of the "
                "other half. The landmark network misses the disc in one of ten normal real eyes and in half of those with a "
                "cataract, so read each share beside that of real eyes.")  # fmt: skip
    groups = [name for name in _shown(list(next(iter(found.distances.values())))[:-1]) if name in found.anatomy]
    rows = [
        {"class": name, "share of images with": text, "synthetic eyes": _percent(found.anatomy[name].synthetic[key]),
         "real eyes": _percent(found.anatomy[name].real[key])}
        for name in groups for key, text in FIGURES.items()
    ]  # fmt: skip
    report.table(pd.DataFrame(rows), "In brackets: 95 % interval.")


def _percent(share: Estimate) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"


def _pictures(report: Report, found: Evaluation) -> None:
    made = found.synthetic
    labels = made.column("label")
    rows = np.sort(np.random.default_rng(0).permutation(len(made))[:_SHOWN])
    report.section("Pictures").images([_tile(found, row) for row in rows], [labels[row] for row in rows], columns=8, width=112,
                                      caption="Drawn at random. Generated, not photographs.", photographs=True)  # fmt: skip
    for name, lacking in found.lacking.items():
        chosen = np.sort(np.random.default_rng(0).permutation(lacking)[:_OF_EACH])
        if len(chosen):
            report.images([_tile(found, row) for row in chosen], [labels[row] for row in chosen], columns=6, width=112,
                          caption=f"Without {FIGURES[name]}: {len(chosen)} of {len(lacking)}.", photographs=True)  # fmt: skip


def _tile(found: Evaluation, row: int) -> np.ndarray:
    return fit_square(found.synthetic.read(int(row)), max(min(found.size, 128), 112))
