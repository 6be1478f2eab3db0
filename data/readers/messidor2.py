"""`messidor2`: Messidor-2, pairs of eyes of 874 examinations, with the grades published by Krause et al. 2018.

Pictures and pairs: Decencière et al. 2014 and Abràmoff et al. 2013. Grades: Krause et al. 2018, "Grader variability and
the importance of reference standards for evaluating machine learning models for diabetic retinopathy", Ophthalmology
125(8):1264-1272. The two are downloaded from different places, so either table may be missing.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import UserError
from ..sheets import read_sheet
from .base import Collection, Reader, ReaderOptions, list_images
from .cells import find_column, needed_column, retinopathy_label, whole_number
from .tree import by_stem, find_files, first_lines, lie_apart, stem_key

_TABLES = r".*messidor.*\.csv"
_OVERLAP = (
    "1058 of Messidor-2's pictures are Messidor's, under the same names: never train on one and test on the other. "
    "fundus-preprocess audit reports them."
)
_NO_GRADES = "no table of grades (messidor_data.csv) is there, so the images have no label"
_NO_PAIRS = "no table of pairs (messidor-2.csv) is there, so the two eyes of a patient are not known to belong together"


def detect(src: Path) -> str:
    """Recognises Messidor-2's list of pairs or its adjudicated grades by their headers."""
    tables = [path for path in _tables(src) if path is not None]
    return "" if not tables or lie_apart(src, tables) else " and ".join(path.name for path in tables)


def _tables(src: Path) -> tuple[Path | None, Path | None]:
    """(pairs, grades)."""
    headers = [(path, first_lines(path, 1)[0].lower()) for path in find_files(src, _TABLES)]
    pairs = next((p for p, header in headers if re.fullmatch(r'"?left"?\s*[;,]\s*"?right"?[;,\s]*', header)), None)
    grades = next((p for p, header in headers if "adjudicated" in header), None)
    return pairs, grades


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each picture that has a pair or a grade.

    Columns: `patient_id` (an examination) and `eye` from the pairs, `grade` (ICDR), `label`, `adjudicated_dme` and
    `adjudicated_gradable` (0/1). A picture that is not gradable has neither grade nor label and is flagged by the
    latter. Dropped, with the reason: pictures in neither table, rows without a picture.

    Args:
        options: `table` is the table of grades.

    Raises:
        UserError: neither table, missing columns, a picture in two pairs or graded twice, or a value out of range.
    """
    pairs_path, grades_path = _tables(src)
    grades_path = options.table or grades_path
    if pairs_path is None and grades_path is None:
        raise UserError("no Messidor-2 table; expected messidor-2.csv or messidor_data.csv", path=src)
    pictures, further = by_stem(list_images(src))
    eyes = _eyes(pairs_path) if pairs_path else {}
    grades = _grades(grades_path) if grades_path else {}
    listed = {**grades, **eyes}
    rows = [_row(path, src, eyes.get(key), grades.get(key)) for key, path in pictures.items() if key in listed]
    ignored = [(p.relative_to(src).as_posix(), "the same picture again in another file") for p in further]
    ignored += [(p.relative_to(src).as_posix(), "in no table") for k, p in pictures.items() if k not in listed]
    ignored += [(listed[key]["name"], "no picture") for key in listed if key not in pictures]
    return Collection("messidor2", src, rows, ignored, _info(rows, bool(eyes), bool(grades)))


def _eyes(path: Path) -> dict[str, dict]:
    """{stem key: name, patient and side} from the list of pairs; a pair is the examination of one patient."""
    table = read_sheet(path, sep=";" if ";" in first_lines(path, 1)[0] else ",")
    columns = {side: needed_column(table, f"^{side}$", side, path) for side in ("left", "right")}
    eyes: dict[str, dict] = {}
    for number, cells in enumerate(table.to_dict("records"), start=2):
        names = {side: cells[column].strip() for side, column in columns.items() if cells[column].strip()}
        patient = next((Path(name).stem for name in names.values()), "")
        for side, name in names.items():
            eye = {"name": name, "patient_id": f"messidor2-{patient}", "eye": side}
            if eyes.setdefault(stem_key(name), eye) is not eye:
                raise UserError(f"{name} is in two pairs; expected every picture in one", path=path, row=number)
    return eyes


def _grades(path: Path) -> dict[str, dict]:
    """{stem key: name, grade, oedema and gradability}."""
    table = read_sheet(path)
    image = needed_column(table, r"^image|^id", "image_id", path)
    # One mirror calls it diagnosis, as in APTOS.
    grade = needed_column(table, r"dr_grade$|^diagnosis$", "adjudicated_dr_grade", path)
    others = {name: find_column(table, f"{name}$") for name in ("dme", "gradable")}
    grades: dict[str, dict] = {}
    for number, cells in enumerate(table.to_dict("records"), start=2):
        row = {"name": cells[image].strip(), "grade": whole_number(cells[grade], grade, 0, 4, path, number)}
        for name, column in others.items():
            row[name] = whole_number(cells[column], column, 0, 1, path, number) if column else None
        if grades.setdefault(stem_key(row["name"]), row) is not row:
            raise UserError(f"{row['name']} is there twice; expected one row an image", path=path, row=number)
    return grades


def _row(picture: Path, src: Path, eye: dict | None, graded: dict | None) -> dict:
    row = {"path": picture, "camera_file": picture.relative_to(src).as_posix(), "source": "messidor2"}
    if eye:
        row |= {"patient_id": eye["patient_id"], "eye": eye["eye"]}
    if graded:
        # What is not gradable has no grade, whatever stands in the cell.
        grade = None if graded["gradable"] == 0 else graded["grade"]
        row |= {
            "label": retinopathy_label(grade, graded["dme"]),
            "grade": _cell(grade),
            "adjudicated_dme": _cell(graded["dme"]),
            "adjudicated_gradable": _cell(graded["gradable"]),
        }
    return row


def _cell(value: int | None) -> int | str:
    return "" if value is None else value


def _info(rows: list[dict], paired: bool, graded: bool) -> dict:
    notes = [_OVERLAP]
    if not paired:
        notes.append(_NO_PAIRS)
    if not graded:
        notes.append(_NO_GRADES)
    ungradable = sum(row.get("adjudicated_gradable") == 0 for row in rows)
    if ungradable:
        notes.append(f"Pictures judged not gradable: {ungradable}; they have no grade, and adjudicated_gradable is 0.")
    return {
        "source": "Messidor-2 (Decencière et al. 2014), grades of Krause et al. 2018",
        "licence": "research and education, see the publishers' terms; not to be passed on",
        "notes": notes,
    }


READER = Reader("messidor2", detect, read)
