"""The sections about how the photographs were taken, and what of it goes with the class."""

from __future__ import annotations

import pandas as pd

from ...runtime.errors import counts
from ...runtime.report import Report
from . import charts
from .association import Association
from .collect import Description
from .confounders import KINDS, camera_sizes
from .findings import UNSURE
from .tables import add_cross_table, count_values, reason_table


def cameras(report: Report, d: Description) -> None:
    """Cameras and sizes against the classes."""
    report.section("Cameras and image sizes")
    camera = d.dataset.column("camera")
    if (camera != "").any():
        add_cross_table(report, camera.replace("", "not stated"), d, "camera")
    known = d.dataset.column("camera_width").notna().any()
    sizes = [
        f"{w:.0f} x {h:.0f}" if w == w else "unreadable"
        for w, h in zip(*camera_sizes(d.dataset, d.pictures), strict=True)
    ]
    add_cross_table(report, pd.Series(sizes), d, "camera file, pixels" if known else "image, pixels")
    if known:
        here = d.pictures.files[["width", "height", "format"]].value_counts()
        named = ", ".join(f"{w:.0f} x {h:.0f} {f} ({n})" for (w, h, f), n in here.head(5).items())
        report.text(f"The images here: {named}{', ...' if len(here) > 5 else ''}.")
    else:
        report.text(f"File formats: {counts(count_values(d.pictures.files['format']))}.")


def confounders(report: Report, d: Description) -> None:
    """Cramer's V of every factor, and how far the factors alone tell the class."""
    tested = [(factor.name, factor.association) for factor in d.factors if factor.association]
    if not tested:
        return
    report.section("What goes with the class")
    report.text("A camera, a file format or a brightness that goes with the class is a shortcut that a network may learn "
                "instead of the disease. Age and sex may go with a disease in truth. Light and contrast may too (a cataract "
                "veils), so judge each by what it is.")  # fmt: skip
    unit = "one image of each patient counts" if d.dataset.patients else "every image counts, as no patients are named"
    report.figure(charts.associations(tested),
                  f"Cramer's V (0 unrelated, 1 one tells the other) less what chance adds, with 95 % intervals; {unit}, numbers "
                  "are cut at their quintiles. Orange: V of 0.3 or more and surely above 0.1. Intervals are not corrected for "
                  "their number.")  # fmt: skip
    rows = [(n, f"{a.v:.2f}", f"{a.low:.2f} to {a.high:.2f}", a.rows, _verdict(a)) for n, a in tested]
    report.table(pd.DataFrame(rows, columns=["factor", "V", "95 % interval", "images", "goes with the class"]))
    if d.guesses:
        rows = [(KINDS.get(g.kind, "all of these"), f"{g.accuracy:.2f}", f"{g.low:.2f} to {g.high:.2f}", f"{g.chance:.2f}",
                 g.images) for g in d.guesses]  # fmt: skip
        columns = ["class told from", "balanced accuracy", "95 % interval", "chance", "images"]
        report.table(pd.DataFrame(rows, columns=columns), "Logistic regression on these factors alone, in five folds with "
                                                          "patients held out: what a network must beat.")  # fmt: skip


def _verdict(a: Association) -> str:
    return "strongly" if a.strong else "somewhat" if a.low > 0 else "no evidence"


def fields(report: Report, d: Description) -> None:
    """How sure the fields of view are, why some are not, and the quality where it was graded."""
    confidence, quality = d.dataset.column("fov_confidence"), d.dataset.column("quality")
    if confidence.notna().any():
        report.section("Field of view")
        report.figure(charts.histogram(confidence, "confidence of the field of view", UNSURE),
                      f"{(confidence < UNSURE).sum()} of {confidence.notna().sum()} below {UNSURE}.")  # fmt: skip
        reasons = d.dataset.column("fov_reason")[confidence < UNSURE]
        if (reasons != "").any():
            report.table(reason_table(reasons[reasons != ""]), "Why they are uncertain.")
    if quality.notna().any():
        report.section("Quality")
        report.figure(charts.boxes(quality, d.classes.of_image, d.classes.groups, "quality (gradability), 0..1"))
