"""What is to be done with a collection: one task a camera file, each image with a name of its own."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from ..data.readers import Collection
from ..data.readers.base import NOT_OF_THE_TABLE
from .camera_file import Task


def tasks_of(collection: Collection, suffix: str) -> list[Task]:
    """The files in the collection's order, each with its own file name that ends in `suffix`."""
    masks = collection.root / "masks"
    kinds = sorted(p.name for p in masks.iterdir() if p.is_dir()) if masks.is_dir() else []
    tasks, taken = [], set()
    for row in collection.rows:
        camera_file = PurePosixPath(row["camera_file"])
        file_name = f"images/{_free_stem(camera_file, taken)}.{suffix}"
        below = camera_file.relative_to("images") if camera_file.parts[0] == "images" else camera_file
        found = {kind: path for kind in kinds if (path := masks / kind / below.with_suffix(".png")).is_file()}
        found |= row.get("masks", {})
        tasks.append(Task(row["path"], file_name, found, columns_of(row)))
    return tasks


def columns_of(row: dict) -> dict:
    """What of a reader's row goes into the table."""
    return {k: v for k, v in row.items() if k not in NOT_OF_THE_TABLE}


def _free_stem(camera_file: PurePosixPath, taken: set[str]) -> str:
    """The file's own stem; with its folders before it, then with a number, when that is taken."""
    stem = _safe(camera_file.stem)
    candidates = [stem, _safe("-".join([*camera_file.parts[:-1], camera_file.stem]))]
    number = 2
    # Names that differ only in case are one file on some systems.
    while (candidate := candidates.pop(0)).casefold() in taken:
        if not candidates:
            candidates.append(f"{stem}-{number}")
            number += 1
    taken.add(candidate.casefold())
    return candidate


def _safe(name: str) -> str:
    """The name with letters of any script and spaces kept; what some file system refuses becomes "_"."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", unicodedata.normalize("NFC", name)).strip(". ") or "image"
