"""A uint8 memory map of a dataset at one size: no file is decoded twice, and any number of workers share the pages."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from ..runtime.files import atomic_path, make_folder, sha256_bytes
from ..runtime.progress import Progress
from .dataset import FundusDataset


def cache_folder() -> Path:
    """$FUNDUS_CACHE, or fundus-synth below the user's cache folder."""
    chosen = os.environ.get("FUNDUS_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fundus-synth"


def image_cache(dataset: FundusDataset, size: int, workers: int = 2, quiet: bool = True) -> np.memmap:
    """All images of `dataset` at `size` x `size` pixels, in the table's order.

    The file is named after the content of the images, so a changed image makes a new one. Images that are not square
    are padded with black to a square first, so that circles stay circles.

    Returns:
        read-only uint8 memory map (n, size, size, 3), RGB.

    Raises:
        UserError: an image cannot be read; nothing is left behind.
    """
    key = sha256_bytes(json.dumps([1, size, dataset.image_digests]).encode())[:32]
    path = cache_folder() / f"{key}-{size}.npy"
    if not path.exists():
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            _fill(dataset, size, temporary, workers, quiet)
    return np.load(path, mmap_mode="r")


def _fill(dataset: FundusDataset, size: int, path: Path, workers: int, quiet: bool) -> None:
    shape = (len(dataset), size, size, 3)
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    # Threads are enough: Pillow and OpenCV release the interpreter's lock while they decode and resize.
    with ThreadPoolExecutor(workers) as pool, Progress(len(dataset), "decoding", quiet=quiet) as progress:
        for index, image in enumerate(pool.map(lambda i: fit_square(dataset.read(i), size), range(len(dataset)))):
            pixels[index] = image
            progress.advance()
    pixels.flush()


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """Pad to a square with black and resize, averaging areas when shrinking; uint8 (size, size, 3)."""
    height, width = image.shape[:2]
    if height != width:
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = cv2.copyMakeBorder(image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT)
    if image.shape[0] == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC)
