"""What every reader returns, and the choice of the reader for a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..image_file import is_image_name
from ..schema import validate_table


@dataclass
class Collection:
    """A collection as found on disk, in the words of the metadata schema.

    Attributes:
        name: short name, the prefix of its patient ids.
        rows: one dict an image: "path" (the camera file), "camera_file" (the same below the collection's folder) and
            columns of the schema.
        ignored: files and rows left out, with the reason.
        info: goes into dataset.json (source, licence where known, what was found).
        root: the folder that `camera_file` is relative to.
    """

    name: str
    root: Path
    rows: list[dict]
    ignored: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ReaderOptions:
    """Choices of a user that only some readers use: the table and its columns, for `csv`."""

    table: Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None


@dataclass(frozen=True)
class Reader:
    """One format: `detect` says what it recognised ("" when it did not), `read` reads it."""

    name: str
    detect: Callable[[Path], str]
    read: Callable[[Path, ReaderOptions], Collection]


def read_collection(src: Path | str, format: str = "auto", options: ReaderOptions | None = None) -> Collection:
    """Read the collection in `src`.

    Args:
        src: folder as downloaded (or a CSV file for format "csv").
        format: a reader's name, or "auto" to recognise it.

    Raises:
        UserError: no such folder, an unknown or unrecognised format, no images, or bad rows.
    """
    from . import READERS

    src = Path(src)
    if not src.exists():
        raise UserError("no such folder", path=src)
    if src.is_dir() and not any(src.iterdir()):
        raise UserError("is empty; expected fundus photographs", path=src)
    if format == "auto":
        reader = next((r for r in READERS.values() if r.detect(src)), None)
        if reader is None:
            raise UserError("no images found; expected fundus photographs", path=src)
    elif format in READERS:
        reader = READERS[format]
    else:
        raise UserError(f"--format {format} is not known", hint=f"Use auto, {', '.join(READERS)}.")
    collection = reader.read(src, options or ReaderOptions())
    if not collection.rows:
        raise UserError(f"read as {reader.name}: no images found", path=src)
    collection.info.setdefault("format", reader.name)
    return collection


def list_images(folder: Path) -> list[Path]:
    """Every image below `folder`, sorted, hidden files and mask folders left out."""
    found = (p for p in folder.rglob("*") if is_image_name(p) and p.is_file())
    return sorted(p for p in found if not {"masks", "__MACOSX"} & set(p.relative_to(folder).parts[:-1]))


def checked_rows(rows: list[dict], table_path: Path, numbers: list[int] | None = None) -> list[dict]:
    """Check rows against the schema, with the row numbers of the user's own table in the errors.

    Args:
        rows: dicts with "camera_file" and columns of the schema; every value is checked.
        table_path: the file named in errors.
        numbers: each row's number in that file as a spreadsheet counts; default 2, 3, ...
    """
    frame = pd.DataFrame([{k: v for k, v in row.items() if k != "path"} for row in rows]).fillna("").astype(str)
    frame["file_name"] = [f"images/{i}" for i in range(len(frame))]
    if numbers is not None:
        # validate_table reports index + 2.
        frame.index = pd.Index(numbers) - 2
    validate_table(frame, table_path)
    return rows
