"""`csv`: a table with one row an image; a dataset folder or a Hugging Face imagefolder (metadata.csv) is one too."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError
from ...runtime.files import read_json
from ..schema import COLUMNS, read_csv
from .base import Collection, Reader, ReaderOptions, checked_rows, list_images

_IMAGE_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "path", "img")
_LABEL_COLUMNS = ("label", "class", "diagnosis")
_PATIENT_COLUMNS = ("patient_id", "patient", "subject_id", "subject")
# What describes the picture file itself is made anew when the picture is.
_OF_THE_FILE = ("file_name", "sha256", "camera_width", "camera_height", "fov_x", "fov_y", "fov_r", "fov_confidence")


def detect(src: Path) -> str:
    """Recognises a metadata.csv, or the folder's only CSV file when it belongs to the images that are there.

    It belongs when every image has a row or every row has its image. A table of some of the images and of many others
    (labels of a larger collection) is left alone unless the user asks for it.
    """
    if src.is_file():
        return "a table" if src.suffix.lower() == ".csv" else ""
    if (src / "metadata.csv").is_file():
        return "metadata.csv"
    tables = sorted(src.glob("*.csv"))
    if len(tables) != 1:
        return ""
    table = read_csv(tables[0])
    column = next((name for name in table.columns if name.lower() in _IMAGE_COLUMNS), None)
    if column is None:
        return ""
    named = {Path(name.strip()).name for name in table[column]}
    images = list_images(src)
    without_row = [p for p in images if not {p.name, p.stem} & named]
    without_image = named - {p.name for p in images} - {p.stem for p in images}
    return tables[0].name if images and (not without_row or not without_image) else ""


def read(src: Path, options: ReaderOptions) -> Collection:
    """Rows of the table; column names of the schema are taken as they are, others are kept as text.

    Raises:
        UserError: no table or image column, a row whose image is missing, a value out of range.
    """
    path = _table_path(src, options)
    table = read_csv(path)
    names = _column_names(table, path, options)
    root = path.parent
    files = _FileFinder(root)
    rows = [_row(values, names, files, path, number) for number, values in enumerate(table.to_dict("records"), start=2)]
    checked_rows(rows, path)
    info = read_json(root / "dataset.json") if (root / "dataset.json").is_file() else {"source": path.name}
    name = str(info.get("name") or root.resolve().name)
    used = {row["path"] for row in rows}
    ignored = [(p.relative_to(root).as_posix(), f"no row in {path.name}") for p in list_images(root) if p not in used]
    return Collection(name, root, rows, ignored, info)


def _table_path(src: Path, options: ReaderOptions) -> Path:
    if options.table is not None:
        return options.table
    if src.is_file():
        return src
    if (src / "metadata.csv").is_file():
        return src / "metadata.csv"
    tables = sorted(src.glob("*.csv"))
    if len(tables) != 1:
        raise UserError(f"has {len(tables)} CSV files; expected one", path=src, hint="Name it with --table.")
    return tables[0]


def _column_names(table: pd.DataFrame, path: Path, options: ReaderOptions) -> dict[str, str]:
    """{column of the schema: column of the table} for image, label and patient."""
    names = {}
    wanted = (
        ("file_name", options.image_column, _IMAGE_COLUMNS),
        ("label", options.label_column, _LABEL_COLUMNS),
        ("patient_id", options.patient_column, _PATIENT_COLUMNS),
    )
    lower = {name.lower(): name for name in table.columns}
    for target, chosen, usual in wanted:
        if chosen is not None and chosen not in table.columns:
            raise UserError(f"has no column {chosen!r}; its columns are {', '.join(table.columns)}", path=path)
        found = chosen or next((lower[name] for name in usual if name in lower), None)
        if found is not None:
            names[target] = found
    if "file_name" not in names:
        raise UserError(
            f"no image column among {', '.join(table.columns)}", path=path, hint="Name it with --image-column."
        )
    return names


def _row(values: dict, names: dict[str, str], files: _FileFinder, path: Path, number: int) -> dict:
    name = values[names["file_name"]].strip()
    found = files.find(name)
    if found is None:
        raise UserError(
            f"image {name!r} is not there", path=path, row=number, hint="Put the file back or remove the row."
        )
    row = {"path": found, "camera_file": found.relative_to(files.root).as_posix()}
    renamed = set(names.values())
    row |= {
        k: v.strip() for k, v in values.items() if k not in renamed and k not in _OF_THE_FILE and k != "camera_file"
    }
    row |= {target: values[source].strip() for target, source in names.items() if target != "file_name"}
    if "label" in row and names["label"] != "label":
        row["label"] = row["label"].lower()
    if row.get("patient_id") and names["patient_id"] != "patient_id":
        row["patient_id"] = f"{files.root.resolve().name}-{row['patient_id']}"
    return row


class _FileFinder:
    """Finds the file a table means: the path as written, or the same name (with or without suffix) anywhere below."""

    def __init__(self, root: Path):
        self.root = root
        self._below: dict[str, Path] | None = None

    def find(self, name: str) -> Path | None:
        if name and (self.root / name).is_file() and (self.root / name).resolve().is_relative_to(self.root.resolve()):
            return self.root / name
        if self._below is None:
            self._below = {}
            for path in list_images(self.root):
                self._below.setdefault(path.name, path)
                self._below.setdefault(path.stem, path)
        return self._below.get(Path(name).name)


READER = Reader("csv", detect, read)
assert set(_OF_THE_FILE) <= set(COLUMNS)
