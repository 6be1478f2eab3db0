"""Pictures that a table or two grade for diabetic retinopathy: what APTOS and EyePACS have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...runtime.errors import UserError
from ..sheets import read_sheet
from .base import list_images
from .cells import retinopathy_label, whole_number
from .tree import by_stem, first_lines, stem_key


@dataclass(frozen=True)
class Graded:
    """One row of a table of grades.

    Attributes:
        name: the picture as the table names it.
        grade: ICDR, 0..4.
        split: which part of the collection the table is ("" when it is the only one).
        path, number: the table and the row, as a spreadsheet counts.
        cells: the whole row.
    """

    name: str
    grade: int
    split: str
    path: Path
    number: int
    cells: dict[str, str]

    def columns(self, picture: Path, root: Path) -> dict:
        """The row of the metadata table that every graded picture has."""
        row = {
            "path": picture,
            "camera_file": picture.relative_to(root).as_posix(),
            "grade": self.grade,
            "label": retinopathy_label(self.grade, None),
        }
        return row | ({"split": self.split} if self.split else {})


def has_columns(path: Path, *names: str) -> bool:
    """Whether the first line of a CSV file names these columns; case and quotes are ignored."""
    header = [cell.strip().strip('"').lower() for cell in first_lines(path, 1)[0].split(",")]
    return set(names) <= set(header)


def read_grades(tables: Sequence[tuple[Path, str]], image: str, grade: str) -> dict[str, Graded]:
    """Read (table, split) one after another: {stem key of the picture: its row}.

    A picture that a later table repeats with the same grade and split counts once: mirrors come with a shortened copy
    of their table.

    Raises:
        UserError: a column that is not there, a grade that is not 0..4, or a picture with two grades or in two splits.
    """
    found: dict[str, Graded] = {}
    for path, split in tables:
        table = read_sheet(path)
        missing = [name for name in (image, grade) if name not in table.columns]
        if missing:
            raise UserError(
                f"has no column {', '.join(missing)}; its columns are {', '.join(table.columns)}", path=path
            )
        for number, cells in enumerate(table.to_dict("records"), start=2):
            row = _row(cells, image, grade, split, path, number)
            first = found.setdefault(stem_key(row.name), row)
            if (first.grade, first.split) != (row.grade, row.split):
                raise UserError(_contradiction(first, row), path=path, row=number)
    return found


def _row(cells: dict[str, str], image: str, grade: str, split: str, path: Path, number: int) -> Graded:
    value = whole_number(cells[grade], grade, 0, 4, path, number)
    if value is None:
        raise UserError(f"{grade} is empty; expected a whole number from 0 to 4", path=path, row=number)
    name = cells[image].strip()
    if not name:
        raise UserError(f"{image} is empty; expected the name of a picture", path=path, row=number)
    return Graded(name, value, split, path, number, cells)


def _contradiction(first: Graded, row: Graded) -> str:
    where = f"row {first.number}" if first.path == row.path else f"{first.path.name}, row {first.number},"
    if first.grade != row.grade:
        return f"{row.name} has grade {row.grade} here and {first.grade} in {where}; expected one grade a picture"
    return f"{row.name} is {row.split} here and {first.split} in {where}; expected every picture in one split only"


def pictures_of(
    graded: dict[str, Graded], src: Path, second_choice: str, unlisted: str
) -> tuple[list[tuple[Path, Graded]], list[tuple[str, str]]]:
    """The pictures below `src` that are graded, and what is left out with its reason.

    Args:
        second_choice: a word in a folder's name, such as "crop": of two files of one picture, the other is taken.
        unlisted: the reason given for pictures without a row.
    """
    files = sorted(list_images(src), key=lambda p: second_choice in p.relative_to(src).parent.as_posix().lower())
    pictures, further = by_stem(files)
    found = [(path, graded[key]) for key, path in pictures.items() if key in graded]
    ignored = [(path.relative_to(src).as_posix(), unlisted) for key, path in pictures.items() if key not in graded]
    ignored += [(path.relative_to(src).as_posix(), "the same picture again in another folder") for path in further]
    ignored += [(row.name, f"no picture of this row of {row.path.name}") for key, row in graded.items()
                if key not in pictures]  # fmt: skip
    return sorted(found, key=lambda pair: pair[0]), ignored
