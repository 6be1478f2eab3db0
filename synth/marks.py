"""The marks: what a synthetic image's PNG file says of itself, so that it cannot be taken for a photograph of a patient."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..runtime.errors import UserError
from ..version import __version__

NOT_A_PATIENT = "Synthetic fundus image, not a photograph of a patient"
_TRUNCATION = "fundus-synth:truncation"
_PARENT = "fundus-synth:parent"
COLUMN_MARKS = {"generator": "fundus-synth:generator", "seed": "fundus-synth:seed", "label": "fundus-synth:class"}
"""{column of metadata.csv: mark that must say the same}"""
SIMULATED = "phantom"  # the generator of simulated eyes, whose files carry no marks


def read_marks(content: bytes) -> dict[str, str]:
    """The text chunks of a PNG file; {} for another kind of file, or one that cannot be read."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.load()
            return {key: str(value) for key, value in image.text.items()}
    except Exception:
        # Pillow's decoders raise whatever the damage leads them to; the caller finds the marks missing.
        return {}


def marks_of(row: Mapping[str, object], said: Mapping[str, str]) -> dict[str, str]:
    """The marks of a published image, and nothing else of what its file said.

    Args:
        row: of metadata.csv.
        said: marks of the file as it was generated.
    """
    marks = {
        "Software": said.get("Software", f"fundus-synth {__version__}"),
        "Description": NOT_A_PATIENT,
        **{mark: str(row.get(column, "")) for column, mark in COLUMN_MARKS.items()},
    }
    return marks | {key: value for key, value in said.items() if key == _TRUNCATION}


def truncation_of(marks: Mapping[str, str]) -> float:
    """The truncation that an image was made with; 1 where none is marked.

    Raises:
        ValueError: it is not a number.
    """
    return float(marks.get(_TRUNCATION, 1))


def check_marks(said: Mapping[str, str], row: Mapping[str, object], path: Path) -> None:
    """An image is what its row says; simulated eyes carry no marks.

    Raises:
        UserError: it does not say that it is synthetic, says something else than its row, or is a translation of a
            patient's eye.
    """
    if row.get("generator") == SIMULATED and not said:
        return
    if _PARENT in said:
        raise UserError(
            "is a translation of a photograph, whose vessels identify its patient; not to be published", path=path
        )
    for fault in faults_of(said, row):
        raise UserError(fault, path=path, hint="Expected a file as fundus-synth generate wrote it.")


def faults_of(said: Mapping[str, str], row: Mapping[str, object]) -> list[str]:
    """What is wrong between a file's marks and its row, a few words each."""
    if said.get("Description") != NOT_A_PATIENT:
        return ["the file does not say that it is synthetic"]
    return [
        f"{column} is {str(row.get(column, ''))!r}, the file itself says {said.get(mark, '')!r}"
        for column, mark in COLUMN_MARKS.items()
        if said.get(mark, "") != str(row.get(column, ""))
    ]
