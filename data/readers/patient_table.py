"""A clinic's own table, one row a patient or an image and perhaps hundreds of columns, of which five matter.

Recognised by their usual spellings: sex, age, systolic and diastolic blood pressure, haemoglobin; and the key.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..schema import COLUMNS
from ..sheets import read_sheet
from .base import ReaderOptions, checked_rows
from .tree import stem_key

_SPELLINGS = {
    "sex": "sex gender",
    "age_years": "age ageyears ageyrs ageinyears patientage",
    "systolic_mmhg": "systolic sbp sysbp bpsys sys systolicbp bpsystolic systolicmmhg systolicbloodpressure",
    "diastolic_mmhg": "diastolic dbp diabp bpdia dia diastolicbp bpdiastolic diastolicmmhg diastolicbloodpressure",
    "hemoglobin_g_dl": "hb hgb hemoglobin haemoglobin hbgdl hgbgdl hemoglobingdl haemoglobingdl hblevel hbvalue",
}
_PATIENT = "patientid patient patid pid id subjectid studyid mrno mrdno mrd uhid"
_IMAGE = "image imagename imageid imagefile filename file img picture photo"
_TABLES = (".csv", ".xlsx", ".xls")
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_SEX_NUMBERS = {1: "male", 2: "female"}


@dataclass
class PatientTable:
    """The rows of a table by image and by patient, in the words of the schema.

    Attributes:
        path: the table.
        by_image, by_patient: {stem key or id: row}; the one that is not the key is empty.
        used: keys of rows that an image asked for.
    """

    path: Path
    by_image: dict[str, dict] = field(default_factory=dict)
    by_patient: dict[str, dict] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def find(self, picture: Path, patient: str) -> dict | None:
        """The row of a picture; without a known patient, by the longest beginning of its name that is an id."""
        rows = self.by_image or self.by_patient
        if self.by_image:
            keys = [stem_key(picture.name)]
        else:
            keys = [patient.casefold()] if patient else _beginnings(picture.stem.casefold())
        key = next((key for key in keys if key in rows), None)
        if key is None:
            return None
        self.used.add(key)
        return rows[key]

    def unused(self) -> list[tuple[str, str]]:
        """(key, reason) of rows that no picture asked for."""
        rows = self.by_image or self.by_patient
        return [(key, f"no picture of this row of {self.path.name}") for key in rows if key not in self.used]


def _beginnings(stem: str) -> list[str]:
    """The stem and what is left of it when parts are cut off its end, longest first: a_b_c, a_b, a."""
    cuts = [match.start() for match in re.finditer(r"[_\-. ]", stem)]
    return [stem, *(stem[:cut] for cut in reversed(cuts))]


def read_patient_table(src: Path, options: ReaderOptions) -> PatientTable | None:
    """Read `options.table`, or the one table in `src`; None when there is none.

    Raises:
        UserError: several tables, no key, a column that is not there or there twice, a value that cannot be read, or
            two rows of one key that differ.
    """
    path = options.table or _only_table(src)
    if path is None:
        return None
    table = read_sheet(path)
    chosen = _chosen_columns(table, path, options)
    key, by_image = _key(table, path, options)
    patient = _key_named(table, options.patient_column, _PATIENT, path) if by_image else key
    rows = [_row(cells, chosen, path, number) for number, cells in enumerate(table.to_dict("records"), start=2)]
    if patient:
        for row, name in zip(rows, table[patient], strict=True):
            row["id"] = name.strip()
    checked_rows([{k: v for k, v in row.items() if k in COLUMNS} for row in rows], path)
    keyed = _keyed([stem_key(v) if by_image else v.strip().casefold() for v in table[key]], rows, path)
    return PatientTable(path, keyed, {}) if by_image else PatientTable(path, {}, keyed)


def _only_table(src: Path) -> Path | None:
    tables = sorted(p for p in src.iterdir() if p.is_file() and p.suffix.lower() in _TABLES and p.name[0] not in ".~")
    if len(tables) > 1:
        named = ", ".join(p.name for p in tables)
        raise UserError(f"has several tables ({named}); expected one", path=src, hint="Name it with --table.")
    return tables[0] if tables else None


def _plain(name: str) -> str:
    """A column's name without unit, case, spaces and punctuation: "Hb (g/dL)" -> "hb"."""
    return re.sub(r"\(.*?\)|\[.*?\]|[^a-z0-9]", "", name.lower())


