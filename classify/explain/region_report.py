"""The page of `regions`: maps against areas, what falls without each region, and what the pictures without them look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from ...runtime.report import COLORS, Report, new_figure
from .region_fills import SWAP, fill, opacity
from .region_removal import REMOVED, donors_of
from .unseen_eyes import UnseenEyes, images_told

if TYPE_CHECKING:
    from .regions import RegionStudy

_EXAMPLES, _LEAST_TILE = 2, 160


def write_report(
    found: RegionStudy, shown: Mapping[str, tuple[list[np.ndarray], list[str]]], facts: Mapping[str, str]
) -> Path:
    """Write report.html into the folder; returns its path.

    Args:
        shown: of `examples`.
        facts: what is told of classifier, method and data.
    """
    report = Report("Does the disc matter?", found.verdict())
    report.figure(_fall_figure(found), "Fall of the AUROC with 95 % intervals over patients; the grey mark is what falls when as "
                  "much is taken away elsewhere, at random places.")  # fmt: skip
    report.section("What falls without each region")
    report.table(_removal_table(found), "Beyond: how much further it falls than at random places. p is of that, corrected for all "
                 "rows (Holm). Certainty: how much the true class's probability falls.")  # fmt: skip
    report.section("Where the maps lie")
    if found.mass:
        report.figure(_mass_figure(found), "Share of the map over share of the area, with 95 % intervals over patients; 1 is a map "
                      "without any preference. The grey mark is the same region at random places.")  # fmt: skip
        report.table(_mass_table(found), "Shares of the field; outside the field, of the whole picture.")
    else:
        report.text("Every map is zero.")
    report.section("What it was shown")
    for name, (tiles, captions) in shown.items():
        without = name if name == "as they are" else f"without the {name}"
        report.images(tiles, captions, 6, without, width=_LEAST_TILE)
    _add_method(report, found, facts)
    return report.write(found.folder / "report.html")


def examples(
    eyes: UnseenEyes, usable: np.ndarray, matrices: np.ndarray, fills: Sequence[str], seed: int
) -> dict[str, tuple[list[np.ndarray], list[str]]]:
    """Some images as they are and without each of their regions: {region: (tiles uint8 (s, s, 3), captions)}."""
    from .regions import masks_of

    rows: dict[str, tuple[list[np.ndarray], list[str]]] = {name: ([], []) for name in ("as they are", *REMOVED)}
    for index in usable[np.linspace(0, len(usable) - 1, _EXAMPLES).astype(int)]:
        image, masks = eyes.images(np.array([index])).take([0])[0], masks_of(eyes, index)
        donor = donors_of(eyes, np.array([index]), matrices, seed)[0] if SWAP in fills else None
        rows["as they are"][0].append(_enlarged(image))
        for name in (name for name in REMOVED if name in masks and masks[name].any()):
            tiles = [fill(image, opacity(masks[name]), masks["field"], kind, donor) for kind in fills]
            rows[name][0].extend(map(_enlarged, tiles))
            rows[name][1].extend(fills)
    rows["as they are"][1].extend([""] * len(rows["as they are"][0]))
    return {name: row for name, row in rows.items() if row[0]}


def _enlarged(tile: np.ndarray) -> np.ndarray:
    side = max(_LEAST_TILE, len(tile))
    return cv2.resize(tile, (side, side), interpolation=cv2.INTER_CUBIC) if side > len(tile) else tile


def _fall_figure(found: RegionStudy) -> object:
    names = [name for name in REMOVED if any(one.region == name for one in found.removals)]
    fills = list(dict.fromkeys(one.fill for one in found.removals))
    figure, axis = new_figure(7.4, 3.4)
    for number, kind in enumerate(fills):
        rows = {one.region: one for one in found.removals if one.fill == kind}
        place = np.arange(len(names)) + 0.22 * (number - (len(fills) - 1) / 2)
        ours = [rows[name] for name in names]
        middle = np.array([one.fall.estimate for one in ours])
        ends = _ends(middle, [one.fall for one in ours])
        axis.errorbar(place, middle, ends, fmt="o", capsize=3, color=COLORS[1 + number], label=kind)
        axis.plot(place, [one.control for one in ours], "_", color="#8a939b", markersize=13, markeredgewidth=2.5,
                  label="at random places" if number == 0 else None)  # fmt: skip
    axis.axhline(0, color=COLORS[0], linewidth=0.8)
    axis.set_xticks(range(len(names)), names)
    axis.set(ylabel="fall of the AUROC", xlim=(-0.6, len(names) - 0.4))
    axis.legend(frameon=False, loc="lower left", ncols=4, bbox_to_anchor=(0, 1), borderaxespad=0)
    return figure


def _mass_figure(found: RegionStudy) -> object:
    figure, axis = new_figure(7.4, 2.8)
    middle = np.array([one.ratio.estimate for one in found.mass])
    place = np.arange(len(middle))
    axis.errorbar(place, middle, _ends(middle, [one.ratio for one in found.mass]), fmt="o", capsize=3, color=COLORS[1])
    axis.plot(
        place, [one.chance / one.area for one in found.mass], "_", color="#8a939b", markersize=16, markeredgewidth=2.5
    )
    axis.axhline(1, color=COLORS[0], linewidth=0.8)
    axis.set_xticks(place, [one.region for one in found.mass])
    axis.set(ylabel="share of map / of area", ylim=(0, None))
    return figure


def _ends(middle: np.ndarray, intervals: Sequence) -> np.ndarray:
    # A percentile interval need not hold its estimate; lengths below 0 cannot be drawn.
    return np.maximum([middle - [one.low for one in intervals], [one.high for one in intervals] - middle], 0)


def _removal_table(found: RegionStudy) -> pd.DataFrame:
    return pd.DataFrame([{
        "region": one.region, "way": one.fill, "images": one.images, "area": f"{one.area:.1%}",
        "fall": str(one.fall), "at random places": f"{one.control:+.3f}", "beyond": str(one.beyond), "p": one.adjusted_p,
        "certainty": str(one.certainty),
    } for one in found.removals])  # fmt: skip


def _mass_table(found: RegionStudy) -> pd.DataFrame:
    return pd.DataFrame([{
        "region": one.region, "images": one.images, "map": f"{one.mass:.1%}", "area": f"{one.area:.1%}", "ratio": str(one.ratio),
        "at random places": "-" if np.isnan(one.chance) else f"{one.chance:.1%}", "p": one.adjusted_p,
    } for one in found.mass])  # fmt: skip


def _add_method(report: Report, found: RegionStudy, facts: Mapping[str, str]) -> None:
    report.section("How it was done")
    report.facts({**facts, "images": images_told(found.images, found.without_landmarks, found.seen)})
    report.points([
        "Disc: its mask, or a circle where there is none. Macula: one disc diameter around the fovea. Vessels and lesions: where "
        "the dataset has masks. Centre and rim: the inner and the outer quarter of the field's area.",
        "Blank: the colours around are carried inwards. Blur: by 6 % of the width. Swap: the same place of another patient's eye, "
        "laid on this one by optic disc and fovea, its colour shifted to that of the surroundings.",
        "At random places: the same shape, turned, mirrored and moved within the field; for the centre a sector of what lies "
        "outside it, for the rim a circle, of as much area. It shows what the damage itself does to the classifier.",
        "A region is called needed when the AUROC falls without it, and falls further than at random places. What is written in "
        "several regions at once is not missed when one of them is gone: then no region is needed, and none is useless.",
        "The classifier has not learned pictures without a region. One that had learned them might do better "
        "(Hooker et al. 2019, NeurIPS).",
    ])  # fmt: skip
