"""`messidor`: Messidor as downloaded, twelve folders `Base11`..`Base34` with an annotation sheet each.

Decencière et al. 2014, "Feedback on a publicly distributed image database: the Messidor database", Image Analysis &
Stereology 33(3):231-234. The errata are those that the publishers list on the download page (2016 to 2018).
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, list_images
from .cells import find_column, needed_column, retinopathy_label, whole_number
from .tree import by_stem, find_files, first_lines, lie_apart, stem_key

_NAME = r"\d{8}_\d+_0[124]00_PP"

# Pictures of Base33 that are there a second time under another name, to be removed.
ERRATA_DUPLICATES = frozenset(
    [f"20051202_{n}_0400_PP" for n in (54744, 40508, 41238, 41260, 54530, 55607, 41034, 54555, 54611, 55498)]
    + [f"20051205_{n}_0400_PP" for n in (33025, 35099, 35110)]
)
# Retinopathy grades of Base11 and Base13 that the sheets give wrongly; newer downloads have them right.
ERRATA_GRADES = {
    "20051020_63045_0100_PP": 0,
    "20051020_64007_0100_PP": 3,
    "20051020_63936_0100_PP": 1,
    "20060523_48477_0100_PP": 3,
}
_DUPLICATES = {stem_key(name) for name in ERRATA_DUPLICATES}
_GRADES = {stem_key(name): grade for name, grade in ERRATA_GRADES.items()}

_NOT_ICDR = (
    "Messidor's retinopathy grade 0..3 is not the ICDR scale (0..4): it is kept as messidor_grade, and the column grade "
    "stays empty. The label is normal for 0 and diabetes from 1 on."
)


def detect(src: Path) -> str:
    """Recognises Messidor's annotation sheets, or a CSV of a mirror that grades pictures with Messidor's names."""
    tables = _tables(src)
    if not tables or lie_apart(src, tables):
        return ""
    return f"{len(tables)} Messidor annotation sheets" if _is_sheet(tables[0]) else f"grades in {tables[0].name}"


def _tables(src: Path) -> list[Path]:
    """The annotation sheets, else a mirror's tables."""
    found = find_files(src, r".*\.(xls|xlsx|csv)")
    return [path for path in found if _is_sheet(path)] or [path for path in found if _is_mirror(path)]


def _is_sheet(path: Path) -> bool:
    return bool(re.fullmatch(r"annotation[ _]*base[ _]*\d\d.*", path.stem, re.IGNORECASE))


def _is_mirror(path: Path) -> bool:
    if path.suffix.lower() != ".csv":
        return False
    header, first = first_lines(path)
    named = re.search(r"retinopathy|dr.?grade|level", header.lower()) and "adjudicated" not in header.lower()
    return bool(named and re.search(_NAME, first, re.IGNORECASE))


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each graded picture.

    Columns: `label`, `messidor_grade` (0..3, not ICDR), `macular_edema_risk` (0..2), `site` (the department). Messidor
    names no patients. Dropped, with the reason: the duplicates of the errata, pictures without a row, rows without a
    picture.

    Raises:
        UserError: no annotation sheet, one with fewer than four columns, or a grade out of range.
    """
    tables = [options.table] if options.table else _tables(src)
    if not tables:
        raise UserError("no Messidor annotations; expected Annotation_Base11.xls and the like", path=src)
    pictures, further = by_stem(list_images(src))
    ignored = [(p.relative_to(src).as_posix(), "the same picture again in another file") for p in further]
    rows, corrected, seen = [], [], set()
    for table in sorted(tables, key=_updates_first):
        for number, name, values in _annotations(table):
            key = stem_key(name)
            if key in seen:
                continue
            seen.add(key)
            if key in _DUPLICATES:
                ignored.append((name, "duplicate within Base33, removed by the publishers' errata"))
            elif key not in pictures:
                ignored.append((name, "no picture"))
            else:
                row, correction = _row(key, values, pictures[key], src, table, number)
                rows.append(row)
                corrected += correction
    ignored += [(p.relative_to(src).as_posix(), "in no annotation sheet") for k, p in pictures.items() if k not in seen]
    rows.sort(key=lambda row: row["camera_file"])
    return Collection("messidor", src, rows, ignored, _info(corrected))


def _updates_first(path: Path) -> tuple[bool, str]:
    # Annotation_Base11_update20161024.xls replaces the sheet it may lie beside.
    return "update" not in path.stem.lower(), path.as_posix()


def _annotations(path: Path):
    """(row number, image name, (department, grade, risk)) of each row of a sheet."""
    table = read_sheet(path)
    columns = _columns(table, path)
    for number, cells in enumerate(table.to_dict("records"), start=2):
        name, *values = (cells[column] if column else "" for column in columns)
        if name.strip():
            yield number, name.strip(), values


def _columns(table: pd.DataFrame, path: Path) -> list[str | None]:
    """Columns for image name, department, grade and risk.

    By position in Messidor's own sheets, whose headers differ from one to the next; by name in a mirror's table.
    """
    if _is_sheet(path):
        if len(table.columns) < 4:
            raise UserError(
                f"has {len(table.columns)} columns; expected image name, department, retinopathy grade and risk of "
                "macular oedema", path=path,
            )  # fmt: skip
        return list(table.columns[:4])
    return [
        needed_column(table, r"image|file|^name|^id", "image name", path),
        find_column(table, r"department|hospital|service"),
        needed_column(table, r"retinopathy|dr.?grade|level", "retinopathy grade", path),
        find_column(table, r"o?edema|^me\b|dme"),
    ]


def _row(
    key: str, values: list[str], picture: Path, src: Path, table: Path, number: int
) -> tuple[dict, list[str]]:  # fmt: skip
    """The row, and the correction made to it if any."""
    site, grade_text, risk_text = values
    published = whole_number(grade_text, "retinopathy grade", 0, 3, table, number)
    risk = whole_number(risk_text, "risk of macular oedema", 0, 2, table, number)
    grade = _GRADES.get(key, published)
    correction = [] if grade == published else [f"{picture.stem} {published} -> {grade}"]
    return {
        "path": picture,
        "camera_file": picture.relative_to(src).as_posix(),
        "label": retinopathy_label(grade, risk),
        "messidor_grade": "" if grade is None else grade,
        "macular_edema_risk": "" if risk is None else risk,
        "site": site.strip(),
        "source": "messidor",
    }, correction


def _info(corrected: list[str]) -> dict:
    notes = [_NOT_ICDR]
    if corrected:
        notes.append(f"Grades corrected by the publishers' errata: {', '.join(corrected)}.")
    return {
        "source": "Messidor (Decencière et al. 2014)",
        "licence": "research and education, see the publishers' terms; not to be passed on",
        "notes": notes,
    }


READER = Reader("messidor", detect, read)
