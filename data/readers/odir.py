"""`odir`: ODIR-5K as downloaded. The table labels *patients*; the label of an eye comes from that eye's keywords.

Li et al. 2021, "A benchmark of ocular disease intelligent recognition: one shot for multi-disease detection", and the
ODIR-2019 challenge of Peking University. Read are the challenge's workbook, Kaggle's data.xlsx and full_df.csv, and the
three workbooks of OIA-ODIR (training, off-site test, on-site test).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..labels import (
    NO_FUNDUS_KEYWORDS,
    PICTURE_KEYWORDS,
    icdr_grade,
    odir_codes,
    odir_columns,
    odir_label,
    split_keywords,
)  # fmt: skip
from ..schema import ODIR_CODES
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, checked_rows, list_images
from .tree import by_stem, find_files, split_of

_CHALLENGE = r"odir-5k_training_annotations.*\.xlsx"
_OIA = r"(training|off-site test|on-site test) annotation ?\(english\)\.xlsx"
_KAGGLE = r"data\.xlsx|full_df\.csv|data\.csv"
_NEEDED = ("ID", "Patient Age", "Patient Sex", "Left-Diagnostic Keywords", "Right-Diagnostic Keywords")
# Known to be unusable: eyes whose pictures show something else or belong to somebody else.
_BAD_EYES = frozenset(
    "2174_right 2175_left 2176_left 2177_left 2177_right 2178_right 2179_left 2179_right 2180_left 2180_right "
    "2181_left 2181_right 2182_left 2182_right 2957_left 2957_right".split()
)


def detect(src: Path) -> str:
    """Recognises ODIR's tables: the workbooks by their own names, Kaggle's by the column of keywords."""
    top = [p for p in sorted(src.iterdir()) if p.is_file()]
    named = [p for p in top if re.fullmatch(f"{_CHALLENGE}|{_OIA}", p.name.lower())]
    named += [p for p in sorted(src.glob("*/*/*.xlsx")) if re.fullmatch(_OIA, p.name.lower())]
    named += [p for p in top if re.fullmatch(_KAGGLE, p.name.lower()) and _has_keywords(p)]
    return " and ".join(path.relative_to(src).as_posix() for path in named)


def _has_keywords(path: Path) -> bool:
    try:
        return "Left-Diagnostic Keywords" in read_sheet(path, nrows=1).columns
    except UserError:
        return False  # somebody's data.csv, in whatever encoding


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each eye whose picture `<ID>_<eye>.jpg` is there.

    Columns: N..O and `label` of this eye (empty when it has several codes), `grade` where its keywords tell, age, sex,
    `keywords` and `picture_flags` (those about the picture), both "|"-separated; `split` when the tables are OIA-ODIR's
    three. An eye with keywords about the picture only has neither label nor N..O.
    Dropped, with the reason: eyes known to be bad, eyes whose keywords say that no fundus is to be seen.

    Raises:
        UserError: no table, missing columns, or a value out of range.
    """
    # Kaggle's preprocessed_images are the same eyes, cropped and stretched to a square.
    files = sorted(list_images(src), key=lambda p: "preprocessed" in p.relative_to(src).as_posix().lower())
    pictures, further = by_stem(files)
    tables = _tables(src, options)
    read_eyes, ignored, named = [], [], set()
    for path, split, number, patient in _patients(tables, src):
        for eye in ("left", "right"):
            stem = f"{patient['ID']}_{eye}"
            named.add(stem)
            row, reason = _eye_row(patient, eye, pictures.get(stem), src)
            if row is None:
                ignored.append((_name(pictures.get(stem), src) or stem, reason))
            else:
                read_eyes.append((row | split, path, number, patient))
    for path in tables:
        # What a table may have wrong is the patient's: one eye of each row tells.
        of_table = {number: row for row, source, number, _ in read_eyes if source == path}
        if of_table:
            checked_rows(list(of_table.values()), path, list(of_table))
    ignored += [(_name(path, src), "no row in the table") for stem, path in pictures.items() if stem not in named]
    ignored += [(_name(path, src), "the same eye again in another folder") for path in further]
    info = {
        "source": "ODIR-5K (Peking University, ODIR-2019)",
        "licence": "research use only",
        "notes": _notes([(row, patient) for row, _, _, patient in read_eyes]),
    }
    return Collection("odir", src, [row for row, *_ in read_eyes], ignored, info)


