"""One camera file -> its standardised image and masks on disk, and what the table says of it. Runs in the workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..data.image_file import read_image, write_image
from ..runtime.errors import UserError
from ..runtime.files import sha256_bytes
from .field_of_view import HOPELESS, FieldOfView, find_field_of_view
from .standardize import map_landmarks, resample_mask, standardize


@dataclass(frozen=True)
class Task:
    """One camera file to be done: where it is, what it becomes, its masks by kind, and its row so far."""

    path: Path
    file_name: str
    masks: dict[str, Path]
    row: dict


@dataclass(frozen=True)
class Recipe:
    """What is done to every file; `folder` is the dataset folder in the making."""

    folder: Path
    size: int
    illumination: str


@dataclass(frozen=True)
class Outcome:
    """The finished row, or why there is none."""

    row: dict | None
    reason: str = ""


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
    image = read_image(task.path)
    height, width = image.shape[:2]
    fov = find_field_of_view(image)
    if fov.confidence < HOPELESS:
        raise UserError(f"no usable field of view (confidence {fov.confidence:.2f}): {fov.reason}", path=task.path)
    result = standardize(image, recipe.size, recipe.illumination, fov)
    masks = {kind: _camera_mask(path, result.fov, (height, width), recipe.size) for kind, path in task.masks.items()}
    if "fov" in masks:
        masks["fov"] = np.minimum(masks["fov"], result.mask)
    elif not np.array_equal(result.mask, _whole_circle(recipe.size)):
        masks["fov"] = result.mask
    stem = Path(task.file_name).stem
    for kind, mask in masks.items():
        write_image(recipe.folder / "masks" / kind / f"{stem}.png", mask)
    content = write_image(recipe.folder / task.file_name, result.image)
    return {
        **task.row,
        "file_name": task.file_name,
        "camera_width": width,
        "camera_height": height,
        "fov_x": result.fov.x,
        "fov_y": result.fov.y,
        "fov_r": result.fov.radius,
        "fov_confidence": round(fov.confidence, 4),
        "fov_reason": fov.reason,
        **map_landmarks(task.row, result.fov, width),
        "sha256": sha256_bytes(content),
    }


def _camera_mask(path: Path, fov: FieldOfView, shape: tuple[int, int], size: int) -> np.ndarray:
    mask = read_image(path)[..., 0]
    if mask.shape != shape:
        found, expected = (f"{s[1]} x {s[0]}" for s in (mask.shape, shape))
        raise UserError(f"the mask is {found} pixels, its image {expected}", path=path)
    return resample_mask(mask, fov, size)


def _whole_circle(size: int) -> np.ndarray:
    half = size / 2
    return FieldOfView(half, half, half, 1.0, "", (0.0, 0.0, float(size), float(size))).mask(size, size)
