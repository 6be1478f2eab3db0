"""Which reader a folder is for, and in which of its folders the collection lies: downloads often add a level or two."""

from __future__ import annotations

from pathlib import Path

from ...runtime.errors import UserError
from .base import ARCHIVE_INSIDE, ARCHIVES, Reader, ReaderOptions, list_files, list_images

_LEVELS = 3  # archive/ODIR-5K/ODIR-5K is the deepest of the usual mirrors
_MOST_FOLDERS = 50  # more than that are classes or patients, not a download's extra levels


def find_reader(src: Path, format: str, options: ReaderOptions) -> tuple[Reader, Path, str]:
    """The reader for `src`, the folder it is to read, and what gave the format away ("" when nothing did).

    Raises:
        UserError: no such folder, an archive, an unknown format, nothing recognised, or several collections.
    """
    from . import READERS

    _check_source(src)
    if format == "auto":
        return _recognise(src, list(READERS.values()), options)
    if format not in READERS:
        raise UserError(f"--format {format} is not known", hint=f"Use auto, {', '.join(READERS)}.")
    reader = READERS[format]
    recognised = options.table.name if options.table else _detect(reader, src)
    if not recognised and src.is_dir():
        below = _below(src, [reader])
        if len(below) == 1:
            return _said_where(src, below[0])
    return reader, src, recognised


def left_outside(src: Path, folder: Path, known: set[str]) -> list[tuple[str, str]]:
    """(file, reason) of pictures beside the folder that was read and of archives, which nobody looks into."""
    if not src.is_dir():
        return []
    ignored = []
    if folder != src:
        inside = set(list_images(folder))
        reason = f"outside {folder.relative_to(src).as_posix()}, which was read"
        ignored += [(p.relative_to(src).as_posix(), reason) for p in list_images(src) if p not in inside]
    archives = [p for p in list_files(src) if p.suffix.lower() in ARCHIVES]
    named = ((p.relative_to(src).as_posix(), p.relative_to(folder).as_posix() if folder in p.parents else "")
             for p in archives)  # fmt: skip
    return ignored + [(name, ARCHIVE_INSIDE) for name, below in named if not {name, below} & known]


def _check_source(src: Path) -> None:
    if not src.exists():
        raise UserError("no such folder", path=src)
    if src.is_file() and src.suffix.lower() in ARCHIVES:
        raise UserError("is an archive, not a folder", path=src, hint="Unpack it first.")
    if src.is_dir() and not any(src.iterdir()):
        raise UserError("is empty; expected fundus photographs", path=src)


def _recognise(src: Path, readers: list[Reader], options: ReaderOptions) -> tuple[Reader, Path, str]:
    *particular, anything = readers
    found = _first_match(src, particular) or (_the_one_below(src, particular) if src.is_dir() else None)
    if found:
        return found
    if options.table is not None:
        return next(reader for reader in particular if reader.name == "csv"), src, options.table.name
    if recognised := _detect(anything, src):
        return anything, src, recognised
    if src.is_file():
        raise UserError("is not a folder or a table", path=src)
    archives = [p.name for p in list_files(src) if p.suffix.lower() in ARCHIVES]
    hint = f"Unpack {archives[0]} first." if archives else None
    raise UserError("no images found; expected fundus photographs", path=src, hint=hint)


def _the_one_below(src: Path, particular: list[Reader]) -> tuple[Reader, Path, str] | None:
    found = _below(src, particular)
    collections = [f for f in found if f[0].name != "csv"]
    if len(collections) > 1:
        named = ", ".join(f"{r.name} in {folder.relative_to(src).as_posix()}" for r, folder, _ in collections)
        raise UserError(f"holds several collections: {named}", path=src, hint="Read them one by one.")
    if collections:
        return _said_where(src, collections[0])
    # Any table is a candidate for csv: it may not speak for pictures that lie elsewhere.
    if len(found) == 1 and len(list_images(found[0][1])) == len(list_images(src)):
        return _said_where(src, found[0])
    return None


def _below(src: Path, readers: list[Reader]) -> list[tuple[Reader, Path, str]]:
    """What is recognised on the first level below `src` where anything is."""
    level = [src]
    for _ in range(_LEVELS):
        level = [sub for folder in level for sub in _sub_folders(folder)]
        if len(level) > _MOST_FOLDERS:
            break
        found = [match for folder in level if (match := _first_match(folder, readers))]
        if found:
            return found
    return []


def _first_match(folder: Path, readers: list[Reader]) -> tuple[Reader, Path, str] | None:
    for reader in readers:
        if recognised := _detect(reader, folder):
            return reader, folder, recognised
    return None


def _detect(reader: Reader, src: Path) -> str:
    # Collections are folders; a file can only be a table.
    return reader.detect(src) if src.is_dir() or reader.name == "csv" else ""


def _sub_folders(folder: Path) -> list[Path]:
    left_out = ("__MACOSX", "masks", "images")
    return sorted(p for p in folder.iterdir() if p.is_dir() and p.name not in left_out and p.name[0] != ".")


def _said_where(src: Path, match: tuple[Reader, Path, str]) -> tuple[Reader, Path, str]:
    reader, folder, recognised = match
    return reader, folder, f"{recognised} in {folder.relative_to(src).as_posix()}"
