"""`odir`: ODIR-5K as downloaded. The table labels *patients*; the label of an eye comes from that eye's keywords."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..labels import NO_FUNDUS_KEYWORDS, icdr_grade, odir_codes, odir_columns, odir_label, split_keywords
from ..schema import read_csv
from .base import Collection, Reader, ReaderOptions, checked_rows, list_images

_TABLES = ("full_df.csv", "data.csv")
_NEEDED = ("ID", "Patient Age", "Patient Sex", "Left-Diagnostic Keywords", "Right-Diagnostic Keywords")
# Known to be unusable: eyes whose pictures show something else or belong to somebody else.
_BAD_EYES = frozenset(
    "2174_right 2175_left 2176_left 2177_left 2177_right 2178_right 2179_left 2179_right 2180_left 2180_right "
    "2181_left 2181_right 2182_left 2182_right 2957_left 2957_right".split()
)


def detect(src: Path) -> str:
    """Recognises ODIR's table of keywords."""
    return next((name for name in _TABLES if src.is_dir() and _is_odir_table(src / name)), "")


def _is_odir_table(path: Path) -> bool:
    return path.is_file() and "Left-Diagnostic Keywords" in read_csv(path, nrows=1).columns


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each eye whose picture `<ID>_<eye>.jpg` is there.

    Columns: N..O and `label` of this eye, `grade` where its keywords tell, age, sex, `keywords` ("|"-separated).
    Dropped, with the reason: eyes known to be bad, eyes whose keywords say that no fundus is to be seen.

    Raises:
        UserError: no table, missing columns, or a value out of range.
    """
    path = options.table or next((src / name for name in _TABLES if (src / name).is_file()), None)
    if path is None:
        raise UserError(f"no ODIR table; expected {' or '.join(_TABLES)}", path=src)
    table = read_csv(path)
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise UserError(f"is not ODIR's table: no column {', '.join(missing)}", path=path)
    pictures = {p.stem: p for p in list_images(src)}
    rows, numbers, ignored = [], [], []
    for number, patient in _patients(table):
        for eye in ("left", "right"):
            row, reason = _eye_row(patient, eye, pictures, src)
            if row is not None:
                rows.append(row)
                numbers.append(number)
            elif reason:
                ignored.append((f"{patient['ID']}_{eye}", reason))
    if rows:
        checked_rows(rows, path, numbers)
    return Collection("odir", src, rows, ignored, {"source": "ODIR-5K", "licence": "research use only"})


def _patients(table: pd.DataFrame):
    """(row number, row) of each patient once: full_df.csv has a row for each eye, with both eyes' keywords in it."""
    seen = set()
    for number, patient in enumerate(table.to_dict("records"), start=2):
        if patient["ID"] not in seen:
            seen.add(patient["ID"])
            yield number, patient


def _eye_row(patient: dict, eye: str, pictures: dict[str, Path], src: Path) -> tuple[dict | None, str]:
    stem = f"{patient['ID']}_{eye}"
    if stem not in pictures:
        return None, "no picture"
    if stem in _BAD_EYES:
        return None, "known bad picture"
    keywords = split_keywords(patient[f"{eye.capitalize()}-Diagnostic Keywords"])
    hidden = next((word for word in keywords if word in NO_FUNDUS_KEYWORDS), None)
    if hidden:
        return None, f"keywords say: {hidden}"
    codes, grade = odir_codes(keywords), icdr_grade(keywords)
    path = pictures[stem]
    return {
        "path": path,
        "camera_file": path.relative_to(src).as_posix(),
        "patient_id": f"odir-{patient['ID']}",
        "eye": eye,
        "label": odir_label(codes),
        **odir_columns(codes),
        "grade": "" if grade is None else grade,
        # Ages of 1 are blanks that somebody filled in: no such patient photographs like an infant's eye.
        "age_years": "" if patient["Patient Age"] in ("0", "1") else patient["Patient Age"],
        "sex": patient["Patient Sex"].lower(),
        "source": "odir",
        "keywords": "|".join(keywords),
    }, ""


READER = Reader("odir", detect, read)
