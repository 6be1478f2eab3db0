"""Differentiable augmentation of everything a discriminator sees (Zhao, Liu, Lin, Zhu and Han 2020, "DiffAugment").

Real and generated images are augmented alike and gradients flow through, so a discriminator with few real images cannot
learn them by heart and the augmentation does not leak into the samples. Each function takes and returns float images
(B, C, H, W) in -1..1 and draws its random numbers from PyTorch's global generator, one draw an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.errors import UserError
from ..runtime.processes import random_rows

_SHIFT = 1 / 16
_HOLE = 1 / 2
_DEGREES = 15.0
# Beyond this share of changed images the generator may learn the change (Karras et al. 2020, "ADA", section 2.3).
_SAFE = 0.8


def augment(images: Tensor, policy: Sequence[str], disguise: Tensor | float = 0.0) -> Tensor:
    """Apply the parts of `policy` (names of POLICY_PARTS) one after another, then disguise some of the images.

    Args:
        policy: applied to every image; an empty policy changes nothing.
        disguise: how hard to make it for a discriminator that knows its images by heart, 0 to 1: the probability, at most
            0.8, that an image is rotated, and likewise shifted once more, and given a hole. Colours stay.
    """
    for part in policy:
        images = POLICY_PARTS[part](images)
    share = min(float(disguise), _SAFE)
    if share > 0:
        for change in (rotate, translate, cutout):
            images = sometimes(change, images, share)
    return images


def sometimes(change: Callable[[Tensor], Tensor], images: Tensor, share: float) -> Tensor:
    """Change each image with probability `share`."""
    chosen = _random_like(images) < share
    return torch.where(chosen, change(images), images)


def rotate(images: Tensor) -> Tensor:
    """Rotate each image about its centre by up to 15 degrees either way, bilinearly; what comes in is black."""
    degrees = (2 * random_rows(torch.rand, len(images), device=images.device) - 1) * _DEGREES
    return turn(images, degrees)


def turn(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate image b by degrees[b] counter-clockwise about its centre, bilinearly, filling with black (-1)."""
    angle = torch.deg2rad(degrees).to(images.dtype)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cosine, -sine, zero], 1), torch.stack([sine, cosine, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bilinear", align_corners=False) - 1


def translate(images: Tensor) -> Tensor:
    """Shift each image by up to a sixteenth of its size in each direction; what comes in is black.

    The paper shifts by up to an eighth and fills with 0, which is mid-grey here.
    """
    count, _, height, width = images.shape
    down = _random_integers(count, round(height * _SHIFT), images.device)
    right = _random_integers(count, round(width * _SHIFT), images.device)
    return shift(images, down, right)


def shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift image b by down[b] and right[b] pixels (int64, negative is up and left), filling with black (-1)."""
    count, _, height, width = images.shape
    rows = torch.arange(height, device=images.device) - down[:, None]
    columns = torch.arange(width, device=images.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    index = (rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]).view(count, 1, -1)
    moved = images.flatten(2).gather(2, index.expand(-1, images.shape[1], -1)).view_as(images)
    return torch.where(inside[:, None], moved, -1.0)


def cutout(images: Tensor) -> Tensor:
    """Zero one square of half the image's size, centred anywhere in the image (so it may be partly outside)."""
    count, _, height, width = images.shape
    rows = _in_hole(count, height, images.device)
    columns = _in_hole(count, width, images.device)
    return images * ~(rows[:, :, None] & columns[:, None, :])[:, None]


def mild_color(images: Tensor) -> Tensor:
    """Change brightness by up to 0.2 of the range -1..1 and saturation by up to half; hue stays."""
    brightness = 0.4 * (_random_like(images) - 0.5)
    saturation = 0.5 + _random_like(images)
    grey = images.mean(1, keepdim=True)
    return (images - grey) * saturation + grey + brightness


POLICY_PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "color": mild_color,
    "translation": translate,
    "cutout": cutout,
    "rotation": rotate,
}

# Anaemia shows as a pale fundus: there the colour is the label, and a discriminator must see it as it is.
_COLOR_IS_THE_LABEL = {"anemic", "anemia"}


def choose_policy(name: str, classes: Iterable[str]) -> tuple[str, ...]:
    """The policy called `name` for a dataset with these classes.

    Args:
        name: "auto" (colour and translation; where the colour is the label, translation and cutout), "none", or parts
            of POLICY_PARTS joined by commas.

    Raises:
        UserError: an unknown part.
    """
    if name == "none":
        return ()
    if name == "auto":
        return ("color", "translation") if _COLOR_IS_THE_LABEL.isdisjoint(classes) else ("translation", "cutout")
    parts, known = tuple(part.strip() for part in name.split(",")), ", ".join(POLICY_PARTS)
    for part in parts:
        if part not in POLICY_PARTS:
            raise UserError(f"augmentation {part!r} is not known", hint=f"Use auto, none or {known}.")
    return parts


def _random_integers(count: int, most: int, device: torch.device) -> Tensor:
    return random_rows(partial(_integers, -most, most + 1), count, device=device)


def _random_like(images: Tensor) -> Tensor:
    return random_rows(torch.rand, len(images), 1, 1, 1, device=images.device)


def _integers(low: int, beyond: int, *shape: int, **options: object) -> Tensor:
    return torch.randint(low, beyond, shape, **options)


def _in_hole(count: int, length: int, device: torch.device) -> Tensor:
    hole = int(length * _HOLE)
    start = random_rows(partial(_integers, 0, length + 1 - hole % 2), count, 1, device=device) - hole // 2
    position = torch.arange(length, device=device)
    return (position >= start) & (position < start + hole)
