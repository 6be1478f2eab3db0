"""`csv`: a table with one row an image; a dataset folder and a Hugging Face imagefolder are such tables too."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import UserError
from ...runtime.files import read_json
from ..schema import COLUMNS
from .base import NOT_OF_THE_TABLE, Collection, Reader, ReaderOptions, checked_rows, list_images
from .folder import SPLIT_NAMES
from .picture_files import PictureFiles
from .table_file import TABLE_SUFFIXES, TableFile, read_table_file

_IMAGE_COLUMNS = (
    "file_name", "filename", "file", "image", "image_path", "path", "img", "image_name", "image_id", "image_file",
    "file_path", "filepath", "image_file_name",
)  # fmt: skip
_LABEL_COLUMNS = ("label", "class", "diagnosis")
_PATIENT_COLUMNS = ("patient_id", "patient", "subject_id", "subject", "patientid")
# What describes the picture file itself is made anew when the picture is.
_OF_THE_FILE = (
    "file_name", "camera_file", "sha256", "camera_width", "camera_height", "fov_x", "fov_y", "fov_r", "fov_confidence"
)  # fmt: skip
_METADATA = ("metadata.csv", "metadata.jsonl")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


def detect(src: Path) -> str:
    """Recognises metadata.csv or .jsonl, also one in each split's folder, and a folder's table when it goes with its images.

    It does when every image has a row or every row has its image. A table of some of the images and of many others
    (labels of a larger collection) is left alone unless the user asks for it.
    """
    if src.is_file():
        return src.name if src.suffix.lower() in TABLE_SUFFIXES else ""
    metadata = _metadata_files(src)
    if metadata:
        return ", ".join(path.relative_to(src).as_posix() for path in metadata)
    tables = _tables_in(src)
    return tables[0].name if len(tables) == 1 and _goes_with(tables[0], src) else ""


def read(src: Path, options: ReaderOptions) -> Collection:
    """Rows of the table; column names of the schema are taken as they are, others are kept as text.

    Labels become lower case. Columns that name further files (`mask_file_name`) are left out. With `options.columns`
    only those are kept beside image, label and patient. The folder of a table in train/, val/ or test/ is the split.

    Raises:
        UserError: no table or image column, a row whose image is missing or ambiguous or named before, a value out of
            range or with a decimal comma, a patient in two splits.
    """
    paths = _table_paths(src, options)
    root = src if src.is_dir() else src.parent
    name, info = _name_and_info(root, paths)
    tables = [read_table_file(path) for path in paths]
    rows = [row for table in tables for row in _rows(table, root, name, options, len(paths) > 1)]
    _one_split_a_patient(rows, root)
    used = {row["path"] for row in rows}
    reason = f"no row in {paths[0].name}"
    ignored = [(p.relative_to(root).as_posix(), reason) for p in list_images(root) if p not in used]
    ignored += [(p.name, "another table; name it with --table") for p in _tables_in(root) if p not in paths]
    return Collection(name, root, rows, ignored, info)


def _name_and_info(root: Path, paths: list[Path]) -> tuple[str, dict]:
    info = read_json(root / "dataset.json") if (root / "dataset.json").is_file() else {"source": "table of images"}
    # What was recognised when that dataset was made is not what is recognised now.
    info = {key: value for key, value in info.items() if key != "recognised"}
    if not isinstance(info.get("notes", []), list):
        raise UserError('"notes" is not a list of sentences', path=root / "dataset.json")
    return str(info.get("name") or root.resolve().name), info


def _table_paths(src: Path, options: ReaderOptions) -> list[Path]:
    if options.table is not None:
        return [options.table]
    if src.is_file():
        return [src]
    metadata = _metadata_files(src)
    if metadata:
        return metadata
    tables = _tables_in(src)
    if len(tables) != 1:
        named = f" ({', '.join(path.name for path in tables[:3])})" if tables else ""
        raise UserError(f"has {len(tables)} tables{named}; expected one", path=src, hint="Name it with --table.")
    return tables


def _metadata_files(src: Path) -> list[Path]:
    """The metadata.csv or .jsonl in the folder itself; where there is none, those in its train, val and test folders."""
    own = [src / name for name in _METADATA if (src / name).is_file()][:1]
    if own:
        return own
    splits = sorted(p for p in src.iterdir() if p.name.lower() in SPLIT_NAMES and p.is_dir())
    found = ([folder / name for name in _METADATA if (folder / name).is_file()][:1] for folder in splits)
    return [path for paths in found for path in paths]


def _tables_in(folder: Path) -> list[Path]:
    """The folder's tables; a workbook beside its export as CSV is the same table, and the export is read."""
    found = sorted(
        p for p in folder.iterdir()
        if p.suffix.lower() in TABLE_SUFFIXES and p.is_file() and not p.name.startswith((".", "~$"))
    )  # fmt: skip
    exported = {p.stem for p in found if p.suffix.lower() == ".csv"}
    return [p for p in found if p.suffix.lower() == ".csv" or p.stem not in exported]


