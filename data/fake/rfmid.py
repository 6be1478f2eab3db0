"""Fake RFMiD: `Training_Set/Training_Set/Training/1.png` and a table beside it, likewise Evaluation_Set and Test_Set.

Quirks: every set begins again at 1; a byte order mark before the header; the evaluation set's files say Validation and
the test set's table Testing; MH is media haze (drawn as a veil), not the macular hole; eyes with several codes.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ...runtime.files import write_text
from ..phantom.cohort import PHANTOM_CLASSES
from ..readers.rfmid import CODES
from .base import FakeEyes, save_photograph

_SETS = {
    "train": ("Training_Set/Training_Set", "Training", "Training"),
    "val": ("Evaluation_Set/Evaluation_Set", "Validation", "Validation"),
    "test": ("Test_Set/Test_Set", "Test", "Testing"),
}
_OF_CLASS = {"diabetes": "DR", "amd": "ARMD", "myopia": "MYA", "glaucoma": "ODC"}
# Three of five eyes are for training, as in the real collection.
_TURNS = ("train", "val", "train", "test", "train")


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    classes = tuple(name for name in ("normal", *_OF_CLASS) if name in PHANTOM_CLASSES)
    tables: dict[str, list[str]] = {split: [",".join(["ID", "Disease_Risk", *CODES])] for split in _SETS}
    for i, (row, image, _) in enumerate(eyes.photographs(classes)):
        split = _TURNS[i % len(_TURNS)]
        codes = {_OF_CLASS[row["label"]]} if row["label"] in _OF_CLASS else set()
        if i % 4 == 1:
            image, codes = _haze(image), codes | {"MH"}
        cells = [len(tables[split]), int(bool(codes)), *(int(code in codes) for code in CODES)]
        below, pictures, _ = _SETS[split]
        save_photograph(folder / below / pictures / f"{cells[0]}.png", image)
        tables[split].append(",".join(map(str, cells)))
    for split, (below, _, name) in _SETS.items():
        write_text(folder / below / f"RFMiD_{name}_Labels.csv", "\ufeff" + "\n".join(tables[split]) + "\n")


def _haze(image: np.ndarray) -> np.ndarray:
    """The field behind hazy media: blurred, and a whitish veil over it."""
    lit = (image.max(axis=2, keepdims=True) > 15).astype(np.float32)
    blurred = cv2.GaussianBlur(image, (0, 0), image.shape[0] / 160).astype(np.float32)
    return np.clip(0.6 * blurred + 65 * lit, 0, 255).astype(np.uint8)
