"""`aptos`: APTOS 2019 Blindness Detection, as the competition gave it and in the common split of 2930/366/366.

Karthik, Maggie and Dane 2019, "APTOS 2019 Blindness Detection", Kaggle. Only the training pictures of the competition
were ever graded in public; the split in three shares them out.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...runtime.errors import UserError
from .base import Collection, Reader, ReaderOptions
from .graded import has_columns, pictures_of, read_grades

_IMAGE, _GRADE = "id_code", "diagnosis"
_TABLES = r"(train|train_1|val|valid|validation|test|trainlabels19)\.csv"
_NO_PATIENTS = (
    "APTOS names no patients and holds the same eyes several times, some with different grades: find them with "
    "fundus-preprocess audit, and let near-duplicates stay together when splitting."
)
_GIVEN_SPLIT = "The split is by image, as it came; near-duplicates may stand on both sides of it."


def detect(src: Path) -> str:
    """Recognises tables with the columns id_code and diagnosis under their usual names."""
    return " and ".join(path.name for path in _tables(src))


def _tables(src: Path) -> list[Path]:
    """Tables with grades; the competition's test.csv has none."""
    folders = [folder for folder in (src, src / "labels") if folder.is_dir()]
    names = sorted(p for folder in folders for p in folder.iterdir() if re.fullmatch(_TABLES, p.name.lower()))
    graded = [p for p in names if p.is_file() and has_columns(p, _IMAGE, _GRADE)]
    if any(p.name.lower() == "train_1.csv" for p in graded):
        # Beside the split in three, train.csv is the competition's: the same pictures once more.
        graded = [p for p in graded if p.name.lower() != "train.csv"]
    return graded


def read(src: Path, options: ReaderOptions) -> Collection:
    """One row for each graded picture: `grade`, `label`, and `split` when there is a table for each part.

    Raises:
        UserError: no table, a missing column, a grade that is not 0..4, or a picture graded twice or in two splits.
    """
    tables = [options.table] if options.table else _tables(src)
    if not tables:
        raise UserError(f"no APTOS table; expected train.csv with the columns {_IMAGE} and {_GRADE}", path=src)
    splits = [_split(path) if len(tables) > 1 else "" for path in tables]
    graded = read_grades(list(zip(tables, splits, strict=True)), _IMAGE, _GRADE)
    found, ignored = pictures_of(graded, src, "crop", "no grade: not in a table")
    rows = [{**row.columns(path, src), "source": "aptos"} for path, row in found]
    info = {
        "source": "APTOS 2019 Blindness Detection (Kaggle)",
        "licence": "rules of the competition: research and education, not to be passed on",
        "notes": [_NO_PATIENTS, *([_GIVEN_SPLIT] if any(splits) else [])],
    }
    return Collection("aptos", src, rows, ignored, info)


def _split(path: Path) -> str:
    return next(split for split in ("train", "val", "test") if path.name.lower().startswith(split))


READER = Reader("aptos", detect, read)
