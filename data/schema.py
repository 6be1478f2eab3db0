"""The data contract: the columns of metadata.csv, their units and ranges, and the checks every dataset folder passes.

Missing values are empty. Columns that are not named here are kept as text.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ..runtime.errors import UserError
from ..runtime.files import sha256_bytes

ODIR_CODES = tuple("NDGCAHMO")
ODIR_LABELS = dict(
    zip(ODIR_CODES, "normal diabetes glaucoma cataract amd hypertension myopia other".split(), strict=True)
)
SPLITS = ("train", "val", "test")
MASKS = "masks"  # the folder of masks beside images/


@dataclass(frozen=True)
class Column:
    """One column: what it means, and which values are allowed (`choices` for words, `low`..`high` for numbers)."""

    meaning: str
    choices: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    integer: bool = False

    @property
    def numeric(self) -> bool:
        return not math.isnan(self.low)


def _word(meaning: str, *choices: str) -> Column:
    return Column(meaning, choices=choices)


def _number(meaning: str, low: float, high: float, integer: bool = False) -> Column:
    return Column(meaning, low=low, high=high, integer=integer)


COLUMNS: dict[str, Column] = {
    "file_name": _word("path of the image below the dataset folder, with forward slashes"),
    "patient_id": _word("who; carries its collection (odir-12), so that ids compare across datasets"),
    "eye": _word("which eye", "left", "right"),
    "label": _word("class name, lower case; empty when unknown or when there are several"),
    **{code: _number(f"ODIR label {name}", 0, 1, True) for code, name in ODIR_LABELS.items()},
    "grade": _number("ICDR severity of diabetic retinopathy", 0, 4, True),
    "hemoglobin_g_dl": _number("haemoglobin, g/dL", 1, 25),
    "age_years": _number("age, years", 0, 120),
    "sex": _word("sex", "female", "male"),
    "systolic_mmhg": _number("systolic blood pressure, mmHg", 40, 300),
    "diastolic_mmhg": _number("diastolic blood pressure, mmHg", 20, 200),
    "camera": _word("camera model"),
    "source": _word("collection the image came from"),
    "split": _word("part of the dataset", *SPLITS),
    "camera_file": _word("camera file this image was made from"),
    "camera_width": _number("width of the camera file, pixels", 1, 100_000, True),
    "camera_height": _number("height of the camera file, pixels", 1, 100_000, True),
    "fov_x": _number("centre of the field of view, pixels of the camera file", -100_000, 100_000),
    "fov_y": _number("centre of the field of view, pixels of the camera file", -100_000, 100_000),
    "fov_r": _number("radius of the field of view, pixels of the camera file", 0, 100_000),
    "fov_confidence": _number("how sure the field of view is", 0, 1),
    "disc_x": _number("optic disc centre, fraction of this image's width", -1, 2),
    "disc_y": _number("optic disc centre, fraction of this image's width", -1, 2),
    "disc_r": _number("optic disc radius, fraction of this image's width", 0, 1),
    "fovea_x": _number("fovea, fraction of this image's width", -1, 2),
    "fovea_y": _number("fovea, fraction of this image's width", -1, 2),
    "disc_confidence": _number("how sure the optic disc is", 0, 1),
    "fovea_confidence": _number("how sure the fovea is", 0, 1),
    "centred": _word("what the picture is centred on", "macula", "disc", "neither"),
    "orientation": _word(
        "how the picture is turned",
        "ok",
        "mirrored",
        "upside_down",
        "turned_clockwise",
        "turned_counterclockwise",
        "unknown",
    ),
    "orientation_confidence": _number("how sure the orientation is", 0, 1),
    "quality": _number("gradability", 0, 1),
    "picture_kind": _word(
        "what the picture shows", "fundus", "red_free", "fluorescein", "external_eye", "blank", "text", "photograph"
    ),
    "picture_kind_confidence": _number("how sure the kind is", 0, 1),
    "cup_to_disc": _number("vertical cup-to-disc ratio", 0, 1),
    "av_ratio": _number("calibre of arteries over that of veins", 0.2, 1.5),
    "tessellation": _number("how much of the choroid shows through", 0, 1),
    "cataract": _number("how cloudy the lens is", 0, 1),
    "pregnancy_trimester": _number("trimester of pregnancy", 1, 3, True),
    "fold": _number("number of the fold in a division into folds", 0, 1000, True),
    "synthetic": _word("made by a generator or a simulation", "true", "false"),
    "generator": _word("which generator made it"),
    "seed": _word("seed that makes it again"),
    "sha256": _word("SHA-256 of the image file"),
}


def patient_hash(patient_id: str) -> str:
    """What a generator file records of a patient: SHA-256 of "fundus-synth patient " + id, 64 hex digits."""
    return sha256_bytes(f"fundus-synth patient {patient_id}".encode())


def read_table(path: Path) -> pd.DataFrame:
    """Read a metadata.csv and check every value.

    Returns:
        DataFrame with a RangeIndex; numeric columns float64 (missing NaN), all others str (missing "").

    Raises:
        UserError: unreadable file, or a row that breaks the schema; it names the row and says what was expected.
    """
    return validate_table(read_csv(path), path)


def read_csv(path: Path, **options: object) -> pd.DataFrame:
    """Read any CSV as text (missing values ""), with errors a user understands.

    Raises:
        UserError: missing file, not text, ragged rows, or no rows.
    """
    try:
        with warnings.catch_warnings():
            # With index_col=False pandas warns of rows with more fields than the header; unasked it would shift every column.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(
                path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False, **options
            )
    except FileNotFoundError as error:
        raise UserError("no such file", path=path) from error
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8 text; expected a CSV file", path=path, hint="Save it as UTF-8.") from error
    except pd.errors.ParserWarning as error:
        raise UserError("has rows with more fields than the header", path=path,
                        hint="Put text and numbers with a comma in quotes.") from error  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OSError) as error:
        raise UserError(f"cannot be read as CSV ({error})", path=path) from error
    if table.empty:
        raise UserError("has no rows; expected one row an image", path=path)
    return table.rename(columns=str.strip).reset_index(drop=True)


def validate_table(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Check a table of text against the schema and return it with numbers as numbers; errors as in `read_table`."""
    if "file_name" not in table.columns:
        raise UserError(f"has no column file_name; its columns are {', '.join(table.columns)}", path=path)
    table = table.copy()
    for name in table.columns:
        values = table[name].astype(str).str.strip()
        column = COLUMNS.get(name)
        if column is not None and column.numeric:
            table[name] = _numbers(name, column, values, path)
        else:
            table[name] = values
            if column is not None and column.choices:
                _check_choices(name, column, values, path)
    _check_file_names(table, path)
    check_split(table, path)
    return table


