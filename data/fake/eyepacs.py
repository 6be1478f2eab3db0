"""Fake EyePACS of Kaggle's competition of 2015: `train/`, `test/` and a table each, with both gradings of quality.

Quirks: the patient and the eye are in the picture's name; the test set's grades came later, as retinopathy_solution.csv
with a column Usage; EyeQ names files with their suffix, after a column without a name, and covers some of the pictures;
the list of Voets et al. is separated by spaces; the cropped copy of a mirror, in a folder of its own twice over, with a
shortened table that has two columns of indices; a row without its picture and an augmented picture without a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...runtime.files import write_text
from .base import FakeEyes, save_photograph

_CROPPED = "resized_train_cropped/resized_train_cropped"


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    train, test, cropped, numbers = [], [], [], {}
    for row, image, _ in eyes.photographs():
        patient = numbers.setdefault(row["patient_id"], len(numbers))
        name = f"{10 + 3 * patient}_{row['eye']}"
        if patient % 3 == 2:
            save_photograph(folder / "test" / f"{name}.jpeg", image)
            test.append((name, row["grade"], ("Public", "Private")[patient // 3 % 2]))
            continue
        save_photograph(folder / "train" / f"{name}.jpeg", image)
        train.append((name, row["grade"]))
        if patient == 0:
            save_photograph(folder / _CROPPED / f"{name}.jpeg", _crop(image))
            cropped.append((len(cropped), len(train) - 1, name, row["grade"]))
            save_photograph(folder / "train" / f"{name}-600.jpeg", image[:, ::-1])
    train.append(("9_left", 0))
    _write(folder / "trainLabels.csv", ",", [("image", "level"), *train])
    _write(folder / "retinopathy_solution.csv", ",", [("image", "level", "Usage"), *test])
    _write(folder / "trainLabels_cropped.csv", ",", [("Unnamed: 0.1", "Unnamed: 0", "image", "level"), *cropped])
    for part, rows in (("train", train[: len(train) // 2]), ("test", test)):
        judged = [(i, f"{name}.jpeg", i % 3, grade) for i, (name, grade, *_) in enumerate(rows)]
        _write(folder / f"Label_EyeQ_{part}.csv", ",", [("", "image", "quality", "DR_grade"), *judged])
    listed = [(name, int(i % 4 != 3)) for i, (name, *_) in enumerate([*train, *test])]
    _write(folder / "eyepacs_gradability_grades.csv", " ", [("image_name", "gradability"), *listed])


def _crop(image: np.ndarray) -> np.ndarray:
    """The middle square, as the mirror cuts black borders away."""
    side = min(image.shape[:2])
    left = (image.shape[1] - side) // 2
    return np.ascontiguousarray(image[:side, left : left + side])


def _write(path: Path, separator: str, rows: list[tuple]) -> None:
    """The table; none when there are no rows below its header, as in very small collections."""
    if len(rows) > 1:
        write_text(path, "".join(separator.join(map(str, row)) + "\n" for row in rows))
