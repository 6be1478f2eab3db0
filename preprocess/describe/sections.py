"""The page, section by section; what the dataset says nothing about is left out."""

from __future__ import annotations

import pandas as pd

from ...data.schema import ODIR_LABELS, SPLITS
from ...runtime.errors import counts
from ...runtime.report import Report
from . import charts
from .camera_sections import cameras, confounders, fields
from .classes import odir_table
from .collect import Description, missing_table
from .findings import Finding
from .patient_sections import hemoglobin, people, pressure
from .picture_sections import landmarks, light, means, samples
from .tables import SHOWN_ROWS, add_cross_table, count_values, first_of, reason_table

_SHOWN_FINDINGS = 8


def write_sections(report: Report, d: Description, findings: list[Finding]) -> None:
    """Add every section to the report, what stands out first."""
    _stands_out(report, findings)
    for add in (_overview, _classes, _together, _grades, people, hemoglobin, pressure, cameras, confounders, light,
                fields, landmarks, samples, means, _missing, _duplicates, _left_out, _method):  # fmt: skip
        add(report, d)


def _stands_out(report: Report, findings: list[Finding]) -> None:
    report.section("What stands out")
    if not findings:
        report.text("Nothing: no check of this page found anything.")
        return
    report.points([finding.text for finding in findings[:_SHOWN_FINDINGS]])
    if len(findings) > _SHOWN_FINDINGS:
        report.text("Also: " + " ".join(finding.text for finding in findings[_SHOWN_FINDINGS:]))


def _overview(report: Report, d: Description) -> None:
    data = d.dataset
    each = data.column("patient_id")
    each = each[each != ""].value_counts().value_counts().sort_index()
    eyes = data.column("eye")
    made = int((data.column("synthetic") == "true").sum())
    sources = data.column("source")
    facts = {
        "images": len(data),
        "patients": len(data.patients) or "not named",
        "images a patient": ", ".join(f"{k} ({n} patients)" for k, n in each.items()),
        "eyes": counts({k: int((eyes == k).sum()) for k in ("left", "right") if (eyes == k).any()}),
        "compared by": f"{d.classes.column}, {len(d.classes.names)} classes" if d.classes.names else "",
        "synthetic": f"{made} of {len(data)} images ({made / len(data):.0%})",
        "collections": counts(count_values(sources)) if (sources != "").any() else "",
        "source": data.info.get("source", ""),
        "licence": data.info.get("licence") or "not stated: ask before you pass it on",
        "masks": ", ".join(data.mask_kinds),
        "made by": data.info.get("made_by", ""),
    }
    report.section("Overview")
    report.facts({name: value for name, value in facts.items() if value not in ("", "none")})


def _classes(report: Report, d: Description) -> None:
    report.section("Images and patients of each class")
    table = d.class_table
    report.figure(charts.class_bars(table.head(40)))
    shown = pd.DataFrame({"class": table["class"], "images": table["images"],
                          "share": [f"{share:.1%}" for share in table["share"]]})  # fmt: skip
    named = bool(d.dataset.patients)
    if named:
        shown["patients"] = table["patients"]
    for part in SPLITS:
        if f"{part} images" in table:
            images, patients = table[f"{part} images"], table[f"{part} patients"]
            shown[part] = [f"{i} ({p})" if named else str(i) for i, p in zip(images, patients, strict=True)]
    brackets = " In brackets behind the images of a split: its patients." if named and d.dataset.has_split else ""
    report.table(shown, f"A patient whose eyes differ counts in both classes.{brackets}" if named else "")


def _together(report: Report, d: Description) -> None:
    codes = odir_table(d.dataset)
    if codes is None:
        return
    report.section("Labels that occur together")
    together = codes.astype(int).T @ codes.astype(int)
    names = [f"{code} {ODIR_LABELS[code]}" for code in codes]
    table = pd.DataFrame(together.to_numpy(), columns=list(codes))
    table.insert(0, "label", names)
    several = int((codes.sum(axis=1) > 1).sum())
    report.table(
        table, f"Images with both labels; on the diagonal all images of a label. {several} images have several."
    )


def _grades(report: Report, d: Description) -> None:
    grade = d.dataset.column("grade")
    if grade.isna().all() or d.classes.column == "grade":
        return
    report.section("Grades of diabetic retinopathy (ICDR)")
    add_cross_table(
        report, pd.Series([f"grade {g:.0f}" if g == g else "no grade" for g in grade]), d, "grade", by_count=False
    )


def _missing(report: Report, d: Description) -> None:
    report.section("Missing values")
    table = missing_table(d)
    if table.empty:
        report.text("None: every column of metadata.csv is full.")
    else:
        report.table(table, "Images without a value, and the share of each class. A column that is missing in one class more "
                            "often than in another tells the class by its absence.")  # fmt: skip


def _duplicates(report: Report, d: Description) -> None:
    report.section("Copies")
    if d.strangers:
        report.table(_stranger_table(d), "Images that show the same eye, copies or not, but name different patients. "
                                         + first_of(len(d.strangers), "pairs"))  # fmt: skip
    if d.duplicates.empty:
        report.text("No image is a copy of another (the same, resized, recompressed, brightened, mirrored or turned).")
        return
    answers = {
        column: d.duplicates[column].map({True: "yes", False: "no"}) for column in ("in conflict", "crosses a split")
    }
    table = d.duplicates.assign(**answers)
    report.table(table.head(SHOWN_ROWS), "Exact: the same pixels; near: resized, recompressed, brightened, cropped or mirrored; "
                                         f"sibling: turned. {first_of(len(table), 'groups')}")  # fmt: skip


def _stranger_table(d: Description) -> pd.DataFrame:
    table, shown = d.dataset.table, d.strangers[:SHOWN_ROWS]
    sides = [table.iloc[[pair[i] for pair in shown]] for i in (0, 1)]
    columns = [(name, side[column].tolist()) for side, ends in zip(sides, ("one", "other"), strict=True)
               for column, name in (("file_name", f"{ends} file"), ("patient_id", f"{ends} patient"))]  # fmt: skip
    return pd.DataFrame(dict(columns))


def _left_out(report: Report, d: Description) -> None:
    for name, title in (("rejected", "Rejected camera files"), ("ignored", "Files that were left out when reading")):
        table = d.left_out[name]
        if len(table):
            report.section(title)
            reasons = reason_table(table["reason"], table["camera_file"])
            report.table(
                reasons.head(SHOWN_ROWS), f"{len(table)} files, all in {name}.csv. {first_of(len(reasons), 'reasons')}"
            )
    if d.pictures.unreadable:
        report.section("Images that cannot be read")
        report.table(pd.DataFrame(d.pictures.unreadable[:SHOWN_ROWS], columns=["file", "reason"]),
                     first_of(len(d.pictures.unreadable), "images"))  # fmt: skip


def _method(report: Report, d: Description) -> None:
    report.section("How this page was made")
    report.text(f"All rows of metadata.csv and the headers of all images were read. {len(d.pictures.measured)} images, at most "
                f"{d.per_class} of a class, were decoded for light, means and samples; seed {d.seed} drew them, every patient once "
                "before any comes twice. The same dataset and seed give the same page.")  # fmt: skip
