"""`csv`: a hospital's own table beside a folder of pictures, as a German Excel exports it.

Quirks: columns between semicolons, a byte order mark, line ends of Windows, an empty row between two wards and trailing empty
rows, the workbook lying beside its export, names without suffix and with backslashes, class names in upper case, columns that
nobody needs, a picture without a row.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from .base import FakeEyes, save_photograph

_HEADER = ("image", "Patient", "Diagnosis", "sex", "age_years", "hemoglobin_g_dl", "eye", "ward", "remark")


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write `befunde.csv`, `befunde.xlsx` and `bilder/<ward>/<number>.jpg`."""
    rows: list[tuple[str, ...]] = []
    for index, (row, image, _) in enumerate(eyes.photographs(("normal", "anemic"))):
        ward = "AB"[index // 2 % 2]
        name = f"bilder\\{ward}\\{index:04d}"
        save_photograph(folder / "bilder" / ward / f"{index:04d}.jpg", image)
        rows.append((
            name if index % 3 else f"{name}.jpg", str(1 + index // 2), str(row["label"]).upper(), str(row["sex"]),
            str(row["age_years"]), str(row["hemoglobin_g_dl"]), str(row["eye"]), ward, "a; b" if index == 1 else "",
        ))  # fmt: skip
    save_photograph(folder / "bilder" / "A" / "unlabelled.jpg", image)
    empty = ("",) * len(_HEADER)
    rows = [*rows[:2], empty, *rows[2:], empty, empty]
    table = pd.DataFrame(rows, columns=list(_HEADER))
    table.to_csv(folder / "befunde.csv", sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    table.to_excel(folder / "befunde.xlsx", index=False)