def _numbers(name: str, column: Column, values: pd.Series, path: Path) -> pd.Series:
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce").astype("float64")
    wrong = (values != "") & (numbers.isna() | (numbers < column.low) | (numbers > column.high))
    if column.integer:
        wrong |= numbers.notna() & (numbers % 1 != 0)
    for index in values.index[wrong]:
        kind = "a whole number" if column.integer else "a number"
        expected = f"expected {kind} from {column.low:g} to {column.high:g} ({column.meaning})"
        raise UserError(f"{name} is {values[index]!r}; {expected}{_gram_per_litre(name, numbers[index])}",
                        path=path, row=index + 2)  # fmt: skip
    return numbers


def _gram_per_litre(name: str, value: float) -> str:
    if name == "hemoglobin_g_dl" and 30 <= value <= 250:
        return f". This looks like g/L, not g/dL: {value:g} g/L is {value / 10:g} g/dL"
    return ""


def _check_choices(name: str, column: Column, values: pd.Series, path: Path) -> None:
    wrong = ~values.isin(("", *column.choices))
    for index in values.index[wrong]:
        raise UserError(
            f"{name} is {values[index]!r}; expected {' or '.join(column.choices)}", path=path, row=index + 2
        )


def _check_file_names(table: pd.DataFrame, path: Path) -> None:
    for index, name in table["file_name"].items():
        if not name:
            raise UserError("file_name is empty", path=path, row=index + 2)
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise UserError(
                f"file_name {name!r} leaves the dataset folder; expected images/...", path=path, row=index + 2
            )
    repeated = table["file_name"].duplicated()
    for index in table.index[repeated]:
        raise UserError(f"file_name {table['file_name'][index]!r} is there twice", path=path, row=index + 2)


def check_split(table: pd.DataFrame, path: Path) -> None:
    """A patient belongs to one split only.

    Raises:
        UserError: naming the patient and a row of each side.
    """
    if "split" not in table.columns or "patient_id" not in table.columns:
        return
    known = table[(table["patient_id"] != "") & (table["split"] != "")]
    sides = known.groupby("patient_id", sort=False)["split"].nunique()
    for patient in sides.index[sides > 1]:
        rows = known[known["patient_id"] == patient].drop_duplicates("split")
        where = " and ".join(f"{split} (row {index + 2})" for index, split in rows["split"].items())
        raise UserError(
            f"patient {patient} is in {where}; expected every patient in one split only",
            path=path,
            hint="Split again with fundus-preprocess split.",
        )


def table_to_csv(table: pd.DataFrame) -> str:
    """A metadata table as CSV text: the schema's columns first and in its order, whole numbers without a point."""
    known = [c for c in COLUMNS if c in table.columns]
    table = table[[*known, *(c for c in table.columns if c not in COLUMNS)]].copy()
    for name in table.columns:
        if table[name].dtype.kind == "f" or (name in COLUMNS and COLUMNS[name].numeric):
            table[name] = [_number_text(v) for v in table[name]]
    return table.to_csv(index=False, lineterminator="\n")


def _number_text(value: object) -> str:
    return "" if is_missing(value) else f"{float(value):.10g}"


def is_missing(value: object) -> bool:
    """True for what is written as an empty cell: None, "" and NaN."""
    return value is None or value == "" or (isinstance(value, float | np.floating) and bool(np.isnan(value)))
