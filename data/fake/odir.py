"""Fake ODIR-5K as Kaggle gives it: `full_df.csv`, `preprocessed_images/`, and below `ODIR-5K/ODIR-5K/` the workbook
`data.xlsx`, `Training Images/` and `Testing Images/`.

Quirks: N..O are the patient's, and two patients have one healthy and one ill eye; keywords are separated by U+FF0C, once
by a comma; keywords about the picture, alone and beside others; an eye with two diseases and one whose retinopathy has no
grade; "non proliferative" in its two spellings; pictures that show no fundus; an eye known to be bad; an age of 1 that is
a blank; squeezed copies in preprocessed_images; pictures of the test set, without a row; full_df.csv has a row an eye, and
lacks a patient of the workbook.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ...runtime.errors import UserError
from ...runtime.files import write_text
from ..labels import odir_codes, split_keywords
from ..phantom.cohort import PHANTOM_CLASSES
from ..phantom.external_eye import render_not_fundus
from ..schema import ODIR_CODES, ODIR_LABELS
from .base import FakeEyes, save_photograph

_INNER = "ODIR-5K/ODIR-5K"
_GRADED = (
    "normal fundus", "mild nonproliferative retinopathy", "moderate non proliferative retinopathy",
    "severe nonproliferative retinopathy", "proliferative diabetic retinopathy",
)  # fmt: skip
_KEYWORDS = {
    "glaucoma": "glaucoma", "cataract": "cataract", "amd": "dry age-related macular degeneration",
    "hypertension": "hypertensive retinopathy", "myopia": "pathological myopia", "other": "epiretinal membrane",
}  # fmt: skip
_SIDES = ("left", "right")


@dataclass
class _Patient:
    number: int
    age: int
    sex: str
    images: dict[str, np.ndarray]
    keywords: dict[str, str]

    def row(self) -> dict:
        """The patient's row: N..O hold for both eyes together."""
        codes = set().union(*(odir_codes(split_keywords(text)) for text in self.keywords.values()))
        codes -= {"N"} if len(codes) > 1 else set()
        return {
            "ID": self.number, "Patient Age": self.age, "Patient Sex": self.sex,
            **{f"{side.capitalize()}-Fundus": f"{self.number}_{side}.jpg" for side in _SIDES},
            **{f"{side.capitalize()}-Diagnostic Keywords": self.keywords[side] for side in _SIDES},
            **{code: int(code in codes) for code in ODIR_CODES},
        }  # fmt: skip


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`; it needs openpyxl for the workbook."""
    patients = _patients(eyes)
    _exchange_right_eyes(patients)
    first, last = patients[0], patients[-1]
    first.keywords["left"] = "normal fundus\uff0clens dust"
    last.keywords["left"] += "\uff0chypertensive retinopathy"
    patients += _special(first, eyes.size)
    for patient in patients:
        for side, image in patient.images.items():
            name = f"{patient.number}_{side}.jpg"
            save_photograph(folder / _INNER / "Training Images" / name, image)
            save_photograph(folder / "preprocessed_images" / name, cv2.resize(image, (eyes.size, eyes.size)))
    for side, fellow in zip(_SIDES, reversed(_SIDES), strict=True):
        # A mirrored right eye is a left one.
        save_photograph(folder / _INNER / "Testing Images" / f"937_{side}.jpg", cv2.flip(first.images[fellow], 1))
    _write_tables(folder, patients)


def _patients(eyes: FakeEyes) -> list[_Patient]:
    patients: dict[str, _Patient] = {}
    classes = tuple(label for label in ODIR_LABELS.values() if label in PHANTOM_CLASSES)
    for row, image, _ in eyes.photographs(classes):
        new = _Patient(len(patients), int(row["age_years"]), str(row["sex"]).capitalize(), {}, {})
        patient = patients.setdefault(str(row["patient_id"]), new)
        patient.images[str(row["eye"])] = image
        patient.keywords[str(row["eye"])] = _KEYWORDS.get(row["label"]) or _GRADED[int(row["grade"])]
    return list(patients.values())


def _exchange_right_eyes(patients: list[_Patient]) -> None:
    """Between the first patient, who is healthy, and the first with retinopathy: labels of patients mislead for both."""
    other = next(patient for patient in patients if "retinopathy" in patient.keywords["right"])
    for of_eye in ("images", "keywords"):
        here, there = getattr(patients[0], of_eye), getattr(other, of_eye)
        here["right"], there["right"] = there["right"], here["right"]


def _special(model: _Patient, size: int) -> list[_Patient]:
    """Patients whose pictures or keywords are not like the others', and one of the known bad eyes."""
    healthy, ill = model.images["left"], model.images["right"]
    wide = 4 * size // 3
    front = {
        "left": render_not_fundus("anterior_segment", 0, size, wide),
        "right": render_not_fundus("lens_cap", 0, size, wide),
    }
    return [
        _Patient(1706, 61, "Male", front, {"left": "anterior segment image", "right": "no fundus image"}),
        _Patient(2174, 56, "Female", {"left": healthy, "right": ill}, {"left": "normal fundus", "right": "cataract"}),
        _Patient(3935, 1, "Female", {"left": healthy // 4, "right": ill},
                 {"left": "low image quality", "right": "low image quality,diabetic retinopathy"}),
    ]  # fmt: skip


def _write_tables(folder: Path, patients: list[_Patient]) -> None:
    rows = [patient.row() for patient in patients]
    path = folder / _INNER / "data.xlsx"
    try:
        pd.DataFrame(rows).to_excel(path, index=False)
    except ImportError as error:
        raise UserError("writing .xlsx needs openpyxl", path=path, hint="pip install 'fundus-synth[sheets]'") from error
    by_eye = []
    for side in reversed(_SIDES):
        for patient, row in zip(patients[1:], rows[1:], strict=True):
            code = next(iter(odir_codes(split_keywords(patient.keywords[side]))), "O")
            name = f"{patient.number}_{side}.jpg"
            by_eye.append({**row, "filepath": f"../input/{_INNER}/Training Images/{name}", "labels": f"['{code}']",
                           "target": str([int(c == code) for c in ODIR_CODES]), "filename": name})  # fmt: skip
    write_text(folder / "full_df.csv", pd.DataFrame(by_eye).to_csv(index=False))
