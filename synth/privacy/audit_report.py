"""audit.html: the verdict, the figures behind it, and the nearest pairs side by side."""

from __future__ import annotations

import shlex
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...runtime.report import Report, new_figure
from .limits import FALSE_ALARMS
from .result import PHOTOGRAPHS, PrivacyAudit

_PAIRS = 18
_STRANGERS = 6
_EYE = 128  # pixels


def write_page(found: PrivacyAudit, path: Path, pictures: bool = True) -> Path:
    """Write the page of an audit; without `pictures` no photograph is on it. Returns its path."""
    verdict, reason = found.verdict
    report = Report(f"Privacy audit of {found.synthetic.name}: {verdict}", reason)
    report.section("What was compared").facts(_facts(found))
    if found.sides.notes:
        report.points(found.sides.notes)
    report.command(shlex.join(found.command))
    _write_nearness(report, found)
    _write_membership(report, found)
    if pictures:
        _write_pairs(report, found)
    return report.write(path)


def _facts(found: PrivacyAudit) -> dict[str, object]:
    limits = found.limits
    return {
        "synthetic images": len(found.pictures),
        "training eyes": f"{len(found.sides.training)} of {found.against.name}",
        "held-out eyes": len(found.sides.held_out),
        "compared at": f"{found.size} pixels, features {found.features}",
        "copies": f"{sum(one.copy for one in found.pictures)}, share {found.copies}",
        "of them outright copies": found.outright,
        "a stranger's eye would be called a copy in": "unknown" if limits is None else f"{limits.bound:.2%} at most",
        "held-out eyes called copies, cross-fitted": "unknown" if found.alarms is None else str(found.alarms),
    }


def _write_nearness(report: Report, found: PrivacyAudit) -> None:
    report.section("How near is too near")
    if found.limits is None:
        report.text("There are too few eyes of held-out patients, so only outright copies were looked for.")
        return
    report.text(
        "Each image is compared with all training eyes: by its structure after registration, by its vessels on the "
        "canonical eye, and by its features. The unit is the limit: nearer than 1 lie at most "
        f"{max(FALSE_ALARMS, found.limits.bound):.1%} of the eyes of patients who were not in the training."
    )
    figure, axis = new_figure()
    bins = np.linspace(0, max(2.0, *(distance for _, _, distance in found.nearest_strangers)), 41)
    shown = {"held-out eyes": [distance for _, _, distance in found.nearest_strangers],
             "synthetic images": [one.distance for one in found.pictures]}  # fmt: skip
    for (name, values), color in zip(shown.items(), ("#999999", "#b5482a"), strict=True):
        weights = np.full(len(values), 1 / len(values))
        axis.hist(np.clip(values, bins[0], bins[-1]), bins, weights=weights, alpha=0.6, label=name, color=color)
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xlabel("distance to the nearest training eye, in units of the limit")
    axis.set_ylabel("share")
    axis.legend(frameon=False)
    report.figure(
        figure, "Left of the line: too near. A generator that copies has a heap there; held-out eyes have next to none."
    )


def _write_membership(report: Report, found: PrivacyAudit) -> None:
    report.section("Who was in the training?")
    if not found.memberships:
        report.text(
            "There are too few patients of the classes that were made, in the training or held out, to measure it."
        )
        return
    rows = [
        (name, str(one.auc), str(one.control), one.members, one.held_out) for name, one in found.memberships.items()
    ]
    columns = ["score", "AUC, members against held-out", "control, members against members", "members", "held out"]
    report.table(pd.DataFrame(rows, columns=columns))
    report.text(
        "AUC is the chance that a training eye scores higher than a held-out one, with its 95 % interval over patients; 0.5 "
        "gives nothing away. The score is how near the nearest synthetic image lies. The control must hold 0.5, and in one "
        "of twenty tables it does not by chance."
    )
    if "discriminator" in found.memberships:
        report.text(
            "The discriminator is not part of the synthetic dataset, and the verdict leaves it out: what it gives away, it "
            "gives to whoever has the run folder."
        )


def _write_pairs(report: Report, found: PrivacyAudit) -> None:
    training, held_out = found.sides.training, found.sides.held_out
    names = found.synthetic.column("file_name")
    nearest = sorted(range(len(found.pictures)), key=lambda i: (not found.pictures[i].copy, found.pictures[i].distance))
    report.section("The nearest pairs").text(PHOTOGRAPHS)
    shown = [(i, found.pictures[i]) for i in nearest[:_PAIRS]]
    report.images(
        [_pair(found.synthetic, i, training, one.nearest) for i, one in shown],
        [f"{names[i]}: {one.distance:.2f}{', ' + one.why if one.why else ''}" for i, one in shown],
        columns=3, width=2 * _EYE, photographs=True, caption="Left the synthetic image, right the nearest training eye.",
    )  # fmt: skip
    if found.nearest_strangers:
        report.section("For comparison: the nearest eyes of held-out patients")
        shown = found.nearest_strangers[:_STRANGERS]
        report.images(
            [_pair(held_out, i, training, j) for i, j, _ in shown], [f"{distance:.2f}" for _, _, distance in shown],
            columns=3, width=2 * _EYE, photographs=True, caption="Left a held-out eye, right the nearest training eye.",
        )  # fmt: skip


def _pair(one: FundusDataset, row: int, other: FundusDataset, other_row: int) -> np.ndarray:
    return cv2.hconcat([fit_square(one.read(row), _EYE), fit_square(other.read(other_row), _EYE)])
