"""What every reader returns, and what all of them use: the files of a folder, rows checked against the schema."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ..image_file import is_image_name
from ..schema import MASKS, validate_table


@dataclass
class Collection:
    """A collection as found on disk, in the words of the metadata schema.

    Attributes:
        name: short name, the prefix of its patient ids.
        rows: one dict an image: "path" (the camera file), "camera_file" (the same below the collection's folder),
            optionally "masks" ({kind: path}, pixels of the camera file), and columns of the schema.
        ignored: files and rows left out, with the reason.
        info: goes into dataset.json: "source", "licence" where known, "recognised" (what gave the format away) and
            "notes", a list of sentences that a user must know (e.g. that a scale of grades is not the usual one).
        root: the folder that `camera_file` is relative to.
    """

    name: str
    root: Path
    rows: list[dict]
    ignored: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)


@dataclass(frozen=True)
class ReaderOptions:
    """Choices of a user that only some readers use.

    Attributes:
        table: the table, when it does not lie where the collection has it.
        image_column, label_column, patient_column: names in that table (csv, sankara).
        columns: the columns worth keeping of a table that has hundreds (csv, sankara); empty = the reader's default.
        pattern: regular expression with named groups that file names are parsed with (sankara).
        anemia: which definition makes the label (sankara): "who", "moderate" or "approximate".
        quality_table: gradability of EyePACS' pictures: EyeQ's CSV or a space-separated list.
        part: which part of a collection published in parts (idrid): "segmentation", "grading" or "localisation".
    """

    table: Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    patient_column: str | None = None
    columns: tuple[str, ...] = ()
    pattern: str | None = None
    anemia: str = "who"
    quality_table: Path | None = None
    part: str | None = None


NOT_OF_THE_TABLE = ("path", "masks")
"""Keys of a row that are not columns."""

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
ARCHIVE_INSIDE = "an archive inside; unpack it, or read it by itself"

_listings: ContextVar[dict[tuple[str, str], list[Path]] | None] = ContextVar("_listings", default=None)


@dataclass(frozen=True)
class Reader:
    """One format: `detect` says what it recognised ("" when it did not), `read` reads it."""

    name: str
    detect: Callable[[Path], str]
    read: Callable[[Path, ReaderOptions], Collection]


def read_collection(src: Path | str, format: str = "auto", options: ReaderOptions | None = None) -> Collection:
    """Read the collection in `src`, or in the one folder below it that is what was downloaded.

    Args:
        src: folder as downloaded, or a table for format "csv"; for a .zip see `archive.opened_source`.
        format: a reader's name, or "auto" to recognise it.

    Raises:
        UserError: no such folder, an unknown or unrecognised format, no images, or bad rows.
    """
    from .recognition import find_reader, left_outside

    src, options = Path(src), options or ReaderOptions()
    with listed_once():
        reader, folder, recognised = find_reader(src, format, options)
        collection = reader.read(folder, options)
        collection.ignored += left_outside(src, folder, {name for name, _ in collection.ignored})
    if not collection.rows:
        raise UserError(f"read as {reader.name}: {_nothing_found(collection)}", path=src)
    collection.info.setdefault("recognised", recognised)
    collection.info["format"] = reader.name
    return collection


def _nothing_found(collection: Collection) -> str:
    if not collection.ignored:
        return "no images found"
    first, reason = collection.ignored[0]
    return f"no images found; {len(collection.ignored)} left out, the first, {first}: {reason}"


@contextmanager
def listed_once() -> Iterator[None]:
    """Within, a folder is gone through once, however many readers look at its files."""
    token = _listings.set({})
    try:
        yield
    finally:
        _listings.reset(token)


def list_files(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted; hidden files and folders and __MACOSX are left out.

    Raises:
        UserError: a folder that may not be read.
    """
    return _remembered("files", folder, _list_files)


def list_images(folder: Path) -> list[Path]:
    """Every image below `folder`, sorted, hidden files and mask folders left out; errors as in `list_files`."""
    return _remembered("images", folder, _list_images)


def _remembered(kind: str, folder: Path, make: Callable[[Path], list[Path]]) -> list[Path]:
    known, key = _listings.get(), (kind, str(folder))
    if known is None:
        return make(folder)
    if key not in known:
        known[key] = make(folder)
    return list(known[key])


def _list_files(folder: Path) -> list[Path]:
    known = _listings.get() or {}
    above = next((known["files", str(parent)] for parent in folder.parents if ("files", str(parent)) in known), None)
    if above is not None:
        prefix = _prefix(folder)
        return [path for path in above if str(path).startswith(prefix)]
    try:
        return [Path(path) for path in _walk(str(folder))]
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=error.filename or folder) from error


def _list_images(folder: Path) -> list[Path]:
    start, masks = len(_prefix(folder)), f"{os.sep}{MASKS}{os.sep}"
    found = (path for path in list_files(folder) if is_image_name(path))
    return [path for path in found if masks not in f"{os.sep}{str(path)[start:]}"]


def _prefix(folder: Path) -> str:
    """What the paths of a folder's files begin with: nothing for the current folder."""
    return "" if str(folder) == "." else os.path.join(folder, "")


def _walk(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)
        elif entry.is_file():
            yield entry.path


def checked_rows(rows: list[dict], table_path: Path, numbers: list[int] | None = None) -> list[dict]:
    """Check rows against the schema, with the row numbers of the user's own table in the errors.

    Args:
        rows: dicts with "camera_file" and columns of the schema; every value is checked.
        table_path: the file named in errors.
        numbers: each row's number in that file as a spreadsheet counts; default 2, 3, ...
    """
    frame = (
        pd.DataFrame([{k: v for k, v in row.items() if k not in NOT_OF_THE_TABLE} for row in rows])
        .fillna("")
        .astype(str)
    )
    frame["file_name"] = [f"images/{i}" for i in range(len(frame))]
    if numbers is not None:
        # validate_table reports index + 2.
        frame.index = pd.Index(numbers) - 2
    validate_table(frame, table_path)
    return rows
