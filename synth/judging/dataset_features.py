"""Features of whole dataset folders: files are read where they are measured, so no set is ever held in memory.

They are kept by the content of each file and the size at which it is looked at; a file that was measured before is not even
decoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...data.image_file import read_image
from ...runtime.errors import UserError
from ...runtime.files import sha256_bytes, sha256_file
from ...runtime.progress import Progress
from ...runtime.workers import map_in_order
from ..feature_cache import measured_here, store_features, stored_features
from ..features.base import FeatureSpace

_AT_ONCE = 32
_KEEP_EVERY = 2048  # images after which what was measured is kept, should the rest be interrupted


def dataset_features(
    space: FeatureSpace, dataset: FundusDataset, size: int, workers: int | None = None, quiet: bool = True
) -> np.ndarray:
    """`space.features` of every image of a dataset, each first brought to `size` x `size` pixels by `fit_square`.

    Args:
        size: pixels, from 64 on. Sets that are compared must be looked at in the same size.
        workers: processes; None = one a core, 0 = this process. Networks, which use the cores themselves, stay in this
            process.

    Returns:
        float32 (n, d), in the table's order.

    Raises:
        UserError: an image cannot be read, is not what the table's sha256 says, or is too small for the space.
    """
    digests = [sha256_bytes(f"file {digest} at {size}".encode()) for digest in checked_digests(dataset)]
    keys = [bytes.fromhex(digest) for digest in digests]
    known = stored_features(space)
    missing = list({key: i for i, key in enumerate(keys) if key not in known}.values())
    paths = [
        [dataset.image_path(i) for i in missing[start : start + _AT_ONCE]] for start in range(0, len(missing), _AT_ONCE)
    ]
    fresh: dict[bytes, np.ndarray] = {}
    with Progress(len(missing), f"measuring {space.name} of {dataset.name}", quiet=quiet) as progress:
        parts = map_in_order(partial(_of_files, space, size), paths, workers if space.in_processes else 0)
        for rows, start in zip(parts, range(0, len(missing), _AT_ONCE), strict=True):
            fresh |= {keys[i]: row for i, row in zip(missing[start : start + _AT_ONCE], rows, strict=True)}
            progress.advance(len(rows))
            if len(fresh) >= _KEEP_EVERY or progress.done == len(missing):
                store_features(space, fresh)
                known |= fresh
                fresh = {}
    return np.array([known[key] for key in keys], np.float32).reshape(len(dataset), space.dimensions)


def checked_digests(dataset: FundusDataset) -> list[str]:
    """SHA-256 of every image file as it is now.

    Raises:
        UserError: one is not what the column sha256 says.
    """
    digests = [sha256_file(dataset.image_path(i)) for i in range(len(dataset))]
    for i, (found, said) in enumerate(zip(digests, dataset.column("sha256"), strict=True)):
        if said and said != found:
            raise UserError(
                "is not the image that metadata.csv was written for (its sha256 differs)",
                path=dataset.image_path(i),
                hint="Put the original file back, or make the dataset anew.",
            )
    return digests


def _of_files(space: FeatureSpace, size: int, paths: Sequence[Path]) -> np.ndarray:
    return measured_here(space, np.stack([fit_square(read_image(path), size) for path in paths]))
