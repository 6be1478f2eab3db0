"""The dataset folder: images, metadata.csv and dataset.json, as every command reads and writes it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ..runtime.errors import UserError, counts
from ..runtime.files import make_folder, read_json, sha256_bytes, sha256_file, write_text
from .dataset_writer import DatasetWriter, mask_file
from .image_file import read_image
from .schema import COLUMNS, MASKS, SPLITS, check_split, patient_hash, read_table, table_to_csv


class FundusDataset:
    """A dataset folder, or a part of one. It never changes; `subset`, `split` and `with_split` return new ones.

    Attributes:
        path: the folder.
        info: dataset.json.
        table: metadata.csv, one row an image, RangeIndex; numbers float64 (missing NaN), words str (missing "").
    """

    def __init__(self, path: Path, info: dict, table: pd.DataFrame):
        self.path, self.info, self.table = path, info, table.reset_index(drop=True)

    @classmethod
    def open(cls, path: Path | str) -> FundusDataset:
        """Open and check a dataset folder.

        Raises:
            UserError: no such folder, an empty one, no metadata.csv, a row that breaks the schema or whose image is
                missing, or a patient in two splits.
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError("no such folder; expected a dataset folder", path=path)
        metadata = path / "metadata.csv"
        if not metadata.is_file():
            what = "is empty" if not any(path.iterdir()) else "has no metadata.csv, so it is not a dataset folder"
            raise UserError(what, path=path, hint="Make one with: fundus-preprocess run SRC OUT.")
        table = read_table(metadata)
        _check_files(path, table, metadata)
        info = read_json(path / "dataset.json") if (path / "dataset.json").is_file() else {}
        return cls(path, info, table)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"FundusDataset({str(self.path)!r}, {len(self)} images: {counts(self.class_counts())})"

    @property
    def name(self) -> str:
        """The name in dataset.json, or the folder's."""
        return str(self.info.get("name") or self.path.name)

    def column(self, name: str) -> pd.Series:
        """A column of the table; all missing when the table does not have it."""
        if name in self.table.columns:
            return self.table[name]
        numeric = name in COLUMNS and COLUMNS[name].numeric
        return pd.Series([np.nan if numeric else ""] * len(self), name=name)

    @property
    def patients(self) -> list[str]:
        """The patient ids, sorted, without missing ones."""
        return sorted(set(self.column("patient_id")) - {""})

    @cached_property
    def patient_keys(self) -> list[str]:
        """Who each image shows: its patient_id, or "image <SHA-256>" when it has none, so that the same picture is
        recognised in another dataset."""
        ids = self.column("patient_id")
        return [name or f"image {self.image_digests[i]}" for i, name in enumerate(ids)]

    @property
    def patient_hashes(self) -> list[str]:
        """`schema.patient_hash` of every one of `patient_keys`, once and sorted: what files about this dataset record."""
        return sorted({patient_hash(name) for name in self.patient_keys})

    def class_counts(self) -> dict[str, int]:
        """{label: images}, the largest class first; images without a label are not counted."""
        labels = self.column("label")
        return {str(k): int(n) for k, n in labels[labels != ""].value_counts().items()}

    def image_path(self, index: int) -> Path:
        """Path of image `index`."""
        return self.path / self.table["file_name"][index]

    def read(self, index: int) -> np.ndarray:
        """Image `index` as uint8 (height, width, 3) RGB; errors as in `image_file.read_image`."""
        return read_image(self.image_path(index))

    def mask_path(self, index: int, kind: str) -> Path | None:
        """Path of the mask `kind` of image `index`, or None when there is none."""
        path = mask_file(self.path, self.table["file_name"][index], kind)
        return path if path.is_file() else None

    @property
    def mask_kinds(self) -> list[str]:
        """The kinds of masks the folder holds, e.g. ["optic_disc", "vessels"]."""
        folder = self.path / MASKS
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []

    def subset(self, rows: Sequence[int] | Sequence[bool] | np.ndarray | pd.Series) -> FundusDataset:
        """The images at these indices, or where this boolean mask is true, in the table's or the given order."""
        rows = np.asarray(rows)
        chosen = self.table[rows] if rows.dtype == bool else self.table.iloc[rows.astype(int)]
        return FundusDataset(self.path, self.info, chosen)

    def of_class(self, label: str) -> FundusDataset:
        """The images of one class.

        Raises:
            UserError: there is no such class; the message lists the classes and their counts.
        """
        found = self.class_counts()
        if label not in found:
            raise UserError(f"has no class {label!r}; its classes are {counts(found)}", path=self.path)
        return self.subset(self.column("label") == label)

    @property
    def has_split(self) -> bool:
        """True when every image is in train, val or test."""
        return bool(self.column("split").isin(SPLITS).all())

    def split(self, name: str) -> FundusDataset:
        """The images of one split ("train", "val" or "test")."""
        return self.subset(self.column("split") == name)

    def with_split(self, split: pd.Series | np.ndarray | Sequence[str]) -> FundusDataset:
        """The same images with another split column.

        Raises:
            UserError: a patient would be in two splits.
        """
        table = self.table.assign(split=np.asarray(split, dtype=object))
        check_split(table, self.path / "metadata.csv")
        return FundusDataset(self.path, self.info, table)

    @cached_property
    def image_digests(self) -> list[str]:
        """SHA-256 of each image file: the sha256 column where it is filled, else computed."""
        known = self.column("sha256")
        return [digest or sha256_file(self.image_path(i)) for i, digest in enumerate(known)]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the images and what is said of them, whatever the row order; 64 hex digits."""
        said = [c for c in ("patient_id", "eye", "label", "grade", "hemoglobin_g_dl", "split") if c in self.table]
        rows = [[d, *map(str, r)] for d, r in zip(self.image_digests, self.table[said].to_numpy(), strict=True)]
        return sha256_bytes(json.dumps([said, sorted(rows)]).encode())

    def write(self, path: Path | str) -> FundusDataset:
        """Copy these images, their masks and their rows into a new dataset folder, and open it.

        Raises:
            UserError: `path` exists and is not empty.
        """
        info = {**self.info, "parent_fingerprint": self.fingerprint}
        with DatasetWriter(path, info) as writer:
            for index, row in enumerate(self.table.to_dict("records")):
                target = writer.folder / row["file_name"]
                make_folder(target.parent)
                shutil.copyfile(self.image_path(index), target)
                for kind in self.mask_kinds:
                    mask = self.mask_path(index, kind)
                    if mask is not None:
                        copy = mask_file(writer.folder, row["file_name"], kind)
                        make_folder(copy.parent)
                        shutil.copyfile(mask, copy)
                writer.add(row)
        return FundusDataset.open(path)

    def save_table(self) -> None:
        """Write metadata.csv back into the folder, atomically (used after a new split)."""
        write_text(self.path / "metadata.csv", table_to_csv(self.table))


def _check_files(path: Path, table: pd.DataFrame, metadata: Path) -> None:
    for index, name in table["file_name"].items():
        if not (path / name).is_file():
            raise UserError(f"image {name!r} is not there", path=metadata, row=index + 2,
                            hint="Put the file back or remove the row.")  # fmt: skip