def _goes_with(path: Path, src: Path) -> bool:
    try:
        table = read_table_file(path)
        column = _found_columns(table, ReaderOptions()).get("file_name")
    except UserError:
        return False  # some other file that lies there; asked for by --format csv it says what is wrong with it
    if column is None:
        return False
    named = {Path(row[column].strip().replace("\\", "/")).name for row in table.rows}
    images = list_images(src)
    without_row = [p for p in images if not {p.name, p.stem} & named]
    without_image = named - {p.name for p in images} - {p.stem for p in images}
    return bool(images) and (not without_row or not without_image)


def _found_columns(table: TableFile, options: ReaderOptions) -> dict[str, str]:
    """{column of the schema: column of the table} for image, label and patient, as far as they are there."""
    wanted = (
        ("file_name", options.image_column, _IMAGE_COLUMNS),
        ("label", options.label_column, _LABEL_COLUMNS),
        ("patient_id", options.patient_column, _PATIENT_COLUMNS),
    )
    by_spelling = {name.lower().replace(" ", "_"): name for name in reversed(table.columns)}
    names = {}
    for target, chosen, usual in wanted:
        if chosen is not None:
            table.check_columns([chosen])
        found = chosen or next((by_spelling[name] for name in usual if name in by_spelling), None)
        if found is not None:
            names[target] = found
    return names


@dataclass(frozen=True)
class _Columns:
    """What of a table becomes which column of a row."""

    image: str
    kept: dict[str, str]  # {column of the row: column of the table}

    @classmethod
    def of(cls, table: TableFile, options: ReaderOptions) -> _Columns:
        names = _found_columns(table, options)
        if "file_name" not in names:
            listed = ", ".join(table.columns)
            raise UserError(f"no image column among {listed}", path=table.path, hint="Name it with --image-column.")
        table.check_columns(options.columns)
        image = names.pop("file_name")
        refused = {*names.values(), image, *names, *_OF_THE_FILE, *NOT_OF_THE_TABLE}
        others = [c for c in options.columns or table.columns if c not in refused and not _names_a_file(c)]
        return cls(image, {**{c: c for c in others}, **names})


def _names_a_file(column: str) -> bool:
    return column.endswith(("_file_name", "_file_names")) or not column or column.startswith("Unnamed: ")


def _rows(table: TableFile, root: Path, name: str, options: ReaderOptions, by_split: bool) -> list[dict]:
    columns = _Columns.of(table, options)
    beside = table.path.parent
    files = PictureFiles(beside if by_split else root)
    split = SPLIT_NAMES.get(beside.name.lower(), "") if by_split else ""
    rows, first_row = [], {}
    for number, values in zip(table.numbers, table.rows, strict=True):
        path = _picture(values[columns.image].strip(), files, table.path, number)
        if path in first_row:
            raise UserError(
                f"image {values[columns.image]!r} is in row {first_row[path]} too", path=table.path, row=number
            )
        first_row[path] = number
        row = {target: values[source].strip() for target, source in columns.kept.items()}
        _refuse_decimal_comma(row, table.path, number)
        _spell(row, columns, name)
        if split and not row.get("split"):
            row["split"] = split
        rows.append({"path": path, "camera_file": path.relative_to(root).as_posix(), **row})
    return checked_rows(rows, table.path, table.numbers)


def _picture(name: str, files: PictureFiles, table: Path, number: int) -> Path:
    try:
        found = files.find(name, table.parent)
    except UserError as error:
        raise UserError(error.message, path=table, row=number, hint=error.hint) from error
    if found is None:
        raise UserError(f"image {name!r} is not there", path=table, row=number,
                        hint="Put the file back or remove the row.")  # fmt: skip
    return found


def _refuse_decimal_comma(row: dict, path: Path, number: int) -> None:
    for column, value in row.items():
        if column in COLUMNS and COLUMNS[column].numeric and _DECIMAL_COMMA.fullmatch(value):
            raise UserError(f"{column} is {value!r}; expected a decimal point", path=path, row=number,
                            hint=f"Write {value.replace(',', '.')}, here and in the rows below.")  # fmt: skip


def _spell(row: dict, columns: _Columns, name: str) -> None:
    if "label" in row:
        row["label"] = row["label"].lower()
    # A column called patient_id is ours or made for us, and carries its collection already.
    if row.get("patient_id") and columns.kept["patient_id"] != "patient_id":
        row["patient_id"] = f"{name}-{row['patient_id']}"


def _one_split_a_patient(rows: list[dict], root: Path) -> None:
    """Each table is checked for itself; a patient may still be in the tables of two splits."""
    seen: dict[str, dict] = {}
    for row in rows:
        patient, split = row.get("patient_id"), row.get("split")
        if patient and split:
            other = seen.setdefault(patient, row)
            if other["split"] != split:
                raise UserError(
                    f"patient {patient} is in {other['split']} ({other['camera_file']}) and in {split} "
                    f"({row['camera_file']}); expected every patient in one split only", path=root,
                )  # fmt: skip


READER = Reader("csv", detect, read)
