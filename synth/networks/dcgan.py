"""DCGAN (Radford, Metz and Chintala 2016) as the eight-disease study used it: LeakyReLU in the generator too.

The extra resolutions beyond 64 px are reached by extra layers of the same kind.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SLOPE = 0.2
_WIDEST = 8


class Generator(nn.Module):
    """Latent vectors to images: transposed convolutions, batch norm, LeakyReLU(0.2), tanh.

    Args:
        size: image width and height in pixels, a power of two from 16 up.
        latent: length of the latent vector.
        width: channels before the output layer; every layer further from it has twice as many, up to 8 times.

    The buffer `field_of_view`, (1, 1, size, size) of 0 and 1, is one inside the camera's field of view; outside it the
    images are exactly black (-1). It starts as all ones and is part of the weights.

    Raises:
        ValueError: `size` is not such a power of two.
    """

    def __init__(self, size: int = 64, latent: int = 100, width: int = 64):
        super().__init__()
        self.size, self.latent, self.width = size, latent, width
        channels = channel_plan(size, width)
        layers = [nn.ConvTranspose2d(latent, channels[0], 4, 1, 0, bias=False), *_norm_and_activation(channels[0])]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), *_norm_and_activation(after)]
        layers += [nn.ConvTranspose2d(channels[-1], 3, 4, 2, 1)]
        self.layers = nn.Sequential(*layers)
        self.register_buffer("field_of_view", torch.ones(1, 1, size, size))
        self.apply(_initialize)

    @property
    def architecture(self) -> dict:
        """What `build_generator` needs to make this network again."""
        return {"model": "dcgan", "size": self.size, "latent": self.latent, "width": self.width}

    def forward(self, latents: Tensor) -> Tensor:
        """(B, latent) standard normal -> (B, 3, size, size) float32 in -1..1."""
        images = torch.tanh(self.layers(latents[:, :, None, None]).float())
        return (images + 1) * self.field_of_view - 1


class Discriminator(nn.Module):
    """Images to one score each: strided convolutions and LeakyReLU(0.2); high means real.

    Args:
        size, width: as for the generator.

    Raises:
        ValueError: `size` is not a power of two from 16 up.
    """

    def __init__(self, size: int = 64, width: int = 64):
        super().__init__()
        channels = channel_plan(size, width)[::-1]
        layers = [nn.Conv2d(3, channels[0], 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for before, after in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), *_norm_and_activation(after)]
        layers += [nn.Conv2d(channels[-1], 1, 4, 1, 0)]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) in -1..1 -> (B,) float32 scores (logits)."""
        return self.layers(images).float().flatten()


def channel_plan(size: int, width: int) -> list[int]:
    """Channels of the feature maps of 4, 8, ..., size / 2 pixels: `width` at the last, doubling backwards up to 8 x."""
    if size < 16 or size & (size - 1):
        raise ValueError(f"size is {size}; expected a power of two of at least 16")
    maps = size.bit_length() - 3
    return [width * min(_WIDEST, 2 ** (maps - 1 - index)) for index in range(maps)]


def _norm_and_activation(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.LeakyReLU(_SLOPE)]


def _initialize(module: nn.Module) -> None:
    # DCGAN section 4: weights from N(0, 0.02); the scale of batch norm around 1.
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
