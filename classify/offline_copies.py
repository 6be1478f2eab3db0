"""Augmented copies made once and trained on as they are, the way the studies worked.

An augmentation on the batch alters an image anew at every draw; a set of copies on disk shows the same few alterations again and
again, and every epoch costs so much more. Both ways can thus be compared.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from ..runtime.files import atomic_path
from ..runtime.progress import Progress
from .augmentation import make_augmentation
from .images import ImageSource, to_batch


def offline_copies(
    source: ImageSource, augment: str, copies: int, seed: int, path: Path, quiet: bool = False
) -> ImageSource:
    """`copies` altered copies of every image, first one of each, then the next: len(source) * copies images.

    Args:
        augment: see `make_augmentation`.
        seed: the copies depend on it, and on nothing else.
        path: .npy that they lie in, uint8 (n, size, size, 3); made when it is not there, whole or not at all.
    """
    if not path.is_file():
        with atomic_path(path) as temporary, Progress(len(source) * copies, "augmenting", quiet=quiet) as progress:
            _write(temporary, source, augment, copies, seed, progress)
    return ImageSource(np.load(path, mmap_mode="r"))


def _write(path: Path, source: ImageSource, augment: str, copies: int, seed: int, progress: Progress) -> None:
    alter, size = make_augmentation(augment), source.size
    pixels = open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(source) * copies, size, size, 3))
    for index in range(len(source)):
        # One image at a time, so that a copy does not depend on which others there are.
        batch = to_batch(np.repeat(source.take([index]), copies, axis=0))
        generator = torch.Generator().manual_seed(_number(seed, index))
        altered = alter(batch, generator, np.repeat(source.discs[[index]], copies, axis=0))
        pixels[index :: len(source)] = (altered.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
        progress.advance(copies)
    pixels.flush()


def _number(seed: int, index: int) -> int:
    return int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0] >> 1)
