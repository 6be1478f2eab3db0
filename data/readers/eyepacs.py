"""`eyepacs`: Kaggle's Diabetic Retinopathy Detection 2015, pictures of EyePACS, with or without grades of quality.

Cuadros and Bresnick 2009, "EyePACS: an adaptable telemedicine system for diabetic retinopathy screening", J Diabetes
Sci Technol 3(3):509-516. Quality: Fu et al. 2019, "Evaluation of retinal image quality assessment networks in different
color-spaces" (EyeQ); Voets et al. 2019, "Reproduction study using public data of: Development and validation of a deep
learning algorithm for detection of diabetic retinopathy in retinal fundus photographs" (a list of 0 and 1).
"""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import UserError
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, checked_rows
from .cells import whole_number
from .graded import Graded, has_columns, pictures_of, read_grades
from .tree import find_files, first_lines, stem_key

_IMAGE, _GRADE, _USAGE = "image", "level", "Usage"
_TRAIN = r"trainlabels(_cropped|15)?\.csv"
_TEST = r"(retinopathy_solution|testlabels(15)?)\.csv"
_QUALITY = r"label_eyeq_(train|test)\.csv|eyepacs_gradability_grades\.csv"
_NAME = re.compile(r"(\d+)_(left|right)", re.IGNORECASE)
EYEQ_QUALITY = ("good", "usable", "reject")
# The list of 0 and 1 does not tell good from usable.
LISTED_QUALITY = ("reject", "usable")
_GIVEN_SPLIT = "Split as published: trainLabels.csv is train; of the solution, Usage Public is val and Private is test."


def detect(src: Path) -> str:
    """Recognises trainLabels.csv and retinopathy_solution.csv by name and by their columns image and level."""
    return " and ".join(path.name for path in _tables(src))


def _tables(src: Path) -> list[Path]:
    """Tables of grades, the whole one before the shortened copy that comes with cropped pictures."""
    # Some unpackers make a folder of each archive: trainLabels.csv/trainLabels.csv.
    folders = [src, *(p for p in src.iterdir() if p.is_dir() and re.fullmatch(rf"labels|{_TRAIN}", p.name.lower()))]
    names = [p for folder in folders for p in folder.iterdir() if re.fullmatch(f"{_TRAIN}|{_TEST}", p.name.lower())]
    graded = [p for p in names if p.is_file() and has_columns(p, _IMAGE, _GRADE)]
    return sorted(graded, key=lambda p: ("cropped" in p.name.lower(), p))


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each graded picture `<patient>_<eye>`.

    Columns: `patient_id`, `eye`, `grade`, `label`; `gradability` (good, usable, reject; empty when not judged) when a
    table of quality is there; `usage` (Public, Private) and `split` when the test set's grades are.

    Args:
        options: `quality_table` is a table of quality that lies elsewhere, or a folder of some.

    Raises:
        UserError: no table, a missing column, a grade that is not 0..4, a picture with two grades, or a name that does
            not say whose eye it is.
    """
    tables = [options.table] if options.table else _tables(src)
    if not tables:
        raise UserError("no EyePACS table; expected trainLabels.csv with the columns image and level", path=src)
    graded = read_grades([(path, "") for path in tables], _IMAGE, _GRADE)
    published = any(_USAGE in row.cells for row in graded.values())
    quality = _read_quality(src, options)
    found, ignored = pictures_of(graded, src, "crop", "no grade: not in a table")
    rows = [_row(path, row, src, quality, published) for path, row in found]
    _check(rows, found)
    info = {
        "source": "Diabetic Retinopathy Detection 2015 (Kaggle, EyePACS)",
        "licence": "rules of the competition: research and education, not to be passed on",
        "notes": _notes(rows, quality, published),
    }
    return Collection("eyepacs", src, rows, ignored, info)


def _row(picture: Path, graded: Graded, src: Path, quality: dict[str, str], published: bool) -> dict:
    name = _NAME.fullmatch(stem_key(graded.name))
    if name is None:
        raise UserError(f"image is {graded.name!r}; expected <patient>_left or <patient>_right",
                        path=graded.path, row=graded.number)  # fmt: skip
    row = graded.columns(picture, src)
    row |= {"patient_id": f"eyepacs-{name[1]}", "eye": name[2], "source": "eyepacs"}
    if quality:
        row["gradability"] = quality.get(stem_key(graded.name), "")
    if published:
        usage = graded.cells.get(_USAGE, "").strip()
        row |= {"usage": usage, "split": _split(usage, graded)}
    return row


def _split(usage: str, graded: Graded) -> str:
    split = {"": "train", "public": "val", "private": "test"}.get(usage.lower())
    if split is None:
        raise UserError(f"Usage is {usage!r}; expected Public or Private", path=graded.path, row=graded.number)
    return split


def _check(rows: list[dict], found: list[tuple[Path, Graded]]) -> None:
    if rows:
        checked_rows(rows, found[0][1].path, [graded.number for _, graded in found])


def _read_quality(src: Path, options: ReaderOptions) -> dict[str, str]:
    """{stem key: gradability}; EyeQ's three levels count before the list of 0 and 1."""
    given = options.quality_table
    if given is not None and not given.exists():
        raise UserError("no such table of quality", path=given)
    paths = find_files(src, _QUALITY)
    if given is not None:
        paths += find_files(given, _QUALITY) if given.is_dir() else [given]
    listed, eyeq = {}, {}
    for path in dict.fromkeys(paths):
        if has_columns(path, "quality"):
            eyeq |= _quality_of(path, ",", "image", "quality", EYEQ_QUALITY)
        else:
            listed |= _quality_of(path, r"\s+", "image_name", "gradability", LISTED_QUALITY)
    return listed | eyeq


def _quality_of(path: Path, sep: str, image: str, column: str, words: tuple[str, ...]) -> dict[str, str]:
    bare = column not in first_lines(path, 1)[0]
    table = read_sheet(path, sep=sep, **({"header": None, "names": [image, column]} if bare else {}))
    missing = [name for name in (image, column) if name not in table.columns]
    if missing:
        raise UserError(
            f"has no column {', '.join(missing)}; expected EyeQ's table or a list of names and 0 or 1", path=path
        )
    found = {}
    for number, cells in enumerate(table.to_dict("records"), start=1 if bare else 2):
        value = whole_number(cells[column], column, 0, len(words) - 1, path, number)
        if value is not None:
            found[stem_key(cells[image])] = words[value]
    return found


def _notes(rows: list[dict], quality: dict[str, str], published: bool) -> list[str]:
    notes = [_GIVEN_SPLIT] if published else []
    if quality:
        judged = sum(bool(row["gradability"]) for row in rows)
        rejected = sum(row["gradability"] == "reject" for row in rows)
        notes.append(f"{judged} of {len(rows)} pictures have their quality judged, {rejected} of them reject.")
    return notes


READER = Reader("eyepacs", detect, read)
