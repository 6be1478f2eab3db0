"""A camera file, made ready for a model file: read, cropped, judged. Needs numpy, OpenCV and Pillow; workers run it."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from ...data.image_file import MAX_PIXELS, decode_image, read_image
from ...preprocess.field_of_view import HOPELESS, FieldOfView, find_field_of_view
from ...preprocess.picture_kind import picture_kind
from ...preprocess.quality import SIDE, measure_quality
from ...preprocess.standardize import Standardized, field_mask, resample, standardize
from ...runtime.errors import UserError

_ORIENTATION = 0x0112
_COLORS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_LONGEST = 1600  # pixels of a frame that a map is laid over


@dataclass(frozen=True)
class Recipe:
    """How photographs are made ready.

    Attributes:
        size: side of the standardised image, pixels.
        illumination: see `preprocess.illumination`.
        keep_frame: hand the camera frame on, so that a map can be laid over it.
    """

    size: int
    illumination: str
    keep_frame: bool = False


@dataclass(frozen=True)
class Prepared:
    """A camera file, ready or not.

    Attributes:
        image: uint8 (size, size, 3), standardised; None when the file cannot be read or shows no usable field of view.
        quality, quality_reason: see `preprocess.quality.Quality`; nan and "" without an image.
        retina: see `preprocess.picture_kind.PictureKind`; nan for a file that cannot be read.
        reason: why there is no image although the file could be read.
        problem: why the file cannot be read.
        frame: uint8 (height, width, 3), the camera frame with at most 1600 pixels on its longer side, when asked for.
        fov: the field of view in the pixels of `frame`.
    """

    image: np.ndarray | None = None
    quality: float = np.nan
    quality_reason: str = ""
    retina: float = np.nan
    reason: str = ""
    problem: str = ""
    frame: np.ndarray | None = None
    fov: FieldOfView | None = None


def prepare(path: Path, recipe: Recipe) -> Prepared:
    """Read a camera file, find its field of view, standardise it and judge it; trouble is told, not raised."""
    try:
        pixels = read_camera_file(path)
    except UserError as error:
        return Prepared(problem=error.message)
    fov = find_field_of_view(pixels)
    shown = picture_kind(pixels, fov)
    if fov.confidence < HOPELESS:
        seen = shown.reason or fov.reason or "it is not sure enough"
        return Prepared(retina=shown.retina, reason=f"No field of view was found ({seen}): take the photograph again.")
    found = standardize(pixels, recipe.size, recipe.illumination, fov)
    quality = measure_quality(*_as_recorded(pixels, found, recipe))
    frame, small = _frame(pixels, found.fov) if recipe.keep_frame else (None, None)
    return Prepared(found.image, quality.score, quality.reason, shown.retina, frame=frame, fov=small)


def read_camera_file(path: Path) -> np.ndarray:
    """As `data.image_file.read_image`, with the same pixels. A plain JPEG is decoded by OpenCV in half the time, for Pillow's
    pixels have to be copied twice; all else that a file can be is left to Pillow.

    Raises:
        UserError: see `read_image`.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return read_image(path)  # it tells what is wrong
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _COLORS) if _plain_jpeg(content) else None
    return decode_image(content, path) if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _plain_jpeg(content: bytes) -> bool:
    """Whether it is a whole JPEG of one scan, upright, in RGB, without a colour profile and not absurdly large."""
    if content[:3] != b"\xff\xd8\xff" or content[-2:] != b"\xff\xd9":
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # `Image.open` would load the readers of five formats first, which takes as long as decoding.
            with JpegImageFile(io.BytesIO(content)) as header:
                upright = header.getexif().get(_ORIENTATION, 1) == 1
                plain = header.mode == "RGB" and not header.info.keys() & {"icc_profile", "progressive"}
                return upright and plain and header.width * header.height <= MAX_PIXELS
    except Exception:
        return False  # whatever is wrong with it, `decode_image` tells


def _as_recorded(pixels: np.ndarray, found: Standardized, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """What quality is measured on: the image before its illumination is corrected, and its mask."""
    if recipe.illumination == "none" and recipe.size >= SIDE:
        return found.image, found.mask
    size = max(recipe.size, SIDE)
    return resample(pixels, found.fov, size), field_mask(found.fov, pixels.shape[:2], size)


def _frame(pixels: np.ndarray, fov: FieldOfView) -> tuple[np.ndarray, FieldOfView]:
    scale = min(1.0, _LONGEST / max(pixels.shape[:2]))
    size = [max(1, round(scale * side)) for side in pixels.shape[1::-1]]
    box = tuple(scale * edge for edge in fov.box)
    small = FieldOfView(scale * fov.x, scale * fov.y, scale * fov.radius, fov.confidence, fov.reason, box)
    return (pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)), small
