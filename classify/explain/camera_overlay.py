"""Maps laid over the camera file that a standardised image was cropped from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ...data.dataset import FundusDataset
from ...data.image_file import read_image
from ...data.schema import is_missing
from ...preprocess.field_of_view import FieldOfView
from ...preprocess.orientation import upright
from ...runtime.errors import UserError

_WIDEST = 1600
_INVERSE = {"turned_clockwise": "turned_counterclockwise", "turned_counterclockwise": "turned_clockwise"}
_NEEDED = ("camera_file", "camera_width", "camera_height", "fov_x", "fov_y", "fov_r")


def camera_files(dataset: FundusDataset, folder: Path | str, indices: np.ndarray) -> dict[int, Path]:
    """{index: path} of the camera files that are there.

    Args:
        folder: what the column camera_file is relative to: the SRC of fundus-preprocess run.
        indices: which images.

    Raises:
        UserError: no such folder, a dataset that does not say how its images were cropped, or not one of the files is there.
    """
    folder, found = Path(folder), {}
    if not folder.is_dir():
        raise UserError("no such folder; expected the camera files", path=folder)
    rows = {int(i): dataset.table.iloc[int(i)] for i in indices}
    known = {i: row for i, row in rows.items() if all(not is_missing(row.get(name)) for name in _NEEDED)}
    if rows and not known:
        raise UserError("does not say where in its camera file an image lies (camera_file, fov_x, fov_y, fov_r)",
                        path=dataset.path / "metadata.csv", hint="Make it with fundus-preprocess run.")  # fmt: skip
    for index, row in known.items():
        path = folder / row["camera_file"]
        if path.is_file():
            found[index] = path
    if known and not found:
        raise UserError(f"holds none of the camera files, e.g. {next(iter(known.values()))['camera_file']}", path=folder,
                        hint="Name the folder that was given to fundus-preprocess run.")  # fmt: skip
    return found


def camera_map(attribution: np.ndarray, row: Mapping[str, object], height: int, width: int) -> np.ndarray:
    """A map of the standardised image, on its camera file shrunk to `height` x `width` pixels; 0 outside the crop.

    Args:
        attribution: float (s, s).
        row: of metadata.csv, with the crop, and how the image was turned since (orientation_undone).

    Returns:
        float32 (height, width).
    """
    undone = str(row.get("orientation_undone") or "ok")
    turned = upright(np.asarray(attribution, np.float32), _INVERSE.get(undone, undone))
    field = FieldOfView(float(row["fov_x"]), float(row["fov_y"]), float(row["fov_r"]), 1.0, "", (0.0, 0.0, 0.0, 0.0))
    matrix = field.from_square(len(attribution))
    scale = np.array([width / float(row["camera_width"]), height / float(row["camera_height"])])
    matrix = matrix * scale[:, None]
    # FieldOfView counts from a pixel's corner, OpenCV from its centre.
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    return cv2.warpAffine(turned, matrix, (width, height), flags=cv2.INTER_LINEAR)


def read_camera(path: Path, row: Mapping[str, object]) -> np.ndarray:
    """The camera file, at most 1600 pixels wide: uint8 (h, w, 3).

    Raises:
        UserError: it cannot be read, or is not as large as the table says.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    expected = int(row["camera_width"]), int(row["camera_height"])
    if (width, height) != expected:
        raise UserError(f"is {width} x {height} pixels, but metadata.csv says {expected[0]} x {expected[1]}", path=path,
                        hint="It is another file than the one the image was made from.")  # fmt: skip
    if width <= _WIDEST:
        return image
    return cv2.resize(image, (_WIDEST, round(height * _WIDEST / width)), interpolation=cv2.INTER_AREA)
