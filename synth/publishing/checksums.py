"""SHA256SUMS: the checksums of a published set, as `sha256sum -c` reads them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from ...runtime.errors import UserError
from ...runtime.files import sha256_file, write_text

CHECKSUMS = "SHA256SUMS"
# What hubs and git put beside the files of a set.
_NOT_OURS = {".git", ".gitattributes", ".cache"}


def write_checksums(folder: Path) -> None:
    """SHA256SUMS over all files of a folder, as `sha256sum -c` reads it."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    write_text(folder / CHECKSUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in files))


def read_checksums(path: Path) -> dict[str, str]:
    """{file name: SHA-256} of a published set.

    Raises:
        UserError: there are none, or a line is not one, or names a file outside the folder.
    """
    sums = path / CHECKSUMS
    if not sums.is_file():
        what = f"has no {CHECKSUMS}" if path.is_dir() else "no such folder"
        raise UserError(f"{what}; expected a folder of fundus-synth publish", path=path)
    lines = sums.read_text("utf-8", errors="replace").splitlines()
    found = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    for row, match in enumerate(found, start=1):
        if match is None or ".." in PurePosixPath(match[2]).parts or PurePosixPath(match[2]).is_absolute():
            raise UserError("is damaged; expected a checksum and a file name", path=sums, row=row,
                            hint="Copy the set again.")  # fmt: skip
    if not found:
        raise UserError("is empty; expected a checksum for every file", path=sums, hint="Copy the set again.")
    return {match[2]: match[1] for match in found}


def file_faults(path: Path, sums: dict[str, str]) -> list[str]:
    """Files that are missing, were changed, or do not belong to the set, each named."""
    faults = []
    for name, digest in sums.items():
        file = path / name
        if not file.is_file() or file.is_symlink():
            faults.append(f"{name}: is missing")
        elif sha256_file(file) != digest:
            faults.append(f"{name}: was changed; its checksum is not the one in {CHECKSUMS}")
    for name in _files(path):
        if name not in sums and name != CHECKSUMS:
            faults.append(f"{name}: is not part of the set; {CHECKSUMS} does not name it")
    return faults


def _files(path: Path) -> list[str]:
    names = (file.relative_to(path) for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
    return sorted(name.as_posix() for name in names if name.parts[0] not in _NOT_OURS)
