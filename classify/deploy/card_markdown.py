"""A page as Markdown, built with the same calls as `runtime.report.Report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd


class Markdown:
    """A page of sections. Every text is escaped: names of files, datasets and classes are read neither as Markdown nor as HTML.

    Args:
        title: the heading.
        lead: the answer, in a sentence or two.
    """

    def __init__(self, title: str, lead: str):
        self._parts = [f"# {plain(title)}", f"**{plain(lead)}**"]

    def section(self, title: str) -> Markdown:
        """Begin a section."""
        return self._add(f"## {plain(title)}")

    def text(self, text: str) -> Markdown:
        """A paragraph."""
        return self._add(plain(text))

    def points(self, texts: Sequence[str]) -> Markdown:
        """A list."""
        return self._add("\n".join(f"- {plain(text)}" for text in texts))

    def facts(self, facts: Mapping[str, object]) -> Markdown:
        """Pairs of name and value, as a list."""
        return self.points([f"{name}: {value}" for name, value in facts.items()])

    def table(self, table: pd.DataFrame, caption: str = "") -> Markdown:
        """A table; floats with three decimals, the index left out."""
        rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
        lines = [[plain(str(name)) for name in table.columns], ["---"] * table.shape[1], *rows]
        self._add("\n".join(f"| {' | '.join(line)} |" for line in lines))
        return self._add(plain(caption)) if caption else self

    def text_of_page(self) -> str:
        """The whole page."""
        return "\n\n".join(self._parts) + "\n"

    def _add(self, part: str) -> Markdown:
        self._parts.append(part)
        return self


def plain(text: str) -> str:
    """A foreign text as text, on one line."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))


def _cell(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "-" if np.isnan(value) else f"{value:.3f}"
    return plain(str(value))
