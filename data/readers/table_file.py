"""A user's own table, whatever wrote it: CSV with any of the usual separators, Excel, JSON lines. All cells are text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import UserError
from ..schema import read_csv
from ..sheets import read_sheet

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx", ".xls", ".jsonl")
_SEPARATORS = ",;\t|"


@dataclass(frozen=True)
class TableFile:
    """A table read.

    Attributes:
        path: the file.
        columns: names of its columns.
        rows: one dict of text a row; missing cells are "".
        numbers: each row's number for messages: as a spreadsheet counts, or the line of a .jsonl.
    """

    path: Path
    columns: list[str]
    rows: list[dict[str, str]]
    numbers: list[int]

    def check_columns(self, names: Sequence[str]) -> None:
        """Raise UserError when the table lacks one of these columns."""
        for name in names:
            if name not in self.columns:
                raise UserError(f"has no column {name!r}; its columns are {', '.join(self.columns)}", path=self.path)


def read_table_file(path: Path) -> TableFile:
    """Read a .csv, .tsv, .xlsx, .xls or .jsonl; empty rows are passed over and keep their numbers.

    Raises:
        UserError: missing, not readable as what its name says, rows of another length than the header, or no rows.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _read_json_lines(path)
    if suffix in (".csv", ".tsv"):
        table = read_csv(path, sep=_separator(path), skip_blank_lines=False)
    else:
        table = read_sheet(path)
    records = table.to_dict("records")
    numbered = [(number, row) for number, row in enumerate(records, start=2) if any(row.values())]
    if not numbered:
        raise UserError("has no rows; expected one row an image", path=path)
    return TableFile(path, list(table.columns), [row for _, row in numbered], [number for number, _ in numbered])


def _separator(path: Path) -> str:
    """The separator that the header has most of, outside quotes."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as stream:
            header = stream.readline()
    except OSError:
        return ","  # the reading that follows says what is wrong
    outside = "".join(header.split('"')[::2])
    return max(_SEPARATORS, key=outside.count)


def _read_json_lines(path: Path) -> TableFile:
    rows, numbers = [], []
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot be read as UTF-8 text", path=path) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            rows.append(_json_row(line, path, number))
            numbers.append(number)
    if not rows:
        raise UserError("has no rows; expected one JSON object a line", path=path)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return TableFile(path, columns, [{name: row.get(name, "") for name in columns} for row in rows], numbers)


def _json_row(line: str, path: Path, number: int) -> dict[str, str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"is not JSON ({error})", path=path, row=number) from error
    if not isinstance(row, dict):
        raise UserError("holds JSON, but not an object { }", path=path, row=number)
    return {str(name).strip(): _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