def _name(path: Path | None, src: Path) -> str:
    return path.relative_to(src).as_posix() if path else ""


def _tables(src: Path, options: ReaderOptions) -> dict[Path, pd.DataFrame]:
    """The tables in the order in which they count: workbooks are whole, full_df.csv lacks 142 patients."""
    paths = [options.table] if options.table else find_files(src, f"{_CHALLENGE}|{_OIA}|{_KAGGLE}")
    if not paths:
        raise UserError("no ODIR table; expected ODIR-5K's workbook, data.xlsx or full_df.csv", path=src)
    tables = {path: read_sheet(path) for path in sorted(paths, key=lambda p: (p.suffix.lower() == ".csv", p))}
    complete = {path: table for path, table in tables.items() if not _missing(table)}
    if not complete:
        path, table = next(iter(tables.items()))
        raise UserError(f"is not ODIR's table: no column {', '.join(_missing(table))}", path=path)
    return complete


def _missing(table: pd.DataFrame) -> list[str]:
    return [name for name in _NEEDED if name not in table.columns]


def _patients(tables: dict[Path, pd.DataFrame], src: Path) -> Iterator[tuple[Path, dict, int, dict]]:
    """(table, {"split": ...} or {}, row number, row) of each patient once.

    full_df.csv has a row for each eye with both eyes' keywords in it, and Kaggle has it beside data.xlsx. The sets of
    OIA-ODIR are different people.
    """
    splits = {path: split_of(path, src) if re.fullmatch(_OIA, path.name.lower()) else "" for path in tables}
    several = len(set(splits.values())) > 1
    seen: dict[str, Path] = {}
    for path, table in tables.items():
        for number, patient in enumerate(table.to_dict("records"), start=2):
            first = seen.get(patient["ID"])
            if first is None:
                seen[patient["ID"]] = path
                yield path, {"split": splits[path]} if several else {}, number, patient
            elif splits[first] != splits[path]:
                raise UserError(f"patient {patient['ID']} is in {first.name} too; expected every patient in one set",
                                path=path, row=number)  # fmt: skip


def _eye_row(patient: dict, eye: str, picture: Path | None, src: Path) -> tuple[dict | None, str]:
    if picture is None:
        return None, "no picture"
    if f"{patient['ID']}_{eye}" in _BAD_EYES:
        return None, "known bad picture"
    keywords = split_keywords(patient[f"{eye.capitalize()}-Diagnostic Keywords"])
    hidden = next((word for word in keywords if word in NO_FUNDUS_KEYWORDS), None)
    if hidden:
        return None, f"keywords say: {hidden}"
    codes, grade = odir_codes(keywords), icdr_grade(keywords)
    return {
        "path": picture,
        "camera_file": _name(picture, src),
        "patient_id": f"odir-{patient['ID']}",
        "eye": eye,
        "label": odir_label(codes),
        # All zeros would say that the eye has nothing and is not normal either.
        **(odir_columns(codes) if codes else {}),
        "grade": "" if grade is None else grade,
        # Ages of 1 are blanks that somebody filled in: no such patient photographs like an infant's eye.
        "age_years": "" if patient["Patient Age"] in ("0", "1") else patient["Patient Age"],
        "sex": patient["Patient Sex"].lower(),
        "source": "odir",
        "keywords": "|".join(keywords),
        "picture_flags": "|".join(word for word in keywords if word in PICTURE_KEYWORDS),
    }, ""


def _notes(eyes: list[tuple[dict, dict]]) -> list[str]:
    labelled = [(row, patient) for row, patient in eyes if "N" in row]
    known = [(row, patient) for row, patient in labelled if set(ODIR_CODES) <= set(patient)]
    other = sum(any(str(row[code]) != patient[code] for code in ODIR_CODES) for row, patient in known)
    notes = [
        "Labels are the eye's own, from its keywords; the table's N..O are the patient's and differ from them for "
        f"{other} of {len(known)} eyes."
    ]
    if len(labelled) < len(eyes):
        silent = len(eyes) - len(labelled)
        notes.append(f"Eyes with keywords about the picture only, so without label and N..O: {silent}.")
    return notes


READER = Reader("odir", detect, read)
