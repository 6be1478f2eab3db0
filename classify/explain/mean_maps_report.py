"""The page of `mean-maps`: each group's mean photograph, mean map and spread on one scale, and where groups differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import Colormap

from ...preprocess.registration import DISC, FOVEA
from ...runtime.report import Report, new_figure
from .map_groups import Grouping
from .overlay import color_key, evidence_colors, lay_over
from .unseen_eyes import images_told

if TYPE_CHECKING:
    from .mean_maps import Comparison, MeanMaps

_TILE = 256
_UNSEEN = 225  # grey level of places that were not photographed
_EYE = np.array([58, 66, 74], np.uint8)
_SCALE = (
    "One scale for all mean maps, on the photograph and alone. The spread (standard deviation over patients), from black on, "
    "reaches its brightest at the same strength."
)
_SIGNS = " Blue speaks for the score, orange against it."
_BAR = 256
_DISC_RADIUS = float(np.hypot(*np.subtract(DISC, FOVEA))) / 5  # see `preprocess.landmarks`


def write_report(found: MeanMaps, grouping: Grouping, photographs: np.ndarray, facts: Mapping[str, str]) -> Path:
    """Write report.html into the folder; returns its path.

    Args:
        photographs: uint8 (n, s, s, 3), in the frame.
        facts: what is told of classifier, method and data.
    """
    strongest = max(float(np.nanmax(np.abs(one.mean), initial=0)) for one in found.groups.values())
    signed = any(np.nanmin(one.mean, initial=0) < 0 for one in found.groups.values())
    report = Report("Where it looks, on average", _lead(found))
    report.points([one.line() for one in found.comparisons])
    report.section("Groups")
    report.table(
        _table(found), "Places in the frame, which is a right eye: left eyes are mirrored. Distances in disc diameters."
    )
    if strongest == 0:
        report.text("Every mean map is zero.")
    else:
        report.figure(_color_bar(strongest, signed, key=True), _SCALE + (_SIGNS if signed else ""))
    for name, one in found.groups.items():
        photograph = _mean_photograph(photographs[grouping.members[name]])
        tiles = [_laid_over(photograph, one.mean, strongest, signed), _colored(one.mean, strongest, signed),
                 _colored(one.spread, strongest)]  # fmt: skip
        report.images([_outlined(tile) for tile in tiles], ["mean map on the mean photograph", "mean map", "spread"], 3,
                      f"{name}: {one.images} images of {one.patients} patients", width=_TILE)  # fmt: skip
    tested = [one for one in found.comparisons if one.found]
    if tested:
        _add_differences(report, tested)
    _add_method(report, found, facts)
    return report.write(found.folder / "report.html")


def _lead(found: MeanMaps) -> str:
    differ = [one for one in found.comparisons if one.adjusted_p <= 0.05]
    tested = sum(one.found is not None for one in found.comparisons)
    verdict = (
        f"{len(differ)} of {tested} comparisons show different maps." if tested else "No two groups could be compared."
    )
    return f"{found.images} maps of unseen patients, laid on one another by optic disc and fovea. {verdict}"


def _table(found: MeanMaps) -> pd.DataFrame:
    rows = []
    for name, one in found.groups.items():
        strength = np.nan_to_num(np.abs(one.mean))
        row, column = np.unravel_index(int(strength.argmax()), strength.shape)
        place = np.array([column + 0.5, row + 0.5]) / len(strength)
        far = [float(np.hypot(*(place - spot))) / (2 * _DISC_RADIUS) for spot in (DISC, FOVEA)]
        peak = strength.max() > 0
        rows.append({
            "group": name, "images": one.images, "patients": one.patients, "mean strength": f"{_typical(one.mean):.3g}",
            "strongest": f"{strength.max():.3g}", "from the disc": far[0] if peak else float("nan"),
            "from the fovea": far[1] if peak else float("nan"),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _typical(values: np.ndarray) -> float:
    return float(np.nanmean(np.abs(values))) if np.isfinite(values).any() else 0.0


def _add_differences(report: Report, tested: list[Comparison]) -> None:
    report.section("Differences")
    largest = max(float(np.nanmax(np.abs(one.found.difference), initial=0)) for one in tested)
    if largest == 0:
        report.text("No map differs anywhere.")
        return
    report.figure(_color_bar(largest, signed=True), "The first group's mean map minus the second's; one scale "
                  "for all. Blue: more in the first; orange: more in the second.")  # fmt: skip
    for one in tested:
        plain = _outlined(_colored(one.found.difference, largest, signed=True))
        marked = _outlined(_colored(np.where(one.found.where(), one.found.difference, 0.0), largest, signed=True))
        report.images([plain, marked], ["difference", "where p is at most 0.05"], 2,
                      f"{one.first} minus {one.second}", width=_TILE)  # fmt: skip
    report.text(
        "p is corrected for all places of a map (largest difference over its standard error, over the permutations): of maps "
        "that do not differ, at most 5 % show any place. The p-values of the sentences above are also corrected for the number "
        "of comparisons (Holm), the places are not."
    )


def _add_method(report: Report, found: MeanMaps, facts: Mapping[str, str]) -> None:
    report.section("How it was done")
    report.facts({**facts, "images": images_told(found.images, found.without_landmarks, found.seen)})
    report.points([
        "Every map is moved by a similarity (turn, scale, shift; left eyes mirrored) that takes optic disc and fovea to two fixed "
        "places: the circle and the cross. Near them the retinas lie on one another; vessels do not.",
        "A patient's maps of a group are averaged first, so patients, not images, are counted. What is grey was photographed in "
        "fewer than half of them.",
        "A mean map shows where the classifier's evidence lies, not whether it needs that place: see fundus-classify regions.",
    ])  # fmt: skip


def _mean_photograph(photographs: np.ndarray) -> np.ndarray:
    """The mean over the images, where they were photographed: uint8 (_TILE, _TILE, 3)."""
    lit = photographs.max(axis=3, keepdims=True) > 0
    mean = photographs.sum(axis=0, dtype=np.float64) / np.maximum(lit.sum(axis=0), 1)
    return cv2.resize(np.rint(mean).astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_CUBIC)


def _laid_over(photograph: np.ndarray, mean: np.ndarray, scale: float, signed: bool) -> np.ndarray:
    return lay_over(photograph, _enlarged(np.nan_to_num(mean)), scale, signed)


def _colored(values: np.ndarray, scale: float, signed: bool = False) -> np.ndarray:
    """uint8 (_TILE, _TILE, 3): magma from 0 to `scale`, or `evidence_colors` from -scale to scale."""
    known = np.isfinite(values)
    level = np.nan_to_num(values) / (scale or 1.0)
    shown = _colors(signed)(_enlarged((level + 1) / 2 if signed else np.abs(level)))
    picture = np.rint(shown[..., :3] * 255).astype(np.uint8)
    hidden = cv2.resize(known.astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST) == 0
    picture[hidden] = _UNSEEN
    return picture


def _enlarged(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values.astype(np.float32), (_TILE, _TILE), interpolation=cv2.INTER_LINEAR)


def _outlined(picture: np.ndarray) -> np.ndarray:
    """With a circle where the optic disc is and a cross where the fovea is, light on dark and dark on light."""
    picture = np.ascontiguousarray(picture)
    disc, fovea = (tuple(round(value * _TILE) for value in place) for place in (DISC, FOVEA))
    for color, width in (((255, 255, 255), 3), (tuple(map(int, _EYE)), 1)):
        cv2.circle(picture, disc, round(_DISC_RADIUS * _TILE), color, width, cv2.LINE_AA)
        cv2.drawMarker(picture, fovea, color, cv2.MARKER_CROSS, 11, width, cv2.LINE_AA)
    return picture


def _colors(signed: bool) -> Colormap:
    return evidence_colors() if signed else matplotlib.colormaps["magma"]


def _color_bar(scale: float, signed: bool = False, key: bool = False) -> object:
    """The colours of a map alone and, with `key`, above them those of a map on a photograph."""
    bars = [np.rint(_colors(signed)(np.linspace(0, 1, _BAR))[None, :, :3] * 255).astype(np.uint8)]
    names = ["alone"]
    if key:
        bars, names = [color_key(signed, _BAR, 1), *bars], ["on the photograph", *names]
    figure, axis = new_figure(5.6, 0.4 + 0.35 * len(bars))
    axis.imshow(np.concatenate(bars), aspect="auto", extent=(-scale if signed else 0, scale, len(bars), 0),
                interpolation="nearest")  # fmt: skip
    axis.set_yticks(np.arange(len(bars)) + 0.5 if key else [], names if key else [])
    axis.tick_params(axis="y", length=0)
    axis.grid(False)
    return figure
