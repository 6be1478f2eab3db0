"""One pass over a dataset's images: sizes of all; light, mean image and samples of some of each class."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...runtime.errors import UserError
from ...runtime.progress import Progress
from .classes import Classes

SIDE = 160  # pixels at which images are measured, averaged and shown
_DARK = 8  # of 255: darker than this in every channel is outside the field of view
_CHUNK = 256


@dataclass
class Pictures:
    """What was seen.

    Attributes:
        files: one row an image: width, height (pixels, NaN where unreadable), format ("" where unreadable).
        measured: one row an image that was decoded, indexed like the table; columns of `measure`.
        sums: {class: (sum of images float64 (SIDE, SIDE, 3), how many)}; left eyes mirrored.
        samples: {class: [(row of the table, uint8 (SIDE, SIDE, 3))]}.
        unreadable: (file_name, reason).
    """

    files: pd.DataFrame
    measured: pd.DataFrame = field(default_factory=pd.DataFrame)
    sums: dict[str, tuple[np.ndarray, int]] = field(default_factory=dict)
    samples: dict[str, list[tuple[int, np.ndarray]]] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def mean(self, name: str) -> np.ndarray:
        """The mean image of a class, float64 (SIDE, SIDE, 3), 0..255."""
        total, count = self.sums[name]
        return total / count

    def overall_mean(self) -> np.ndarray:
        """The mean of all classes' means: every class counts alike."""
        return np.mean([self.mean(name) for name in self.sums], axis=0)


def look(
    dataset: FundusDataset, classes: Classes, per_class: int = 500, samples: int = 8, seed: int = 0, quiet: bool = True
) -> Pictures:
    """Read the header of every image, and decode at most `per_class` of each class, drawn by `seed`.

    Files that cannot be read are listed, not raised. Memory does not grow with the dataset.
    """
    pictures = Pictures(pd.DataFrame())
    pictures.files = _headers(dataset)
    broken = np.flatnonzero(pictures.files["format"] == "")
    pictures.unreadable = [(dataset.table["file_name"][row], _reason(dataset, row)) for row in broken]
    drawn = [
        (name, row)
        for name in classes.groups
        for row in draw(dataset, classes, name, per_class, seed)
        if row not in broken
    ]
    mirrored = (dataset.column("eye") == "left").to_numpy()
    rows: dict[int, dict[str, float]] = {}
    with Progress(len(drawn), "looking", quiet=quiet) as progress:
        for (name, row), image in zip(drawn, _decode(dataset, [row for _, row in drawn]), strict=True):
            progress.advance()
            if isinstance(image, str):
                pictures.unreadable.append((dataset.table["file_name"][row], image))
                continue
            rows[row] = measure(image)
            total, count = pictures.sums.get(name, (np.zeros((SIDE, SIDE, 3)), 0))
            pictures.sums[name] = (total + (image[:, ::-1] if mirrored[row] else image), count + 1)
            shown = pictures.samples.setdefault(name, [])
            if len(shown) < samples:
                shown.append((row, image))
    pictures.measured = pd.DataFrame.from_dict(rows, orient="index", columns=list(MEASURES)).sort_index()
    return pictures


def draw(dataset: FundusDataset, classes: Classes, name: str, count: int, seed: int) -> list[int]:
    """At most `count` rows of a class in random order; a patient's second image comes after every patient's first."""
    rows = np.flatnonzero(classes.of_image == name)
    rows = np.random.default_rng([seed, classes.groups.index(name)]).permutation(rows)
    patient = dataset.column("patient_id").iloc[rows]
    turn = patient.groupby(patient).cumcount().where(patient != "", 0).to_numpy()
    return [int(row) for row in rows[np.argsort(turn, kind="stable")][:count]]


MEASURES = {
    "brightness": "mean luma (ITU-R BT.601) inside the field, 0..1",
    "red": "mean of the red channel, 0..1",
    "green": "mean of the green channel, 0..1",
    "blue": "mean of the blue channel, 0..1",
    "contrast": "local contrast: standard deviation of the luma less its blur (5 px of 160), over its mean",
    "filled": "share of the square that is not black",
}


def measure(image: np.ndarray) -> dict[str, float]:
    """The MEASURES of a uint8 (SIDE, SIDE, 3) image, inside the inscribed circle less its outer twentieth."""
    bright = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2]) > _DARK
    filled = float(bright.mean())
    inside = (bright & (_radius() < 0.475 * SIDE)).astype(np.uint8)
    if inside.mean() < 0.01:
        return dict.fromkeys(MEASURES, np.nan) | {"filled": filled}
    red, green, blue, _ = np.array(cv2.mean(image, inside)) / 255
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    brightness = cv2.mean(luma, inside)[0]
    middle = inside * (_radius() < 0.42 * SIDE)  # the rim's edge is no detail of the retina
    contrast = np.nan
    if middle.any():
        _, spread = cv2.meanStdDev(luma - cv2.GaussianBlur(luma, (0, 0), 5), mask=middle.astype(np.uint8))
        contrast = float(spread[0, 0]) / brightness
    return {"brightness": brightness, "red": float(red), "green": float(green), "blue": float(blue),
            "contrast": contrast, "filled": filled}  # fmt: skip


@cache
def _radius() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    return np.hypot(x, y)


def _headers(dataset: FundusDataset) -> pd.DataFrame:
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(len(dataset)):
            try:
                with Image.open(dataset.image_path(index)) as image:
                    rows.append((float(image.width), float(image.height), str(image.format)))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                rows.append((np.nan, np.nan, ""))
    return pd.DataFrame(rows, columns=["width", "height", "format"])


def _reason(dataset: FundusDataset, row: int) -> str:
    try:
        dataset.read(row)
    except UserError as error:
        return error.message
    return "its header cannot be read"


def _decode(dataset: FundusDataset, rows: list[int]) -> Iterator[np.ndarray | str]:
    """The images in order, or the reason why one cannot be read; a bounded number at a time."""

    def one(row: int) -> np.ndarray | str:
        try:
            return fit_square(dataset.read(row), SIDE)
        except UserError as error:
            return error.message

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(rows), _CHUNK):
            yield from pool.map(one, rows[start : start + _CHUNK])
