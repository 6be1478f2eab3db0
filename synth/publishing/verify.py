"""Verifying a published set: every file, row and mark, and with the generator every pixel.

fundus-synth verify OUT
fundus-synth verify OUT --generator RUN --sample 100
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...data.image_file import decode_image
from ...data.schema import read_table
from ...runtime.errors import UserError
from ...runtime.files import read_json, sha256_bytes, sha256_file
from ...runtime.progress import Progress
from ..marks import faults_of, read_marks
from .checksums import CHECKSUMS, file_faults, read_checksums
from .reports import FORMAT, PASSED
from .shards import SHARDS, read_shard, sidecar_name

_SHOWN = 50


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        path: the folder.
        images: rows of its table.
        regenerated: how many images were made again from their seeds.
        checksum: SHA-256 of SHA256SUMS; the same as when it was published.
        faults: what is wrong, each naming the file.
    """

    path: Path
    images: int
    regenerated: int
    checksum: str
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"published": str(self.path), "ok": self.ok, "images": self.images, "regenerated": self.regenerated,
                "checksum": self.checksum, "faults": list(self.faults)}  # fmt: skip

    def lines(self) -> list[str]:
        """For people: the faults, or what was looked at."""
        again = (
            f"{self.regenerated} made again from their seeds"
            if self.regenerated
            else "none made again: --generator RUN"
        )
        last = f"checksum of the set: {self.checksum}"
        if self.ok:
            return [f"{self.path}: no fault; {self.images} images, all marked as synthetic; {again}", last]
        more = [f"and {len(self.faults) - _SHOWN} more"] if len(self.faults) > _SHOWN else []
        return [*self.faults[:_SHOWN], *more, f"{self.path}: {len(self.faults)} faults; {again}", last]


def verify(
    path: Path | str, generators: Sequence[Path | str] = (), sample_size: int | None = None, *, seed: int = 0,
    quiet: bool = False,
) -> Verification:  # fmt: skip
    """Look for faults in a folder of `publish`.

    Every file against SHA256SUMS, none missing and none more; the table against the schema; every image against its row:
    checksum, the mark that it is synthetic, class, generator and seed; and that the audit covers it. With generators their
    images are made again on the CPU and compared, pixel for pixel. Other processors and versions of PyTorch may round
    differently, which shows as differences of 1.

    Args:
        generators: run folders of the generators.
        sample_size: make so many images again, chosen by `seed`; None makes all.

    Raises:
        UserError: not a folder of `publish`, or a generator that cannot be loaded or made none of the images.
    """
    path = Path(path)
    sums = read_checksums(path)
    faults = file_faults(path, sums)
    table = _table(path, faults)
    images, regenerated = 0, 0
    if table is not None:
        images = len(table)
        faults += _description_faults(path, table)
        look = _Look(path, table, {fault.partition(":")[0] for fault in faults})
        again = _regeneration(table, generators, sample_size, seed)
        with Progress(images, "verifying", quiet=quiet) as progress:
            for name, content in _images(path, faults):
                look.at(name, content)
                if again is not None:
                    again.add(name, content)
                progress.advance(int(name in look.rows))
        faults += look.faults + look.missing(sums)
        if again is not None:
            again.compare()
            regenerated = again.made
            faults += again.faults
    return Verification(path, images, regenerated, sha256_file(path / CHECKSUMS), tuple(faults))


def _regeneration(table: pd.DataFrame, runs: Sequence[Path | str], sample_size: int | None, seed: int):
    if not runs:
        return None
    # Only this needs PyTorch, which takes seconds to import.
    from .regeneration import Regeneration

    return Regeneration(table, runs, sample_size, seed)


def _table(path: Path, faults: list[str]) -> pd.DataFrame | None:
    """metadata.csv; None, and a fault, when it cannot be read."""
    try:
        return read_table(path / "metadata.csv")
    except UserError as error:
        faults.append(f"metadata.csv: {_without_path(error)}")
        return None


def _without_path(error: UserError) -> str:
    return str(UserError(error.message, row=error.row))


