"""Fake Messidor-2: `IMAGES/`, the list of pairs `messidor-2.csv` and the grades `messidor_data.csv`.

Quirks: pairs separated by semicolons; pictures named like Messidor's among them; suffixes that differ between tables and
files in kind (.tif for .png) and in case (.jpg for .JPG); one picture that is not gradable and has an empty grade; one
picture without a pair, one without a grade, and one row without its picture.
"""

from __future__ import annotations

from pathlib import Path

from ...runtime.files import write_text
from .base import FakeEyes, save_photograph


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    pairs, graded = [], []
    pair: dict[str, str] = {}
    for i, (row, image, _) in enumerate(eyes.photographs()):
        of_messidor = i % 4 < 2
        stem = f"20051020_{43808 + 49 * i}_0100_PP" if of_messidor else f"IM{4176 + 7 * i:06d}"
        file_suffix, pair_suffix, grade_suffix = (".png", ".tif", ".png") if of_messidor else (".JPG", ".JPG", ".jpg")
        dark = i == 1
        save_photograph(folder / "IMAGES" / (stem + file_suffix), image // 5 if dark else image)
        grade = int(row["grade"])
        cells = ("", "", 0) if dark else (grade, int(grade >= 3), 1)
        if i != 2:
            graded.append((stem + grade_suffix, *cells))
        pair[str(row["eye"])] = stem + pair_suffix
        if len(pair) == 2:
            pairs.append(pair)
            pair = {}
    last = pairs[-1]
    pairs[-1] = {"left": last["left"], "right": ""}
    graded.append(("20051020_99999_0100_PP.png", 0, 0, 1))
    write_text(folder / "messidor-2.csv", _csv(";", [("left", "right"), *((p["left"], p["right"]) for p in pairs)]))
    header = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    write_text(folder / "messidor_data.csv", _csv(",", [header, *graded]))


def _csv(separator: str, rows: list[tuple]) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)
