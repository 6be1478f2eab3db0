"""`folder`: class sub-folders, with train/val/test above or below them or not at all, or just images."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePath
from statistics import median

from ...runtime.errors import UserError
from ..image_file import is_image_name
from ..schema import MASKS
from .base import ARCHIVE_INSIDE, ARCHIVES, Collection, Reader, ReaderOptions, list_files, list_images

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
               "test": "test", "testing": "test"}  # fmt: skip
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".jsonl")
_MANY_CLASSES = 10


def detect(src: Path) -> str:
    """Recognises any folder with images in it."""
    return "images in folders" if src.is_dir() and list_images(src) else ""


def read(src: Path, options: ReaderOptions) -> Collection:
    """Label = name of the class folder, lower case; a folder called train, val or test above or below it is the split.

    Levels that all images share (photos/photos/...) are passed over as long as classes are left below them; a folder
    `images` means nothing. Images that lie in no class folder have no label.

    Raises:
        UserError: `src` is not a folder.
    """
    if not src.is_dir():
        raise UserError("is not a folder", path=src)
    name = src.resolve().name
    photographs, others = [], []
    for path in list_files(src):
        below = path.relative_to(src)
        if MASKS not in below.parts[:-1]:
            (photographs if is_image_name(path) else others).append(below)
    folders = [tuple(part for part in below.parts[:-1] if part != "images") for below in photographs]
    shared = _shared_levels(folders)
    rows = []
    for below, parts in zip(photographs, folders, strict=True):
        split, label = _split_and_label(parts[len(shared) :])
        row = {"path": src / below, "camera_file": below.as_posix(), "source": name, "split": split, "label": label}
        rows.append({key: value for key, value in row.items() if value})
    info = {"source": "image folder", "recognised": _recognised(rows, shared), "notes": _notes(rows, others)}
    return Collection(name, src, rows, [(p.as_posix(), _reason(p)) for p in others], info)


def _shared_levels(folders: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders that lie around all images, as far as every image keeps a class below them."""
    shared: list[str] = []
    while folders and all(_split_and_label(parts[1:])[1] for parts in folders):
        first = {parts[0] for parts in folders}
        if len(first) > 1 or folders[0][0].lower() in SPLIT_NAMES:
            break
        shared += first
        folders = [parts[1:] for parts in folders]
    return tuple(shared)


def _split_and_label(folders: tuple[str, ...]) -> tuple[str, str]:
    """(split, label), "" where there is none: the class is the first folder, the split the one before or after it."""
    split = next((name for name in folders[:2] if name.lower() in SPLIT_NAMES), None)
    classes = [name for name in folders[:2] if name is not split]
    return SPLIT_NAMES[split.lower()] if split else "", classes[0].strip().lower() if classes else ""


def _recognised(rows: list[dict], shared: tuple[str, ...]) -> str:
    classes = {row["label"] for row in rows if "label" in row}
    splits = [name for name in ("train", "val", "test") if any(row.get("split") == name for row in rows)]
    text = f"{len(classes)} class folder{'s' * (len(classes) != 1)}" if classes else "images without class folders"
    text += f" in {', '.join(splits)}" if splits else ""
    return text + (f", below {'/'.join(shared)}" if shared else "")


def _notes(rows: list[dict], others: list[PurePath]) -> list[str]:
    notes = []
    sizes = Counter(row["label"] for row in rows if "label" in row)
    if len(sizes) >= _MANY_CLASSES and median(sizes.values()) <= 2:
        notes.append(
            f"The {len(sizes)} folders were taken for classes, but most hold one or two pictures, as if each were a "
            "patient. If so, name images, labels and patients in a table and read it with --format csv."
        )
    without = len(rows) - sizes.total()
    if sizes and without:
        notes.append(f"{without} pictures lie in no class folder and have no label.")
    tables = [p.as_posix() for p in others if p.suffix.lower() in _TABLES]
    if tables:
        notes.append(f"{tables[0]} was not used: it does not go with just these pictures; --format csv reads it.")
    return notes


def _reason(path: PurePath) -> str:
    if path.suffix.lower() in ARCHIVES:
        return ARCHIVE_INSIDE
    return "a table of other images too; use it with --format csv" if path.suffix.lower() in _TABLES else "not an image"


READER = Reader("folder", detect, read)
