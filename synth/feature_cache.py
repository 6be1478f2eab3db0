"""Features are measured once: kept by the content of each image, whatever its file is called, and shared by all sets.

One safetensors file a feature space, in the user's cache folder. A damaged file is not read; it is made anew.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..data.cache import cache_folder
from ..runtime.files import atomic_path, sha256_bytes
from ..runtime.progress import Progress
from ..runtime.workers import map_in_order
from .features.base import FeatureSpace, checked_images

MOST_IMAGES = 100_000
"""More than this many images of one space are not kept; the oldest go first."""

_AT_ONCE = 32


def cached_features(
    space: FeatureSpace, images: np.ndarray, workers: int | None = None, quiet: bool = True
) -> np.ndarray:
    """`space.features(images)`, float32 (n, d), measuring only images that no earlier call has measured.

    Args:
        images: uint8 (n, side, side, 3), an array or a memory map.
        workers: processes; None = one a core, 0 = this process. Networks, which use the cores themselves, stay in
            this process.

    Raises:
        UserError: as `FeatureSpace.features`; nothing is stored then.
    """
    images = checked_images(images)
    digests = [image_digest(image) for image in images]
    known = stored_features(space)
    missing = list({digest: i for i, digest in enumerate(digests) if digest not in known}.values())
    if missing:
        found = dict(zip([digests[i] for i in missing], _measured(space, images, missing, workers, quiet), strict=True))
        store_features(space, found)
        known |= found
    return np.array([known[digest] for digest in digests], np.float32).reshape(len(images), space.dimensions)


def image_digest(image: np.ndarray) -> bytes:
    """SHA-256 of an image's size and pixels, 32 bytes."""
    return bytes.fromhex(sha256_bytes(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()))


def cache_file(space: FeatureSpace) -> Path:
    """Where the features of a space are kept: named after all that they depend on but the image."""
    key = sha256_bytes(f"{space.name}\n{space.version}\n{space.size}\n{space.dimensions}".encode())[:32]
    return cache_folder() / f"features-{key}.safetensors"


def _measured(
    space: FeatureSpace, images: np.ndarray, rows: Sequence[int], workers: int | None, quiet: bool
) -> Iterator[np.ndarray]:
    """The features of these rows, float32 (d,) each."""
    parts = [np.asarray(images[rows[i : i + _AT_ONCE]]) for i in range(0, len(rows), _AT_ONCE)]
    workers = workers if space.in_processes else 0
    with Progress(len(rows), f"measuring {space.name}", quiet=quiet) as progress:
        for part in map_in_order(partial(measured_here, space), parts, workers):
            progress.advance(len(part))
            yield from part


def measured_here(space: FeatureSpace, images: np.ndarray) -> np.ndarray:
    """`space.features(images)`, on one thread where this is a worker process."""
    if multiprocessing.parent_process() is not None:
        import torch

        # The processes are the parallelism.
        torch.set_num_threads(1)
    return space.features(images)


def stored_features(space: FeatureSpace) -> dict[bytes, np.ndarray]:
    """{digest: features} of what is stored, the oldest first."""
    path = cache_file(space)
    if not path.is_file():
        return {}
    try:
        stored = load_file(path)
        digests, features = stored["digests"], stored["features"]
    except (SafetensorError, KeyError, OSError):
        return {}
    if features.shape != (len(digests), space.dimensions):
        return {}
    return {digest.tobytes(): row for digest, row in zip(digests, features, strict=True)}


def store_features(space: FeatureSpace, found: dict[bytes, np.ndarray]) -> None:
    """Store `found` with what is there by now: another process may have written meanwhile."""
    kept = list((stored_features(space) | found).items())[-MOST_IMAGES:]
    digests = np.frombuffer(b"".join(digest for digest, _ in kept), np.uint8).reshape(-1, 32)
    with atomic_path(cache_file(space)) as path:
        save_file({"digests": digests, "features": np.stack([row for _, row in kept]).astype(np.float32)}, path)
