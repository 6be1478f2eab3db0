"""Images for training, wherever they lie: rows of several memory maps behind one index, never copied as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


class ImageSource:
    """A sequence of equally sized uint8 RGB images.

    Args:
        images: uint8 (n, size, size, 3), an array or a memory map.
        rows: which of them, in which order; all by default.
        discs: float (len(rows), 3), their optic discs: x, y and radius as fractions of the width; NaN where unknown, as
            all are by default.

    Attributes:
        discs: as given, in the order of the sequence.
    """

    def __init__(
        self, images: np.ndarray, rows: Sequence[int] | np.ndarray | None = None, discs: np.ndarray | None = None
    ):
        if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3 or images.dtype != np.uint8:
            raise ValueError(f"expected uint8 (n, size, size, 3), got {images.dtype} {images.shape}")
        self._arrays = [images]
        self._row = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
        self._array = np.zeros(len(self._row), dtype=np.int64)
        self.discs = np.full((len(self), 3), np.nan) if discs is None else np.asarray(discs, dtype=np.float64)
        if self.discs.shape != (len(self), 3):
            raise ValueError(f"expected discs ({len(self)}, 3), got {self.discs.shape}")

    @classmethod
    def join(cls, sources: Sequence[ImageSource]) -> ImageSource:
        """One source after another; nothing is copied."""
        joined = cls.__new__(cls)
        offsets = np.cumsum([0, *(len(source._arrays) for source in sources)])
        joined._arrays = [array for source in sources for array in source._arrays]
        joined._row = np.concatenate([source._row for source in sources])
        joined._array = np.concatenate([source._array + o for source, o in zip(sources, offsets, strict=False)])
        joined.discs = np.concatenate([source.discs for source in sources])
        if len({array.shape[1:] for array in joined._arrays}) != 1:
            raise ValueError(f"images of several sizes: {[array.shape for array in joined._arrays]}")
        return joined

    def __len__(self) -> int:
        return len(self._row)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self._arrays[0].shape[1]

    def take(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Those images: uint8 (len(indices), size, size, 3)."""
        indices = np.asarray(indices, dtype=np.int64)
        taken = np.empty((len(indices), *self._arrays[0].shape[1:]), dtype=np.uint8)
        for number in np.unique(self._array[indices]):
            here = self._array[indices] == number
            taken[here] = self._arrays[number][self._row[indices[here]]]
        return taken


def as_source(images: np.ndarray | ImageSource | Sequence[np.ndarray]) -> ImageSource:
    """An array, a source, or a list of arrays, as one source."""
    if isinstance(images, ImageSource):
        return images
    if isinstance(images, np.ndarray):
        return ImageSource(images)
    return ImageSource.join([as_source(part) for part in images])


def to_batch(images: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """uint8 (n, h, w, 3) -> float32 (n, 3, h, w) in 0..1, channels last in memory (twice as fast in convolutions)."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return pixels.permute(0, 3, 1, 2).float().div_(255)
