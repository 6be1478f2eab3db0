"""Fake IDRiD: parts A (segmentation), B (disease grading) and C (localisation) as in the three archives.

Quirks: the same eyes in all parts under other numbers; two digits in A, three in B and C; B and C begin again at 001 in
the testing set; masks are palette pictures with red for index 1, and an absent lesion has no file; B's table has a space
at the end of "Risk of macular edema " and empty columns; C's tables have 100 blank rows at the end and different spaces
in the names of x and y.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...runtime.files import make_folder, write_text
from ..readers.idrid import MASK_KINDS
from .base import FakeEyes, save_photograph

_SETS = {"Training": "a. Training Set", "Testing": "b. Testing Set"}
_MASK_FOLDERS = {
    "MA": "1. Microaneurysms", "HE": "2. Haemorrhages", "EX": "3. Hard Exudates", "SE": "4. Soft Exudates", "OD": "5. Optic Disc",
}  # fmt: skip
_BLANK_ROWS = 100


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`: of every three eyes one is in the testing set."""
    taken = [(row, image, masks) for row, image, masks in eyes.photographs()]
    sets = {
        "Training": [eye for i, eye in enumerate(taken) if i % 3 != 2],
        "Testing": [eye for i, eye in enumerate(taken) if i % 3 == 2],
    }
    _write_segmentation(folder / "A. Segmentation", sets)
    _write_grading(folder / "B. Disease Grading", sets)
    _write_localisation(folder / "C. Localization", sets)


def _write_segmentation(folder: Path, sets: dict[str, list[tuple]]) -> None:
    """Eyes with retinopathy only; the numbers run on from the training set to the testing set."""
    number = 0
    for name, eyes in sets.items():
        for row, image, masks in eyes:
            if int(row["grade"]) == 0:
                continue
            number += 1
            stem = f"IDRiD_{number:02d}"
            save_photograph(folder / "1. Original Images" / _SETS[name] / f"{stem}.jpg", image)
            for code, kind in MASK_KINDS.items():
                mask = masks.get(kind, np.zeros(image.shape[:2], np.uint8)) > 0
                if mask.any():
                    below = folder / "2. All Segmentation Groundtruths" / _SETS[name] / _MASK_FOLDERS[code]
                    _save_palette_mask(below / f"{stem}_{code}.tif", mask)


def _save_palette_mask(path: Path, mask: np.ndarray) -> None:
    make_folder(path.parent)
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path)


def _write_grading(folder: Path, sets: dict[str, list[tuple]]) -> None:
    for letter, (name, eyes) in zip("ab", sets.items(), strict=True):
        lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,,,,,,,"]
        # Another order than in A, as if other people had numbered them.
        for number, (row, image, _) in enumerate(reversed(eyes), start=1):
            stem = f"IDRiD_{number:03d}"
            save_photograph(folder / "1. Original Images" / _SETS[name] / f"{stem}.jpg", image)
            lines.append(f"{stem},{row['grade']},{max(0, int(row['grade']) - 2)},,,,,,,,,")
        table = folder / "2. Groundtruths" / f"{letter}. IDRiD_Disease Grading_{name} Labels.csv"
        write_text(table, "\n".join(lines) + "\n")


def _write_localisation(folder: Path, sets: dict[str, list[tuple]]) -> None:
    for letter, (name, eyes) in zip("ab", sets.items(), strict=True):
        header = "Image No,X- Coordinate,Y - Coordinate,,,,,,"
        lines: dict[str, list[str]] = {"disc": [header], "fovea": [header]}
        for number, (row, image, _) in enumerate(eyes[1:] + eyes[:1], start=1):
            stem = f"IDRiD_{number:03d}"
            save_photograph(folder / "1. Original Images" / _SETS[name] / f"{stem}.jpg", image)
            for landmark, rows in lines.items():
                # Fractions of the width, y too.
                x, y = (round(float(row[f"{landmark}_{axis}"]) * image.shape[1]) for axis in "xy")
                rows.append(f"{stem},{x},{y},,,,,,")
        truth = folder / "2. Groundtruths"
        tables = {
            "disc": truth / "1. Optic Disc Center Location" / f"{letter}. IDRiD_OD_Center_{name} Set_Markups.csv",
            "fovea": truth / "2. Fovea Center Location" / f"IDRiD_Fovea_Center_{name} Set_Markups.csv",
        }
        for landmark, rows in lines.items():
            write_text(tables[landmark], "\n".join(rows + [",,,,,,,,"] * _BLANK_ROWS) + "\n")
