"""Fake Messidor: `BaseXX/*.tif` and an annotation sheet each, Excel's old .xls, as on the publishers' page.

Quirks: sheets named both `Annotation_Base11.xls` and `Annotation Base 33.xls`; headers in English and in French, with
spaces at the end; grades 0..3, not ICDR, stored as decimal numbers; the sheets grade the pictures of the errata wrongly,
and Base33 holds pictures a second time under another name; one row without its picture and one picture without a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.errors import UserError
from ..readers.messidor import ERRATA_DUPLICATES, ERRATA_GRADES
from .base import FakeEyes, save_photograph

_SITES = {"1": "Service Ophtalmologie Lariboisière", "2": "LaTIM - CHU de BREST", "3": "CHU de St Etienne"}
_HEADER = ("Image name", "Ophthalmologic department", "Retinopathy grade", "Risk of macular edema ")
_FRENCH = ("Nom de l'image", "Service d'ophtalmologie ", "Grade de la rétinopathie", "Risque d'oedème maculaire")
# Picture -> folder and the grade that the sheet gives it; the errata say otherwise.
_WRONG = {
    "20051020_63045_0100_PP": ("Base11", 3),
    "20051020_64007_0100_PP": ("Base11", 1),
    "20051020_63936_0100_PP": ("Base11", 3),
    "20060523_48477_0100_PP": ("Base13", 2),
}
_BASES = ("Base22", "Base33", "Base12")
_DUPLICATES = 2


def messidor_grade(icdr: int) -> int:
    """Messidor's 0..3 of an ICDR grade: it has one grade for severe and proliferative."""
    return min(icdr, 3)


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    sheets: dict[str, list[tuple]] = {base: [] for base in ("Base11", "Base13", *_BASES)}
    duplicates = sorted(ERRATA_DUPLICATES)[:_DUPLICATES]
    wrong = dict(_WRONG)
    for i, (row, image, _) in enumerate(eyes.photographs()):
        grade = messidor_grade(int(row["grade"]))
        name = next((n for n in wrong if ERRATA_GRADES[n] == grade), None)
        base, published = wrong.pop(name) if name else (_BASES[i % len(_BASES)], grade)
        name = name or f"20051201_{40000 + 37 * i}_0{_suffix(base)}00_PP"
        risk = max(0, grade - 1)
        _add(folder, sheets, base, name, image, published, risk)
        if base == "Base33" and duplicates:
            _add(folder, sheets, base, duplicates.pop(), image, grade, risk)
    sheets["Base12"].append(("20051201_39999_0100_PP.tif", _SITES["1"], 0.0, 0.0))
    save_photograph(folder / "Base13" / "20051201_39998_0100_PP.tif", image)
    for base, rows in ((base, rows) for base, rows in sheets.items() if rows):
        number = base.removeprefix("Base")
        name = f"Annotation Base {number}.xls" if base == "Base33" else f"Annotation_{base}.xls"
        _write_xls(folder / name, _FRENCH if base == "Base22" else _HEADER, rows)


def _suffix(base: str) -> int:
    return {"1": 1, "2": 2, "3": 4}[base[4]]


def _add(
    folder: Path, sheets: dict[str, list[tuple]], base: str, name: str, image: np.ndarray, grade: int, risk: int
) -> None:
    save_photograph(folder / base / f"{name}.tif", image)
    sheets[base].append((f"{name}.tif", _SITES[base[4]], float(grade), float(risk)))


def _write_xls(path: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    try:
        import xlwt
    except ImportError as error:
        raise UserError("writing .xls needs xlwt", path=path, hint="pip install 'fundus-synth[sheets]'") from error
    book = xlwt.Workbook(encoding="utf-8")
    sheet = book.add_sheet("Feuil1")
    for y, cells in enumerate([header, *rows]):
        for x, cell in enumerate(cells):
            sheet.write(y, x, cell)
    book.save(str(path))
