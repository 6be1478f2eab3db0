"""Errors that users meet: one line naming the file, the row, what was expected and what to do."""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """Bad input that the user can mend. The commands print it as one line and exit with code 2.

    Args:
        message: what is wrong and what was expected instead.
        path: the file or folder it is about.
        row: the row of a table, counted as a spreadsheet does (the header is row 1).
        hint: what to do.
    """

    def __init__(
        self, message: str, *, path: Path | str | None = None, row: int | None = None, hint: str | None = None
    ):
        self.message, self.path, self.row, self.hint = message, path, row, hint
        super().__init__(message)

    def __reduce__(self):
        # Keyword-only arguments do not survive pickling by default, and workers hand their errors to the parent.
        return _rebuild, (self.message, self.path, self.row, self.hint)

    def __str__(self) -> str:
        where = f"{self.path}" if self.path is not None else ""
        if self.row is not None:
            where += f", row {self.row}" if where else f"row {self.row}"
        text = f"{where}: {self.message}" if where else self.message
        if self.hint:
            text = f"{text.rstrip('. ')}. {self.hint}"
        return " ".join(text.split())


def _rebuild(message, path, row, hint) -> UserError:
    return UserError(message, path=path, row=row, hint=hint)


class JobError(Exception):
    """A job of a job list failed; the commands print it as one line and exit with code 1."""


def counts(found: dict[str, int]) -> str:
    """`{"normal": 40, "anemic": 12}` -> "normal (40), anemic (12)", for messages that list what there is."""
    return ", ".join(f"{name} ({number})" for name, number in found.items()) or "none"
