"""Cells of a collection's own table that are not columns of the schema, and what a retinopathy grade says of the class."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ...runtime.errors import UserError


def find_column(table: pd.DataFrame, pattern: str) -> str | None:
    """The first column whose name matches a regular expression somewhere, case and odd spaces ignored."""
    names = (name for name in table.columns if re.search(pattern, " ".join(name.lower().split())))
    return next(names, None)


def needed_column(table: pd.DataFrame, pattern: str, name: str, path: Path) -> str:
    """The same, or UserError: has no column `name`; it lists the columns that there are."""
    found = find_column(table, pattern)
    if found is None:
        raise UserError(f"has no column {name!r}; its columns are {', '.join(table.columns)}", path=path)
    return found


def whole_number(text: str, name: str, low: int, high: int, path: Path, row: int) -> int | None:
    """A whole number from `low` to `high`, or None for an empty cell; "2.0", as pandas writes it, is 2.

    Raises:
        UserError: anything else, with the row.
    """
    text = text.strip()
    if not text:
        return None
    match = re.fullmatch(r"(\d+)(\.0*)?", text)
    if match is None or not low <= int(match[1]) <= high:
        raise UserError(f"{name} is {text!r}; expected a whole number from {low} to {high}", path=path, row=row)
    return int(match[1])


def retinopathy_label(grade: int | None, edema: int | None) -> str:
    """The class of an eye by its retinopathy grade: "diabetes" from 1 on, "normal" for 0, "" when it is not known.

    Args:
        grade: 0 = no retinopathy on any scale. edema: risk or presence of macular oedema; None when not given.

    Returns:
        "" too for grade 0 with macular oedema: exudates near the macula are neither retinopathy nor a normal eye.
    """
    if grade is None or (grade == 0 and edema):
        return ""
    return "diabetes" if grade else "normal"
