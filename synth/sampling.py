"""From seeds to pixels: one image a seed, whatever else is made beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

# Convolutions of another batch size may sum in another order, so the network always sees exactly this many images.
NETWORK_BATCH = 16


def sample(
    generator: nn.Module, seeds: Sequence[int], truncation: float = 1.0, classes: Tensor | None = None
) -> np.ndarray:
    """One image a seed: uint8 (len(seeds), size, size, 3) RGB, whatever else is in the list.

    The generator is used as it is, in evaluation mode, on its own device. With several threads a pixel may differ by one;
    `generate` draws within `one_thread`.

    Args:
        truncation: latent vectors are scaled by it, towards their mean: below 1 the images are more typical and vary less
            (Brock, Donahue and Simonyan 2019 cut the latents' tails off for the same trade).
        classes: int64 (len(seeds),) class numbers, for a generator of several.
    """
    latents = truncation * torch.stack([latent_of(seed, generator.latent) for seed in seeds])
    return images_of(generator, latents, classes)


def images_of(generator: nn.Module, latents: Tensor, classes: Tensor | None = None) -> np.ndarray:
    """The images of latent vectors (n, generator.latent): uint8 (n, size, size, 3) RGB; `classes` as in `sample`."""
    inputs = (latents,) if classes is None else (latents, classes)
    missing = -len(latents) % NETWORK_BATCH
    padded = [torch.cat([part, part.new_zeros(missing, *part.shape[1:])]).split(NETWORK_BATCH) for part in inputs]
    device = next(generator.parameters()).device
    with torch.inference_mode():
        images = [to_pixels(generator(*(part.to(device) for part in parts))) for parts in zip(*padded, strict=True)]
    return np.concatenate(images)[: len(latents)]


def latent_of(seed: int, length: int) -> Tensor:
    """The latent vector (length,) of one seed: standard normal, from a generator of its own."""
    return torch.randn(length, generator=torch.Generator().manual_seed(seed))


def to_pixels(images: Tensor) -> np.ndarray:
    """float (B, 3, H, W) in -1..1 -> uint8 (B, H, W, 3)."""
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it this process computes with one thread: sums then do not depend on how many cores a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
