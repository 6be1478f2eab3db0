"""One camera file -> its standardised image and masks on disk, and what the table says of it. Runs in the workers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ..data.image_file import Photograph, read_image, read_photograph, write_image
from ..data.schema import is_missing
from ..runtime.errors import UserError
from ..runtime.files import sha256_bytes
from .dataset_masks import whole_field
from .field_of_view import HOPELESS, FieldOfView, find_field_of_view
from .picture_kind import picture_kind
from .quality import SIDE, measure_quality
from .standardize import Standardized, field_mask, map_landmarks, resample, resample_mask, standardize

OUTPUT_FORMATS = ("png", "jpg", "webp")

# The finder looks at 512 pixels of the longer side; frames are hardly ever wider than 4:3.
_ENOUGH_TO_FIND = 384


@dataclass(frozen=True)
class Task:
    """One camera file to be done: where it is, what it becomes (the suffix says in which format), its masks by kind, and
    its row so far."""

    path: Path
    file_name: str
    masks: dict[str, Path]
    row: dict


@dataclass(frozen=True)
class Recipe:
    """What is done to every file.

    Attributes:
        folder: the dataset folder in the making.
        min_quality: images whose quality is lower are rejected; 0 takes all.
        all_kinds: take pictures, too, that surely show no retina.
    """

    folder: Path
    size: int
    illumination: str
    output_format: str = "png"
    min_quality: float = 0.0
    all_kinds: bool = False


@dataclass(frozen=True)
class Outcome:
    """The finished row, or why there is none."""

    row: dict | None
    reason: str = ""


def check_output_format(name: str) -> None:
    """Raise UserError unless images can be written as `name`."""
    if name not in OUTPUT_FORMATS:
        raise UserError(f"--output-format {name} is not known", hint=f"Use {', '.join(OUTPUT_FORMATS)}.")


def process(task: Task, recipe: Recipe) -> Outcome:
    """Standardise one camera file; trouble with the file is an outcome, not an exception."""
    try:
        return Outcome(_standardize_file(task, recipe))
    except UserError as error:
        of_mask = error.path in task.masks.values()
        return Outcome(
            None, f"mask {error.path.parent.name}/{error.path.name}: {error.message}" if of_mask else error.message
        )
    except (cv2.error, MemoryError) as error:
        return Outcome(None, f"cannot be processed ({type(error).__name__})")


def _standardize_file(task: Task, recipe: Recipe) -> dict:
    photograph, fov = _read_large_enough(task.path, recipe.size)
    # Before the circle is asked for, so that a page of text is called one.
    shown = picture_kind(photograph.pixels, fov)
    if shown.refused and not recipe.all_kinds:
        raise UserError(f"no fundus photograph (probability {shown.retina:.3f}): {shown.reason}", path=task.path)
    if fov.confidence < HOPELESS:
        raise UserError(f"no usable field of view (confidence {fov.confidence:.2f}): {fov.reason}", path=task.path)
    result = standardize(photograph.pixels, recipe.size, recipe.illumination, fov)
    quality = measure_quality(*_as_recorded(photograph.pixels, result, recipe))
    if quality.score < recipe.min_quality:
        raise UserError(low_quality(quality.score, recipe.min_quality, quality.reason), path=task.path)
    camera_fov = _in_camera_pixels(result.fov, photograph)
    shape = (photograph.height, photograph.width)
    masks = {kind: _camera_mask(path, camera_fov, shape, recipe.size) for kind, path in task.masks.items()}
    if "fov" in masks:
        masks["fov"] = np.minimum(masks["fov"], result.mask)
    elif not np.array_equal(result.mask, whole_field(recipe.size)):
        masks["fov"] = result.mask
    stem = Path(task.file_name).stem
    for kind, mask in masks.items():
        write_image(recipe.folder / "masks" / kind / f"{stem}.png", mask)
    content = write_image(recipe.folder / task.file_name, result.image)
    return {
        **task.row,
        **{name: value for name, value in photograph.columns.items() if is_missing(task.row.get(name))},
        **({"camera_file_note": photograph.note} if photograph.note else {}),
        "file_name": task.file_name,
        "camera_width": photograph.width,
        "camera_height": photograph.height,
        "fov_x": camera_fov.x,
        "fov_y": camera_fov.y,
        "fov_r": camera_fov.radius,
        "fov_confidence": round(fov.confidence, 4),
        "fov_reason": fov.reason,
        "picture_kind": shown.kind,
        "picture_kind_confidence": round(shown.confidence, 3),
        **map_landmarks(task.row, camera_fov, photograph.width),
        "quality": round(quality.score, 4),
        "sha256": sha256_bytes(content),
    }


def _as_recorded(pixels: np.ndarray, result: Standardized, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The image before its illumination is corrected, and its mask: what quality is measured on, at no less than 224 px."""
    if recipe.illumination == "none" and recipe.size >= SIDE:
        return result.image, result.mask
    size = max(recipe.size, SIDE)
    return resample(pixels, result.fov, size), field_mask(result.fov, pixels.shape[:2], size)


_LOW_QUALITY = re.compile(r"quality (\d\.\d+) is below")


def low_quality(score: float, limit: float, why: str) -> str:
    """The reason why an image of this quality is rejected."""
    return f"quality {score:.3f} is below {limit:g}" + (f": {why}" if why else "")


def rejected_quality(reason: str) -> float | None:
    """The quality in a reason by `low_quality`; None for any other reason."""
    found = _LOW_QUALITY.match(reason)
    return float(found[1]) if found else None


def _read_large_enough(path: Path, size: int) -> tuple[Photograph, FieldOfView]:
    """The camera file, decoded so large that its circle has `size` pixels across, and the field of view in that."""
    photograph = read_photograph(path, at_least=max(size, _ENOUGH_TO_FIND))
    fov = find_field_of_view(photograph.pixels)
    across = 2 * fov.radius
    if photograph.shrinking > 1 and HOPELESS <= fov.confidence and across < size:
        # A circle that is small in its frame, or cut by it.
        enough = math.ceil(min(photograph.pixels.shape[:2]) * size / across)
        photograph = read_photograph(path, at_least=enough)
        fov = find_field_of_view(photograph.pixels)
    return photograph, fov


def _in_camera_pixels(fov: FieldOfView, photograph: Photograph) -> FieldOfView:
    by = photograph.shrinking
    left, top, right, bottom = (by * edge for edge in fov.box)
    box = (left, top, min(right, float(photograph.width)), min(bottom, float(photograph.height)))
    return replace(fov, x=fov.x * by, y=fov.y * by, radius=fov.radius * by, box=box)


def _camera_mask(path: Path, fov: FieldOfView, shape: tuple[int, int], size: int) -> np.ndarray:
    # Some collections' masks are palette pictures whose foreground is red, green or blue.
    mask = read_image(path).max(axis=2)
    if mask.shape != shape:
        found, expected = (f"{s[1]} x {s[0]}" for s in (mask.shape, shape))
        raise UserError(f"the mask is {found} pixels, its image {expected}", path=path)
    return resample_mask(mask, fov, size)
