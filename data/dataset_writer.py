"""Writing a dataset folder image by image, so that it appears whole or not at all, and can be continued."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.errors import UserError
from ..runtime.files import make_folder, read_json, refuse_existing, sha256_bytes, sha256_file, write_json, write_text
from .image_file import encode_image, write_image
from .schema import MASKS, is_missing, table_to_csv
from .storage import RemoteFolder


def mask_file(folder: Path, file_name: str, kind: str) -> Path:
    """Where the mask `kind` of an image lies: masks/<kind>/<stem>.png, sub-folders of images/ kept."""
    stem = Path(file_name).with_suffix(".png")
    return folder / MASKS / kind / Path(*stem.parts[1:] if stem.parts[0] == "images" else stem.parts)


class DatasetWriter:
    """Writes a dataset folder image by image; it appears under its name only when it is complete.

    Use as a context manager. Until the end everything lies in `<name>.partial` beside it, with a journal of the rows,
    so that an interrupted writer with `resume=True` knows what it has. Columns keep the schema's order.

    Args:
        path: the folder to make.
        info: dataset.json (name, licence, source, how it was made).
        resume: keep the partial folder on interruption, and continue one that was begun with the same `info`.
        remote: where the images lie, when they are not in the folder; the tables are sent there at the end.

    Attributes:
        done: {file_name: row} of the images that are there.
        rejected: {file_name: reason} of those that cannot be made.

    Raises:
        UserError: `path` exists and is not empty.
    """

    def __init__(
        self, path: Path | str, info: Mapping[str, object], resume: bool = False, remote: RemoteFolder | None = None
    ):
        self.path, self.info, self.resume, self.remote = Path(path), dict(info), resume, remote
        self.folder = self.path.with_name(self.path.name + ".partial")
        self._journal = self.folder / "rows.jsonl"
        self.done: dict[str, dict] = {}
        self.rejected: dict[str, str] = {}

    def __enter__(self) -> DatasetWriter:
        refuse_existing(self.path)
        if self.folder.exists() and not (self.resume and self._same_info()):
            shutil.rmtree(self.folder)
        make_folder(self.folder)
        write_json(self.folder / "dataset.json", self.info)
        if self._journal.exists():
            self._read_journal()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            if not self.resume:
                shutil.rmtree(self.folder, ignore_errors=True)
            return
        self._finish()

    def add(
        self, row: Mapping[str, object], image: np.ndarray | None = None,
        masks: Mapping[str, np.ndarray] | None = None, png_text: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Add one image.

        Args:
            row: columns of metadata.csv; `file_name` ("images/...") is needed, sha256 is filled in.
            image: uint8 (H, W, 3); None when the file is in `folder` already.
            masks: {kind: uint8 (H, W), 0 or 255}.
            png_text: text chunks for a PNG.
        """
        row = {k: v for k, v in row.items() if not is_missing(v)}
        target = self.folder / str(row["file_name"])
        if image is not None:
            row["sha256"] = sha256_bytes(write_image(target, image, png_text))
        elif "sha256" not in row:
            row["sha256"] = sha256_file(target)
        for kind, mask in (masks or {}).items():
            self.write_mask(str(row["file_name"]), kind, mask)
        self.done[str(row["file_name"])] = row
        self._note(row)

    def reject(self, file_name: str, reason: str) -> None:
        """Remember that this image cannot be made, so that a continued run does not try again."""
        self.rejected[file_name] = reason
        self._note({"file_name": file_name, "rejected": reason})

    def write_mask(self, file_name: str, kind: str, mask: np.ndarray) -> None:
        """Write the mask `kind` of an image to masks/<kind>/<stem>.png."""
        target = mask_file(self.folder, file_name, kind)
        make_folder(target.parent)
        target.write_bytes(encode_image(mask, ".png"))

    def _same_info(self) -> bool:
        try:
            return read_json(self.folder / "dataset.json") == json.loads(json.dumps(self.info, default=_plain))
        except UserError:
            return False

    def _note(self, entry: dict) -> None:
        with open(self._journal, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry, default=_plain) + "\n")

    def _read_journal(self) -> None:
        there = self.remote.sizes() if self.remote is not None else None
        # A kill may have cut the last line short; what is written next must not be added to it.
        whole, _, _ = self._journal.read_text("utf-8").rpartition("\n")
        write_text(self._journal, whole + "\n" if whole else "")
        for entry in map(json.loads, whole.splitlines()):
            name = entry["file_name"]
            if "rejected" in entry:
                self.rejected[name] = entry["rejected"]
            elif name in there if there is not None else (self.folder / name).is_file():
                self.done[name] = entry

    def _finish(self) -> None:
        if not self.done:
            shutil.rmtree(self.folder)
            raise UserError("would hold no image", path=self.path)
        table = pd.DataFrame(list(self.done.values()))
        write_text(self.folder / "metadata.csv", table_to_csv(table))
        if self.remote is not None:
            self._send_tables()
        self._journal.unlink()
        if self.path.is_dir():
            self.path.rmdir()
        self.folder.rename(self.path)

    def _send_tables(self) -> None:
        # metadata.csv comes last: with it the folder is a dataset.
        names = sorted((p.name for p in self.folder.iterdir() if p.is_file()), key=lambda name: name == "metadata.csv")
        for name in names:
            if name != self._journal.name:
                self.remote.store(self.folder / name, name)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
