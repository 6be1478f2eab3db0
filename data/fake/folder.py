"""`folder`: pictures sorted by hand into class folders, as they lie in shared drives.

Quirks: a wrapping folder of the same name, splits spelt in several ways above the classes and, for one class, below it;
class names and suffixes in mixed case; spaces and accents in names; a text file, a sheet's lock file and the hidden files of
other systems among the pictures; the same file name in two folders.
"""

from __future__ import annotations

from pathlib import Path

from .base import FakeEyes, save_photograph

_SPLITS = ("Train", "validation", "TEST")
_CLASSES = {"normal": "Normal", "diabetes": "diabetes", "anemic": "Anemic"}
_SUFFIXES = (".JPG", ".png", ".jpeg", ".PNG", ".jpg")


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write `<folder>/photos/<split>/<Class>/...`; both eyes of a patient are in one split."""
    top = folder / "photos"
    for index, (row, image, _) in enumerate(eyes.photographs(tuple(_CLASSES))):
        patient = index // 2
        split, label = _SPLITS[patient % len(_SPLITS)], _CLASSES[str(row["label"])]
        where = top / label / split if row["label"] == "anemic" else top / split / label
        name = f"Auge é {patient // len(_SPLITS)} {row['eye']}{_SUFFIXES[index % len(_SUFFIXES)]}"
        save_photograph(where / name, image)
    (top / "read me.txt").write_text("Sorted by Dr. Example.\n", "utf-8")
    (top / ".DS_Store").write_bytes(b"\0")
    (top / "Train" / "Thumbs.db").write_bytes(b"\0")
