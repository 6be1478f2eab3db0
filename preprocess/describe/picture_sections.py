"""The sections that show what the images look like: samples, means, light, where the disc lies."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...runtime.report import Report
from . import charts
from .collect import Description
from .pictures import MEASURES

_SHOWN_CLASSES = 16
_AMPLIFIED = 4


def samples(report: Report, d: Description) -> None:
    """A row of drawn images of each class."""
    report.section("Samples of each class")
    for name in d.classes.groups[:_SHOWN_CLASSES]:
        shown = d.pictures.samples.get(name, [])
        if shown:
            report.images([image for _, image in shown], [d.dataset.table["file_name"][row].split("/")[-1] for row, _ in shown],
                          columns=8, caption=f"{name}: {len(shown)} drawn by seed {d.seed} of "
                          f"{(d.classes.of_image == name).sum()}", width=112, photographs=True)  # fmt: skip
    _say_unshown(report, d)


def means(report: Report, d: Description) -> None:
    """The mean image of each class and how it differs from the mean of all."""
    names = [name for name in d.classes.groups[:_SHOWN_CLASSES] if name in d.pictures.sums]
    if not names:
        return
    report.section("Mean image of each class")
    captions = [f"{name} ({d.pictures.sums[name][1]})" for name in names]
    means = [d.pictures.mean(name) for name in names]
    flipped = (
        "left eyes are mirrored, so that all discs lie on one side" if (d.dataset.column("eye") == "left").any() else ""
    )
    drawn = f"at most {d.per_class} images of a class, drawn by seed {d.seed}"
    report.images([mean.round().astype(np.uint8) for mean in means], captions, columns=8, width=112, photographs=True,
                  caption="Mean of " + "; ".join(filter(None, (drawn, flipped))) + ".")  # fmt: skip
    if len(names) > 1:
        overall = d.pictures.overall_mean()
        differences = [(128 + _AMPLIFIED * (mean - overall)).round().clip(0, 255).astype(np.uint8) for mean in means]
        report.images(differences, captions, columns=8, width=112, photographs=True,
                      caption=f"The difference to the mean of all classes, {_AMPLIFIED} times amplified; grey = none. A frame, a "
                              "stamp or a tint here is a shortcut.")  # fmt: skip
    _say_unshown(report, d)


def _say_unshown(report: Report, d: Description) -> None:
    if len(d.classes.groups) > _SHOWN_CLASSES:
        report.text(f"The first {_SHOWN_CLASSES} of {len(d.classes.groups)} classes.")


def light(report: Report, d: Description) -> None:
    """Brightness, colour and contrast of each class."""
    measured = d.pictures.measured
    if measured.empty or measured["brightness"].isna().all():
        return
    group = d.classes.of_image[measured.index]
    report.section("Light and colour of each class")
    report.figure(charts.boxes(measured["brightness"], group, d.classes.groups, "brightness inside the field, 0..1"))
    table = measured.groupby(group)[list(MEASURES)].median().reindex(d.classes.groups).dropna(how="all")
    table.insert(0, "images", group.value_counts().reindex(table.index))
    report.table(table.rename_axis("class").reset_index(), "Medians over the images that were decoded. "
                 + "; ".join(f"{name}: {meaning}" for name, meaning in MEASURES.items()) + ".")  # fmt: skip


def landmarks(report: Report, d: Description) -> None:
    """Where optic discs and foveas lie, by eye."""
    disc = pd.DataFrame({"x": d.dataset.column("disc_x"), "y": d.dataset.column("disc_y")})
    fovea = pd.DataFrame({"x": d.dataset.column("fovea_x"), "y": d.dataset.column("fovea_y")})
    eye = d.dataset.column("eye")
    panels = []
    for name, title in (("right", "right eyes"), ("left", "left eyes"), ("", "eye not stated")):
        here = (eye == name) & disc["x"].notna()
        if here.any():
            panels.append((f"{title} ({here.sum()})", disc[here], fovea[(eye == name) & fovea["x"].notna()]))
    if panels:
        report.section("Where the optic disc lies")
        report.figure(charts.landmark_maps(panels), "Orange: centres of optic discs; blue: foveas. A right eye's disc lies on the "
                                                    "right; one on the other side is a wrong eye or a mirrored image.")  # fmt: skip
