"""A pool of earlier generated images (Shrivastava et al. 2017, section 2.3), so that a discriminator does not forget."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """The discriminator sees, instead of half of the newest images, ones that were made earlier.

    The content lies in buffers, so it is saved and restored with the networks. Images are kept as the 8-bit values that
    a written image would have. Where several processes train together, each has a pool of its own.

    Args:
        capacity: images kept; CycleGAN's 50.
        size: their width and height in pixels.
    """

    def __init__(self, capacity: int, size: int):
        super().__init__()
        self.register_buffer("images", torch.zeros(capacity, 3, size, size, dtype=torch.uint8))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fresh: Tensor) -> Tensor:
        """Put newly made images into the pool and take as many out.

        Until the pool is full it only takes in, and returns the fresh images; afterwards each of them is, with
        probability 1/2, swapped for one drawn from the pool. At most `capacity` images at once.

        Args:
            fresh: (B, 3, size, size) in -1..1.

        Returns:
            the same shape and range, without gradients.
        """
        count, capacity, filled = len(fresh), len(self.images), int(self.filled)
        pixels = ((fresh.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        if filled < capacity:
            room = min(count, capacity - filled)
            self.images[filled : filled + room] = pixels[:room]
            self.filled += room
            return fresh.detach()
        swapped = torch.rand(count, device=fresh.device) < 0.5
        places = torch.randperm(capacity, device=fresh.device)[:count][swapped]
        shown = fresh.detach().clone()
        shown[swapped] = self.images[places].to(shown.dtype) / 127.5 - 1
        self.images[places] = pixels[swapped]
        return shown
