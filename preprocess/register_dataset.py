"""A whole dataset laid on the canonical eye, so that the same pixel is the same place in every image."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..runtime.errors import UserError
from ..runtime.files import refuse_existing, write_text
from ..runtime.progress import Progress
from ..version import __version__
from .dataset_masks import read_masks, whole_field
from .landmark_columns import landmarks_of, unusable, with_landmarks
from .orientation import is_mirrored
from .registration import DISC, FOVEA, canonical_map, scaled, warp

_SMALLEST = 16
# The circle in the camera file says how to undo a crop; that is no longer all that happened to the image.
_NO_LONGER_TRUE = ("fov_x", "fov_y", "fov_r")
_EXPLAINED = (
    "column registration: six numbers a b c d e f; a place (x, y) of the image in the parent dataset, in fractions of its "
    "width, is now at (a x + b y + c, d x + e y + f); the circle in the camera file (fov_x, fov_y, fov_r) is in the parent"
)


def register_dataset(
    dataset: FundusDataset, out: Path | str, *, size: int | None = None, quiet: bool = False
) -> FundusDataset:
    """Write every image whose optic disc and fovea are visible, laid on the canonical right eye, into a new dataset folder.

    Masks go with their images, those of two values without new ones; each image gets a mask `fov`, for its field is no
    longer the inscribed circle. Left eyes are mirrored and stay left eyes in the column `eye`; `mirrored` says which were.
    `registration` holds the map, see `parse_registration`. What is known to be mirrored or turned is put right on the way.
    fov_x, fov_y and fov_r are left to the parent dataset. Images that cannot be registered are in ignored.csv, with the
    reason. Landmarks that the data do not give are found here.

    Args:
        dataset: standardised images.
        size: side of the new images in pixels; that of each image by default.

    Raises:
        UserError: `out` exists, an image is not square or a mask does not fit it, or no image can be registered.
    """
    refuse_existing(Path(out))
    if size is not None and size < _SMALLEST:
        raise UserError(f"--size {size} is too small; expected at least {_SMALLEST} pixels")
    found = with_landmarks(dataset, quiet)
    reasons = [unusable(row) for row in found.table.to_dict("records")]
    if all(reasons):
        raise UserError(f"none of {len(found)} images can be registered; the first: {reasons[0]}", path=dataset.path)
    with (
        DatasetWriter(out, _info(dataset, size)) as writer,
        Progress(len(found), "registering", quiet=quiet) as progress,
    ):
        for index, reason in enumerate(reasons):
            if not reason:
                _add(writer, found, index, size)
            progress.advance()
        left_out = [(found.table["file_name"][index], reason) for index, reason in enumerate(reasons) if reason]
        if left_out:
            write_text(writer.folder / "ignored.csv", _csv([("camera_file", "reason"), *left_out]))
    return FundusDataset.open(out)


def parse_registration(text: str) -> np.ndarray:
    """The map in the column `registration`, float64 (2, 3), between fractions of the width.

    `scaled(map, side, size)` is the one between pixels; `inverted` gives the way back.

    Raises:
        UserError: not six numbers.
    """
    try:
        return np.array([float(word) for word in text.split()]).reshape(2, 3)
    except ValueError as error:
        raise UserError(f"registration is {text!r}; expected six numbers with spaces between them") from error


def _add(writer: DatasetWriter, dataset: FundusDataset, index: int, size: int | None) -> None:
    row = dataset.table.iloc[index].to_dict()
    image = dataset.read(index)
    side, size = len(image), size or len(image)
    landmarks = landmarks_of(row)
    mirror = is_mirrored(landmarks, row["orientation"])
    unit = canonical_map(landmarks, 1, 1, mirror)
    pixels = scaled(unit, side, size)
    masks = {"fov": whole_field(side), **read_masks(dataset, index, side)}
    moved = {kind: warp(mask, pixels, size, nearest=np.unique(mask).size <= 2) for kind, mask in masks.items()}
    writer.add(_row(row, unit, mirror), warp(image, pixels, size), moved)


def _row(row: dict, unit: np.ndarray, mirror: bool) -> dict:
    kept = {name: value for name, value in row.items() if name not in _NO_LONGER_TRUE}
    return {
        **kept,
        "disc_x": DISC[0], "disc_y": DISC[1], "disc_r": landmarks_of(row).disc_r * np.sqrt(abs(np.linalg.det(unit[:, :2]))),
        "fovea_x": FOVEA[0], "fovea_y": FOVEA[1], "centred": "macula",
        "orientation": "unknown" if row["orientation"] == "unknown" else "ok",
        "mirrored": "true" if mirror else "false",
        "registration": " ".join(f"{value:.10g}" for value in unit.ravel()),
    }  # fmt: skip


def _info(dataset: FundusDataset, size: int | None) -> dict:
    return {
        **dataset.info,
        **({"image_size": size} if size else {}),
        "registration": _EXPLAINED,
        "parent_fingerprint": dataset.fingerprint,
        "made_by": f"fundus-synth {__version__} preprocess register",
    }


def _csv(rows: list[tuple[str, str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
