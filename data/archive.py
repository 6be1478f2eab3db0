"""A collection in a .zip file: unpacked beside the result, safely, and removed when it has been read.

No entry of an archive is written outside its folder, nothing is a link, and an archive that would swell without measure is
refused before anything is written. A run that was killed continues where it was.
"""

from __future__ import annotations

import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ..runtime.errors import UserError
from ..runtime.files import atomic_path, make_folder, read_json, write_json
from ..runtime.progress import Progress
from .readers.base import ARCHIVE_INSIDE

MAX_FILES = 1_000_000
MAX_BYTES = 2 * 10**12
# Photographs hardly shrink in a .zip, tables twentyfold; beyond this it is no collection but a decompression bomb.
MAX_RATIO = 200
_RATIO_MATTERS_FROM = 10**8  # bytes; smaller archives harm nobody, whatever their ratio
_MARKER = ".archive.json"
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1
_SYMLINK = 0o120000
# What zipfile raises on damage, depending on where it is.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, IndexError)


@dataclass(frozen=True)
class Source:
    """A collection to be read.

    Attributes:
        folder: where it lies; for an archive the unpacked folder, called like the archive.
        left_out: (entry, reason) of what an archive holds and was not unpacked.
    """

    folder: Path
    left_out: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def opened_source(src: Path | str, scratch: Path | str, quiet: bool = True) -> Iterator[Source]:
    """The folder of a collection: `src` itself, or for a .zip what is in it, unpacked into `scratch` for as long as needed.

    Errors from within that name an unpacked file name it inside the archive. `scratch` is removed at the end and on a
    UserError; it stays when the run was killed or a worker died, so that the next run need not begin anew.

    Raises:
        UserError: not a .zip, damaged, encrypted, with entries that leave its folder, too large for the disk or beyond
            all measure; or `scratch` exists and is not ours.
    """
    src, scratch = Path(src), Path(scratch)
    if not (src.is_file() and src.suffix.lower() == ".zip"):
        yield Source(src)
        return
    folder = scratch / (src.stem.strip(". ") or "archive")
    try:
        yield Source(folder, _unpack(src, folder, quiet))
    except UserError as error:
        _remove(scratch)
        raise _named_in_archive(error, src, folder) from error
    _remove(scratch)


def _named_in_archive(error: UserError, src: Path, folder: Path) -> UserError:
    path = Path(error.path) if error.path is not None else None
    if path is not None and path.is_relative_to(folder):
        path = src / path.relative_to(folder)
    return UserError(error.message.replace(f"{folder}", f"{src}"), path=path, row=error.row, hint=error.hint)


def _remove(scratch: Path) -> None:
    if (scratch / _MARKER).is_file():
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack(src: Path, folder: Path, quiet: bool) -> list[tuple[str, str]]:
    """Write what is missing of the archive's files; returns what was left out."""
    scratch = folder.parent
    try:
        with zipfile.ZipFile(src) as archive:
            files, left_out = _files(archive, src)
            _refuse_bomb(list(files.values()), src)
            _begin(src, scratch)
            _refuse_full_disk(files, folder, src)
            with Progress(len(files), f"unpacking {src.name}", "files", quiet=quiet) as progress:
                for name, entry in files.items():
                    _write(archive, entry, folder / name, src)
                    progress.advance()
            make_folder(folder)
            return left_out
    except _DAMAGE as error:
        raise UserError(f"is not a .zip file or is damaged ({error})", path=src, hint="Download it again.") from error


def _begin(src: Path, scratch: Path) -> None:
    """An empty scratch folder with its marker, or the one that a killed run of the same archive left."""
    state = src.stat()
    archive = {"archive": str(src.resolve()), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}
    if scratch.exists():
        if not (scratch / _MARKER).is_file():
            raise UserError("is needed for unpacking, but is there already", path=scratch, hint="Move it away.")
        if read_json(scratch / _MARKER) == archive:
            return
        shutil.rmtree(scratch)
    write_json(scratch / _MARKER, archive)


def _files(archive: zipfile.ZipFile, src: Path) -> tuple[dict[str, zipfile.ZipInfo], list[tuple[str, str]]]:
    """{safe path: entry} of the files to unpack, and what is left out with the reason."""
    files, left_out = {}, []
    for entry in archive.infolist():
        name = _safe_name(_decoded(entry), src)
        parts = PurePosixPath(name).parts
        if entry.is_dir() or not parts or any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if entry.external_attr >> 16 & 0o170000 == _SYMLINK:
            left_out.append((name, "a link, not a file"))
        elif name.lower().endswith(".zip"):
            left_out.append((name, ARCHIVE_INSIDE))
        else:
            if entry.flag_bits & _ENCRYPTED:
                raise UserError("is encrypted", path=src, hint="Unpack it with its password, then read the folder.")
            # An archive that was added to holds a file twice; the later one counts.
            files[name] = entry
    return files, left_out


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The name as it was meant: many programs write UTF-8 without saying so, which zipfile reads as code page 437."""
    if entry.flag_bits & _UTF8_NAME:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _safe_name(name: str, src: Path) -> str:
    """The entry's path with forward slashes, "" for the folder itself.

    Raises:
        UserError: an absolute path, a drive, or one that climbs out.
    """
    name = name.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name) or "\0" in name:
        raise UserError(f"entry {name!r} would be written outside the folder", path=src,
                        hint="Such an archive is not to be trusted.")  # fmt: skip
    return "/".join(part for part in parts if part not in ("", "."))


def _refuse_bomb(entries: list[zipfile.ZipInfo], src: Path) -> None:
    size = sum(entry.file_size for entry in entries)
    if not entries:
        raise UserError("holds no files; expected fundus photographs", path=src)
    if len(entries) > MAX_FILES or size > MAX_BYTES:
        raise UserError(
            f"holds {len(entries)} files of {size / 1e9:.0f} GB; expected at most {MAX_FILES} files and "
            f"{MAX_BYTES / 1e9:.0f} GB", path=src, hint="Unpack it yourself, then read the folder.",
        )  # fmt: skip
    if size > _RATIO_MATTERS_FROM and size > MAX_RATIO * src.stat().st_size:
        raise UserError(
            f"would swell from {src.stat().st_size / 1e6:.1f} to {size / 1e6:.0f} MB; photographs do not", path=src
        )


def _refuse_full_disk(files: dict[str, zipfile.ZipInfo], folder: Path, src: Path) -> None:
    needed = sum(entry.file_size for name, entry in files.items() if not _is_there(entry, folder / name))
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(f"needs {needed / 1e9:.1f} GB to unpack, {free / 1e9:.1f} GB are free", path=src)


def _is_there(entry: zipfile.ZipInfo, target: Path) -> bool:
    return target.is_file() and target.stat().st_size == entry.file_size


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, src: Path) -> None:
    if _is_there(entry, target):
        return
    try:
        with archive.open(entry) as stream, atomic_path(target) as temporary, open(temporary, "wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
    except (NotImplementedError, RuntimeError) as error:
        raise UserError(f"uses a kind of compression that is not read ({error})", path=src,
                        hint="Unpack it, then read the folder.") from error  # fmt: skip
    except OSError as error:
        raise UserError(f"entry {entry.filename!r} cannot be unpacked ({error.strerror or error})", path=src) from error
