"""Fake collection of an anaemia study: `[Id]_[image]_[sex]_[Hb].jpg`, and a table of 669 columns keyed by patient.

Quirks: some Ids contain an underscore; sex is 001 or 002; several pictures of an eye; photographs of the eye from outside,
in a folder and by a word in the name; five of the table's columns matter, in the clinic's own spelling; a patient of
the table without a picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.files import write_text
from ..phantom.external_eye import render_not_fundus
from .base import FakeEyes, save_photograph

_COLUMNS = 669
_FIVE = {"Gender": 17, "Age (years)": 18, "Sys_BP": 203, "Dia_BP": 204, "Hb (g/dL)": 411}


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    patients: dict[str, dict] = {}
    taken: dict[str, int] = {}
    for row, image, _ in eyes.photographs(("normal", "anemic")):
        new = {"id": ("{}" if len(patients) % 2 else "SN_{}").format(142 + len(patients)), **row}
        patient = patients.setdefault(str(row["patient_id"]), new)
        rest = f"{('001', '002')[row['sex'] == 'female']}_{row['hemoglobin_g_dl']}"
        for again in range(1 + (row["eye"] == "left")):
            number = taken[patient["id"]] = taken.get(patient["id"], -1) + 1
            # A second shot a moment later, the light a little weaker.
            save_photograph(
                folder / f"{patient['id']}_{number:02d}_{rest}.jpg", (image * (1 - 0.06 * again)).astype(np.uint8)
            )
    first = next(iter(patients.values()))
    for name in (f"external/{first['id']}_90_{rest}.jpg", f"{first['id']}_external_{rest}.jpg"):
        save_photograph(folder / name, render_not_fundus("external_eye", len(name), eyes.size, 4 * eyes.size // 3))
    write_text(folder / "patients.csv", _table([*patients.values(), {**first, "id": "999"}]))


def _table(patients: list[dict]) -> str:
    header = [f"FIELD_{i:03d}" for i in range(_COLUMNS)]
    header[0] = "Patient ID"
    for name, place in _FIVE.items():
        header[place] = name
    lines = [header]
    for number, patient in enumerate(patients):
        cells = [str((number * place) % 7) for place in range(_COLUMNS)]
        five = (
            patient["sex"][0].upper(),
            *(patient[c] for c in ("age_years", "systolic_mmhg", "diastolic_mmhg", "hemoglobin_g_dl")),
        )
        cells[0] = patient["id"]
        for place, value in zip(_FIVE.values(), five, strict=True):
            cells[place] = str(value)
        lines.append(cells)
    return "".join(",".join(line) + "\n" for line in lines)
