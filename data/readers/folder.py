"""`folder`: class sub-folders, with or without train/val/test above them, or just images."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import UserError
from .base import Collection, Reader, ReaderOptions, list_images

_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
                "testing": "test"}  # fmt: skip


def detect(src: Path) -> str:
    """Recognises any folder with images in it."""
    return "images in folders" if src.is_dir() and list_images(src) else ""


def read(src: Path, options: ReaderOptions) -> Collection:
    """Label = name of the sub-folder; a first level called train, val or test is the split.

    Raises:
        UserError: `src` is not a folder.
    """
    if not src.is_dir():
        raise UserError("is not a folder", path=src)
    rows = []
    for path in list_images(src):
        below = path.relative_to(src)
        row = {"path": path, "camera_file": below.as_posix(), "source": src.resolve().name}
        folders = [part for part in below.parts[:-1] if part != "images"]
        if folders and folders[0].lower() in _SPLIT_NAMES:
            row["split"] = _SPLIT_NAMES[folders.pop(0).lower()]
        if folders:
            row["label"] = folders[0].strip().lower()
        rows.append(row)
    return Collection(src.resolve().name, src, rows, _others(src), {"source": "image folder"})


def _others(src: Path) -> list[tuple[str, str]]:
    images = set(list_images(src))
    files = (p for p in sorted(src.rglob("*")) if p.is_file() and p not in images)
    reasons = {".csv": "a table of other images too; use it with --format csv"}
    return [(p.relative_to(src).as_posix(), reasons.get(p.suffix.lower(), "not an image")) for p in files]


READER = Reader("folder", detect, read)