def _description_faults(path: Path, table: pd.DataFrame) -> list[str]:
    """dataset.json and audit.json against the table."""
    faults = []
    try:
        info, audit = read_json(path / "dataset.json"), read_json(path / "audit.json")
    except UserError as error:
        return [f"{Path(error.path).name}: {error.message}"]
    if info.get("format") != FORMAT or info.get("synthetic") is not True:
        faults.append(f"dataset.json: does not say that this is a {FORMAT!r} of synthetic images")
    if info.get("images") != len(table):
        faults.append(f"dataset.json: says {info.get('images')} images, metadata.csv has {len(table)}")
    if audit.get("verdict") != PASSED or audit.get("fingerprint") != info.get("audited_fingerprint"):
        faults.append("audit.json: is not the audit that this set passed")
    known = audit["images"] if isinstance(audit.get("images"), dict) else {}
    for name in table["file_name"]:
        if not isinstance(known.get(name), dict) or known[name].get("copy") is not False:
            faults.append(f"audit.json: does not say that {name} is no copy")
    return faults


def _images(path: Path, faults: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of images/, or of every shard; faults are added for shards that cannot be read."""
    for file in sorted((path / "images").rglob("*")):
        if file.is_file() and not file.is_symlink():
            yield file.relative_to(path).as_posix(), file.read_bytes()
    for shard in sorted((path / SHARDS).glob("*.tar")):
        try:
            yield from read_shard(shard)
        except UserError as error:
            faults.append(f"{SHARDS}/{shard.name}: {error.message}")


class _Look:
    """Each image and its row.

    Args:
        known: files that faults were found in already; their checksums are not said again.
    """

    def __init__(self, path: Path, table: pd.DataFrame, known: set[str]):
        self.path, self.known = path, known
        self.rows = {row["file_name"]: (index + 2, row) for index, row in enumerate(table.to_dict("records"))}
        self.sidecars = {sidecar_name(name): name for name in self.rows}
        self.seen: set[str] = set()
        self.faults: list[str] = []

    def at(self, name: str, content: bytes) -> None:
        """Look at one file."""
        if name in self.seen:
            self.faults.append(f"{name}: is there twice")
        self.seen.add(name)
        if name in self.sidecars:
            self._sidecar(name, content)
        elif name in self.rows:
            self._image(name, content)
        elif name not in self.known:
            self.faults.append(f"{name}: has no row in metadata.csv")

    def missing(self, sums: dict[str, str]) -> list[str]:
        """Rows without an image, but for those whose file is known to be missing."""
        return [f"metadata.csv, row {row}: {name} is not in the set"
                for name, (row, _) in self.rows.items() if name not in self.seen and name not in sums]  # fmt: skip

    def _image(self, name: str, content: bytes) -> None:
        number, row = self.rows[name]
        if name not in self.known and sha256_bytes(content) != row.get("sha256"):
            self.faults.append(f"{name}: was changed; its checksum is not the one in metadata.csv, row {number}")
        if row.get("synthetic") != "true":
            self.faults.append(f"metadata.csv, row {number}: synthetic is not true ({name})")
        marks = read_marks(content)
        if not marks:
            self.faults.append(f"{name}: {_damage(content, name) or 'carries no mark that it is synthetic'}")
            return
        self.faults += [f"metadata.csv, row {number} ({name}): {fault}" for fault in faults_of(marks, row)]

    def _sidecar(self, name: str, content: bytes) -> None:
        number, row = self.rows[self.sidecars[name]]
        try:
            said = json.loads(content)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            self.faults.append(f"{name}: is not a row as JSON")
            return
        for column in ("label", "generator", "seed", "sha256", "synthetic"):
            if str(said.get(column, "")) != str(row.get(column, "")):
                self.faults.append(f"{name}: {column} is {str(said.get(column, ''))!r}, metadata.csv, row {number} says "
                                   f"{str(row.get(column, ''))!r}")  # fmt: skip


def _damage(content: bytes, name: str) -> str:
    try:
        decode_image(content, name)
    except UserError as error:
        return error.message
    return ""
