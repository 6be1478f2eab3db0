"""WebDataset shards: tar files of images and their rows, the same bytes for the same content."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...runtime.errors import UserError
from ...runtime.files import make_folder, sha256_file

SHARDS = "shards"


class ShardWriter:
    """Writes `folder`/shards/train-000000-<digest>.tar, train-000001-..., ...; use as a context manager.

    Of every image a shard holds the file and, beside it, its row as JSON, under one key: images/x.png and images/x.json.
    Times, owners and modes are always the same, so that the bytes depend on the content alone. The digest is the start of
    the shard's SHA-256: mlcroissant keeps what it unpacks by the name of the archive, and would show the images of another
    set whose shards have the same names.

    Args:
        folder: of the dataset.
        images_per_shard: after so many a new shard begins.

    Attributes:
        names: the finished shards, relative to `folder`.
    """

    def __init__(self, folder: Path, images_per_shard: int):
        self.folder, self.images_per_shard = folder, images_per_shard
        self.names: list[str] = []
        self._images = 0
        self._path = folder / SHARDS / ".partial.tar"
        self._shard: tarfile.TarFile | None = None

    def __enter__(self) -> ShardWriter:
        make_folder(self.folder / SHARDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, file_name: str, content: bytes, row: Mapping[str, object]) -> None:
        """Add one image; its name must not have a dot but that of its suffix."""
        if self._images % self.images_per_shard == 0:
            self._close()
            self._shard = tarfile.open(self._path, "w", format=tarfile.USTAR_FORMAT)
        self._add(file_name, content)
        self._add(sidecar_name(file_name), json.dumps(dict(row), ensure_ascii=False).encode())
        self._images += 1

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._shard.addfile(member, io.BytesIO(content))

    def _close(self) -> None:
        if self._shard is None:
            return
        self._shard.close()
        self.names.append(f"{SHARDS}/train-{len(self.names):06d}-{sha256_file(self._path)[:12]}.tar")
        self._path.rename(self.folder / self.names[-1])
        self._shard = None


def sidecar_name(file_name: str) -> str:
    """The row's file beside an image: images/x.png -> images/x.json."""
    return str(Path(file_name).with_suffix(".json").as_posix())


def read_shard(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file in a shard; nothing is written, so no name can lead astray.

    Raises:
        UserError: damaged, or no tar file.
    """
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if not member.isfile():
                    raise UserError(f"entry {member.name!r} is a link or a folder; expected files", path=path)
                yield member.name, shard.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UserError(f"is damaged or no tar file ({error})", path=path, hint="Copy the file again.") from error
