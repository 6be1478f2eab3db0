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

    Raises:
        UserError: `path` exists and is not empty.
    """

    def __init__(self, path: Path | str, info: Mapping[str, object], resume: bool = False):
        self.path, self.info, self.resume = Path(path), dict(info), resume
        self.folder = self.path.with_name(self.path.name + ".partial")
        self._journal = self.folder / "rows.jsonl"
        self.done: dict[str, dict] = {}

    def __enter__(self) -> DatasetWriter:
        refuse_existing(self.path)
        if self.folder.exists() and not (self.resume and self._same_info()):
            shutil.rmtree(self.folder)
        make_folder(self.folder)
        write_json(self.folder / "dataset.json", self.info)
        if self._journal.exists():
            self.done = {row["file_name"]: row for row in self._journalled()}
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
        with open(self._journal, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, default=_plain, ensure_ascii=False) + "\n")

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

    def _journalled(self):
        for line in self._journal.read_text("utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # a kill cut the last line short: that image is made again
            if (self.folder / row["file_name"]).is_file():
                yield row

    def _finish(self) -> None:
        if not self.done:
            shutil.rmtree(self.folder)
            raise UserError("would hold no image", path=self.path)
        table = pd.DataFrame(list(self.done.values()))
        write_text(self.folder / "metadata.csv", table_to_csv(table))
        self._journal.unlink()
        if self.path.is_dir():
            self.path.rmdir()
        self.folder.rename(self.path)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
