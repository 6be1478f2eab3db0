"""The real images of a training, as uint8: on the accelerator when they fit there, else read from the memory map."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

# Of the accelerator's free memory; the networks need the rest.
_SHARE_OF_MEMORY = 0.4


class ImageStore:
    """Real images, drawn by index.

    Args:
        pixels: uint8 (n, size, size, 3) RGB, usually a memory map as from `image_cache`, which is then not copied.
    """

    def __init__(self, pixels: np.ndarray):
        with warnings.catch_warnings():
            # A memory map is read-only; so are we.
            warnings.filterwarnings("ignore", message=".*not writable")
            self._pixels = torch.from_numpy(np.asarray(pixels))

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def pixels(self) -> Tensor:
        """uint8 (n, size, size, 3)."""
        return self._pixels

    def to(self, device: torch.device) -> None:
        """Move the images to `device` where they take at most 40 % of its free memory; else they stay where they are."""
        if device.type == "cuda" and self._pixels.nbytes < _SHARE_OF_MEMORY * torch.cuda.mem_get_info(device)[0]:
            self._pixels = self._pixels.to(device)

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        """Images `indices` as float32 (B, 3, size, size) in -1..1 on `device`, channels last in memory."""
        chosen = self._pixels[indices.to(self._pixels.device)].to(device, non_blocking=True)
        # Stored with the channels last, so this view is what convolutions like best, without a copy.
        return chosen.permute(0, 3, 1, 2).float() / 127.5 - 1


def field_of_view(pixels: Tensor, mirror: bool = False) -> Tensor:
    """The pixels that are lit in at least one of twenty images: float (1, 1, size, size) of 0 and 1.

    Args:
        pixels: uint8 (n, size, size, 3).
        mirror: make it symmetric, for generators that see mirrored images.
    """
    counts = torch.zeros(pixels.shape[1:3], dtype=torch.int64, device=pixels.device)
    for part in pixels.split(512):
        counts += (part.amax(3) > _DARK).sum(0)
    lit = (counts / len(pixels) >= _SHARE_LIT).cpu()[None, None]
    return (lit | lit.flip(3) if mirror else lit).float()


# JPEG leaves up to about this much light in the black surround; a twentieth lets single badly cropped images pass.
_DARK = 12
_SHARE_LIT = 0.05
