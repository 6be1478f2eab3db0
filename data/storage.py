"""Folders that lie on other storage (s3://, gs://, ftp://, http://, ...): any file system that fsspec and its packages know.

Readers work on a listing: an empty local folder of the same names and sizes, in which only the tables are real. Pictures
are fetched one by one where they are worked on, and results are sent back the same way.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import quote, unquote

from ..runtime.errors import JobError, UserError
from ..runtime.files import make_folder

_TABLES = (".csv", ".tsv", ".txt", ".json", ".xls", ".xlsx", ".ods")


def is_url(place: Path | str) -> bool:
    """True for "protocol://...", a place that is not a path of this machine."""
    return isinstance(place, str) and "://" in place


def is_memory(place: Path | str) -> bool:
    """True for "memory://...", which other processes do not see."""
    return is_url(place) and place.startswith("memory://")


def without_password(place: str) -> str:
    """The address as it may be printed: "ftp://user:secret@host/eyes" without its ":secret"."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1@", place)


class RemoteFolder:
    """A folder at a URL. Made anew in every process, since connections do not travel.

    Args:
        url: e.g. "s3://bucket/eyes".

    Attributes:
        url: as given. shown: the same without a password.

    Raises:
        UserError: the protocol is unknown, its package is not installed, or nobody answers.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.shown = without_password(self.url)
        try:
            import fsspec

            self._files, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            hint = "Install that package with pip, into the same environment."
            raise UserError(f"cannot be opened ({error})", path=self.shown, hint=hint) from error
        except ValueError as error:
            raise UserError(f"is no address that can be opened ({error})", path=self.shown) from error
        except Exception as error:  # every protocol raises its own
            raise UserError(f"cannot be opened ({_said(error)})", path=self.shown) from error
        self._root = root.rstrip("/")
        # A web server's folder is a page of links, and what is in a link is quoted.
        self._web = self.url.startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.url).name

    def refuse_web(self) -> None:
        """Raise UserError when nothing can be stored here: a web server takes no files."""
        if self._web:
            raise UserError("is a web server; it cannot be written to", path=self.shown, hint="Name another storage.")

    def sizes(self) -> dict[str, int]:
        """{name below the folder: bytes} of every file, sorted; empty when there is no such folder.

        A web server's page does not tell sizes; they are 0.

        Raises:
            UserError: the storage refuses.
        """
        try:
            # What another process stored since must be seen.
            self._files.invalidate_cache()
            if self._web:
                self._files.ls(self._root)  # `find` takes a server that does not answer for an empty folder
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise UserError(f"cannot be listed ({_said(error)})", path=self.shown) from error
        names = {posixpath.relpath(path, self._root): int(info.get("size") or 0) for path, info in found.items()}
        if self._web:
            # "?" begins the links that sort the page.
            names = {unquote(name): size for name, size in names.items() if "?" not in name}
        return {name: names[name] for name in sorted(names) if ".." not in PurePosixPath(name).parts}

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file from there to `path`.

        Raises:
            UserError: no such file.
            JobError: the storage failed.
        """
        make_folder(path.parent)
        try:
            self._files.get_file(f"{self._root}/{quote(name) if self._web else name}", str(path))
        except FileNotFoundError as error:
            raise UserError("cannot be read (no such file)", path=f"{self.shown}/{name}") from error
        except Exception as error:
            raise JobError(f"{self.shown}/{name}: {_said(error)}; start again to continue") from error

    def store(self, path: Path, name: str) -> None:
        """Copy the file `path` there.

        Raises:
            JobError: the storage failed.
        """
        target = f"{self._root}/{name}"
        try:
            self._make(posixpath.dirname(target))
            self._files.put_file(str(path), target)
        except Exception as error:
            raise JobError(f"{self.shown}/{name}: {_said(error)}; start again to continue") from error

    def _make(self, folder: str) -> None:
        try:
            self._files.makedirs(folder, exist_ok=True)
        except Exception:
            # Another process has made it meanwhile, and this one remembers how it was.
            self._files.invalidate_cache()
            if not self._files.isdir(folder):
                raise


@contextmanager
def listing(folder: RemoteFolder) -> Iterator[Path]:
    """A local folder with the names and sizes of a remote one, its tables real, every other file a hole of its size.

    Raises:
        UserError: there is no such folder.
    """
    sizes = folder.sizes()
    if not sizes:
        raise UserError("no such folder, or nothing is in it; expected fundus photographs", path=folder.shown)
    with TemporaryDirectory(prefix="fundus-listing-") as scratch:
        local = Path(scratch) / (folder.name or "collection")
        for name, size in sizes.items():
            path = local / name
            if path.suffix.lower() in _TABLES:
                folder.fetch(name, path)
                continue
            make_folder(path.parent)
            with open(path, "wb") as stream:
                stream.truncate(size)
        yield local


def _said(error: Exception) -> str:
    """What a storage says, on one line."""
    return without_password(f"{type(error).__name__}: {' '.join(str(error).split())}")
