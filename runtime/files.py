"""Atomic writes: everything is written under a temporary name and renamed, so that nothing is ever half-written."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path` with the same suffix; renamed to `path` on success, removed on any error.

    Raises:
        UserError: `path` is a folder, or its folder cannot be made.
    """
    path = Path(path)
    refuse_folder(path)
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; what we publish follows the user's umask like any other file.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def appearing_folder(path: Path | str) -> Iterator[Path]:
    """A folder beside `path` that gets its name on success, and is removed on any error: there is the whole of it, or nothing.

    `path` may be an empty folder. What a killed process left behind is removed by the next one.
    """
    path = Path(path).resolve()  # "." has no name of its own
    folder = path.with_name(path.name + ".partial")
    if folder.exists():
        shutil.rmtree(folder)
    make_folder(folder)
    try:
        yield folder
        if path.is_dir():
            path.rmdir()
        folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(path: Path | str) -> None:
    """Raise UserError when `path` is a file or a folder with something in it: results never overwrite silently."""
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError("already exists and is not empty", path=path, hint="Name another folder, or remove this one.")


def refuse_folder(path: Path | str) -> None:
    """Raise UserError when `path`, where a file is to be written, is a folder."""
    if Path(path).is_dir():
        raise UserError("is a folder, but a file is needed there", path=path)


def make_folder(path: Path) -> None:
    """Create `path` and its parents; a file in the way is a UserError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError("is a file, but a folder is needed there", path=path) from error
    except OSError as error:
        raise UserError(f"cannot be created ({error.strerror})", path=path) from error


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: object) -> None:
    """Write `value` as indented JSON to `path` atomically; numbers that are not finite, which JSON does not know, as null."""
    write_text(path, json.dumps(without_nan(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def without_nan(value: object) -> object:
    """The same with None for every number that is not finite; tuples become lists, as in JSON."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path | str) -> dict:
    """The JSON object in `path`.

    Raises:
        UserError: the file is missing, is not JSON, or holds something other than an object.
    """
    path = Path(path)
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError("no such file", path=path) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"is not JSON ({error})", path=path) from error
    if not isinstance(value, dict):
        raise UserError("holds JSON, but not an object { }", path=path)
    return value


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of `content`, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