def _chosen_columns(table: pd.DataFrame, path: Path, options: ReaderOptions) -> dict[str, str]:
    """{column of the result: column of the table}; by default those of the five that are recognised."""
    if options.columns:
        named = [column.split("=", 1) if "=" in column else ["", column] for column in options.columns]
        pairs = [(target.strip() or _meaning(source) or source.strip(), source.strip()) for target, source in named]
    else:
        pairs = [(meaning, name) for name in table.columns if (meaning := _meaning(name))]
    chosen: dict[str, str] = {}
    for target, source in pairs:
        _check_column(table, source, path)
        if chosen.setdefault(target, source) != source:
            raise UserError(f"columns {chosen[target]!r} and {source!r} both look like {target}", path=path,
                            hint=f"Choose with --columns, e.g. {target}={source}")  # fmt: skip
    return chosen


def _meaning(name: str) -> str:
    return next((target for target, known in _SPELLINGS.items() if _plain(name) in known.split()), "")


def _check_column(table: pd.DataFrame, name: str, path: Path) -> None:
    if name not in table.columns:
        close = difflib.get_close_matches(name, table.columns, 3, 0.5)
        hint = f"Did you mean {' or '.join(close)}?" if close else None
        raise UserError(f"has no column {name!r} among its {len(table.columns)}", path=path, hint=hint)


def _key(table: pd.DataFrame, path: Path, options: ReaderOptions) -> tuple[str, bool]:
    """The column that rows are looked up by, and whether it names images."""
    if not (options.patient_column and not options.image_column):
        image = _key_named(table, options.image_column, _IMAGE, path)
        if image:
            return image, True
    patient = _key_named(table, options.patient_column, _PATIENT, path)
    if patient is None:
        raise UserError(f"none of its {len(table.columns)} columns is recognised as the image or the patient", path=path,
                        hint="Name one with --image-column or --patient-column.")  # fmt: skip
    return patient, False


def _key_named(table: pd.DataFrame, chosen: str | None, spellings: str, path: Path) -> str | None:
    if chosen:
        _check_column(table, chosen, path)
        return chosen
    known = spellings.split()
    found = [name for name in table.columns if _plain(name) in known]
    return min(found, key=lambda name: known.index(_plain(name)), default=None)


def _row(cells: dict[str, str], chosen: dict[str, str], path: Path, number: int) -> dict:
    row = {target: cells[source].strip() for target, source in chosen.items()}
    if "sex" in row:
        row["sex"] = parse_sex(row["sex"], path, number)
    if row.get("hemoglobin_g_dl"):
        row["hemoglobin_g_dl"] = parse_hemoglobin(row["hemoglobin_g_dl"], path, number)
    return row


def _keyed(keys: list[str], rows: list[dict], path: Path) -> dict[str, dict]:
    keyed: dict[str, dict] = {}
    for number, (key, row) in enumerate(zip(keys, rows, strict=True), start=2):
        if not key:
            raise UserError("the image or patient is empty", path=path, row=number)
        if keyed.setdefault(key, row) != row:
            raise UserError(f"{key} is there twice with different values; expected one row", path=path, row=number)
    return keyed


def parse_sex(text: str, path: Path, row: int | None = None) -> str:
    """ "male" or "female" from a word, a letter, or the number 1 or 2 with any zeros before it; "" from "".

    Raises:
        UserError: anything else.
    """
    plain = text.strip().lower()
    sex = _SEX_NUMBERS.get(int(plain)) if plain.isdecimal() else _SEXES.get(plain)
    if plain and sex is None:
        raise UserError(f"sex is {text!r}; expected 1 or male, 2 or female", path=path, row=row)
    return sex or ""


def parse_hemoglobin(text: str, path: Path, row: int | None = None) -> float:
    """Haemoglobin in g/dL.

    Raises:
        UserError: not a number, or out of range; it says so when the value looks like g/L.
    """
    low, high = COLUMNS["hemoglobin_g_dl"].low, COLUMNS["hemoglobin_g_dl"].high
    value = float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text.strip()) else None
    if value is None or not low <= value <= high:
        looks = f"; this looks like g/L: {value:g} g/L is {value / 10:g} g/dL" if value and 30 <= value <= 250 else ""
        raise UserError(f"haemoglobin is {text!r}; expected g/dL, a number from {low:g} to {high:g}{looks}",
                        path=path, row=row)  # fmt: skip
    return value
