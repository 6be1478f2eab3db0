"""Tables that several sections share."""

from __future__ import annotations

import re

import pandas as pd

from ...runtime.report import Report
from .collect import Description

SHOWN_ROWS = 15


def add_cross_table(report: Report, rows: pd.Series, d: Description, name: str, by_count: bool = True) -> None:
    """Images of each value of `rows`, in all and in each class; the most frequent first, or in order of the values."""
    table = pd.crosstab(rows.to_numpy(), d.classes.of_image.to_numpy()).reindex(columns=d.classes.groups)
    table.insert(0, "images", table.sum(axis=1))
    if by_count:
        table = table.sort_values("images", ascending=False, kind="stable")
    number = len(table)
    report.table(table.head(SHOWN_ROWS).rename_axis(name).reset_index(), first_of(number, f"kinds of {name}"))


def reason_table(reasons: pd.Series, files: pd.Series | None = None) -> pd.DataFrame:
    """Reasons that differ only in their figures or in what stands in brackets are one; the most frequent first."""
    kind = reasons.map(lambda text: re.sub(r"\d[\d.]*", "..", re.sub(r" \(.*?\)", "", text)))
    table = kind.value_counts().rename_axis("reason").reset_index(name="files")
    if files is not None:
        first = files.groupby(kind.to_numpy()).first()
        table["e.g."] = table["reason"].map(first)
    return table


def first_of(number: int, what: str) -> str:
    """Caption of a table that was cut; "" when it was not."""
    return f"The first {SHOWN_ROWS} of {number} {what}." if number > SHOWN_ROWS else ""


def count_values(values: pd.Series) -> dict[str, int]:
    """{value: how often}, the most frequent first; empty ones are not counted."""
    return {str(k): int(n) for k, n in values[values != ""].value_counts().items()}


def counted_unit(d: Description) -> str:
    """What histograms of `Description.people` count."""
    return "patients" if d.dataset.patients else "images"
