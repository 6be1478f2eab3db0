"""Folders that lie on other storage (s3://..., gs://..., memory://...): any file system that fsspec and its packages know.

Readers work on a listing: an empty local folder of the same names and sizes, in which only the tables are real. Pictures
are fetched one by one where they are worked on, and results are sent back the same way.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ..runtime.errors import JobError, UserError
from ..runtime.files import make_folder

_TABLES = (".csv", ".tsv", ".txt", ".json", ".xls", ".xlsx", ".ods")


def is_url(place: Path | str) -> bool:
    """True for "protocol://...", a place that is not a path of this machine."""
    return isinstance(place, str) and "://" in place


class RemoteFolder:
    """A folder at a URL. Made anew in every process, since connections do not travel.

    Args:
        url: e.g. "s3://bucket/eyes".

    Raises:
        UserError: the protocol is unknown or its package is not installed.
    """

    def __init__(self, url: str):
        try:
            import fsspec

            self._files, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UserError(f"cannot be opened ({error})", path=url, hint="Install fsspec and that package.") from error
        except ValueError as error:
            raise UserError(f"is no address that can be opened ({error})", path=url) from error
        self.url = url.rstrip("/")
        self._root = self._root.rstrip("/")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self.url).name

    def sizes(self) -> dict[str, int]:
        """{name below the folder: bytes} of every file, sorted; empty when there is no such folder.

        Raises:
            UserError: the storage refuses.
        """
        try:
            # What another process stored since must be seen.
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:  # every protocol raises its own
            raise UserError(f"cannot be listed ({type(error).__name__}: {error})", path=self.url) from error
        names = {posixpath.relpath(path, self._root): int(info.get("size") or 0) for path, info in found.items()}
        return {name: names[name] for name in sorted(names) if ".." not in PurePosixPath(name).parts}

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file from there to `path`.

        Raises:
            UserError: no such file.
            JobError: the storage failed.
        """
        make_folder(path.parent)
        try:
            self._files.get_file(f"{self._root}/{name}", str(path))
        except FileNotFoundError as error:
            raise UserError("cannot be read (no such file)", path=f"{self.url}/{name}") from error
        except Exception as error:
            raise JobError(f"{self.url}/{name}: {type(error).__name__}: {error}; start again to continue") from error

    def store(self, path: Path, name: str) -> None:
        """Copy the file `path` there.

        Raises:
            JobError: the storage failed.
        """
        target = f"{self._root}/{name}"
        try:
            self._files.makedirs(posixpath.dirname(target), exist_ok=True)
            self._files.put_file(str(path), target)
        except Exception as error:
            raise JobError(f"{self.url}/{name}: {type(error).__name__}: {error}; start again to continue") from error


@contextmanager
def listing(folder: RemoteFolder) -> Iterator[Path]:
    """A local folder with the names and sizes of a remote one, its tables real, every other file a hole of its size.

    Raises:
        UserError: there is no such folder.
    """
    sizes = folder.sizes()
    if not sizes:
        raise UserError("no such folder, or nothing is in it; expected fundus photographs", path=folder.url)
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
