"""What a feature space is, and the one way in which every one of them resizes its images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from ...data.cache import fit_square
from ...runtime.errors import UserError

SMALLEST = 64


class FeatureSpace(Protocol):
    """Images as vectors, so that sets of images have distances.

    The features of an image depend on its pixels alone, not on the images beside it.

    Attributes:
        name: as the user gave it, e.g. "retina" or "timm:resnet18"; part of every figure.
        version: changes when the same image would have other features (code, weights).
        size: side in pixels to which every image is brought, whatever its own, by `resized`.
        dimensions: d.
        feature_names: what each of the d numbers is; None for the units of a network.
        standardized: whether each feature is to be divided by its spread among the reference images before distances are
            taken (`feature_spaces.comparable`): needed where features have units of their own.
        in_processes: whether images are best shared out among processes; a network uses all cores by itself.
    """

    name: str
    version: str
    size: int
    dimensions: int
    feature_names: tuple[str, ...] | None
    standardized: bool
    in_processes: bool

    def features(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, side, side, 3) RGB of any side from 64 on -> float32 (n, d).

        Raises:
            UserError: images of another shape or type, or smaller.
        """


def batches(images: np.ndarray, size: int, count: int) -> Iterator[np.ndarray]:
    """Up to `count` images at a time, `resized`.

    Raises:
        UserError: as `resized`, before anything is measured.
    """
    images = checked_images(images)
    for start in range(0, len(images), count):
        yield resized(images[start : start + count], size)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images of any side at `size`, uint8 (n, size, size, 3): averaged over areas where they shrink, bicubic where they
    grow. Shrinking without averaging aliases, and changes distances more than many a generator does (Parmar et al.
    2022, arXiv:2104.11222).

    Raises:
        UserError: not uint8 (n, side, side, 3), or a side below 64.
    """
    images = checked_images(images)
    if images.shape[1] == size:
        return images
    return np.array([fit_square(image, size) for image in images], np.uint8).reshape(len(images), size, size, 3)


def checked_images(images: np.ndarray) -> np.ndarray:
    """The images as an array.

    Raises:
        UserError: not uint8 (n, side, side, 3), or a side below 64.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise UserError(f"features are taken of uint8 (n, side, side, 3) RGB images; got {images.dtype} {images.shape}")
    if images.shape[1] < SMALLEST:
        raise UserError(f"images of {images.shape[1]} pixels are too small for features; expected at least {SMALLEST}")
    return images
