"""The light generator: for 40 to 3000 eyes, on a few processor cores.

Assembled from published parts, each chosen because it is cheap: transposed convolutions as in DCGAN, a latent vector that also
scales and shifts every layer (Chen, Lucic, Houlsby and Gelly 2019, "self modulation"), and an image that is the sum of ever
finer ones (Karras et al. 2020, StyleGAN2, section 4.2). Its first images are blurred eyes already, see `start_from`. What
judges it lies in `projected`.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dcgan import channel_plan

_SLOPE = 0.2
_STYLE = 128
# Weight of the coarsest image of the sum, and how much weaker each finer one is, as the amplitudes of photographs are. Small
# weights before the sum also mean small steps: Adam moves every number alike, and many channels meet in one pixel.
_COARSEST = 0.1
_FINER_IS_WEAKER = 0.6
# Pixels of the shading that `start_from` finds, and how near to black and white its values come.
_COARSE = 16
_BRIGHTEST = 0.99
_PART = 64


class Generator(nn.Module):
    """Latent vectors to images, for one class or several.

    Args:
        size: image width and height in pixels, a power of two from 16 up.
        latent: length of the latent vector.
        width: channels at size / 2 pixels; every coarser layer has twice as many, up to 8 times, the last one half.
        classes: how many classes it makes; a training on all classes has several, a finished generator has one.

    Two buffers are part of the weights. `field_of_view`, (1, 1, size, size) of 0 and 1, is one inside the camera's field of
    view, all ones at first; outside it the images are exactly black (-1). `mean` (1, 3, size, size) is the average eye that
    `start_from` finds, zero at first.

    Raises:
        ValueError: `size` is not such a power of two.
    """

    def __init__(self, size: int = 64, latent: int = 100, width: int = 32, classes: int = 1):
        super().__init__()
        self.size, self.latent, self.width, self.classes = size, latent, width, classes
        channels = [*channel_plan(size, width), max(1, width // 2)]
        self.style = nn.Linear(latent, _STYLE)
        self.class_style = nn.Embedding(classes, _STYLE)
        self.seed = nn.Linear(latent, channels[0] * 16)
        self.seed_norm = ModulatedNorm(channels[0])
        self.shading = nn.Linear(latent, 3 * _COARSE**2, bias=False)
        self.layers = nn.ModuleList(Layer(*pair) for pair in zip(channels, channels[1:], strict=False))
        self.to_images = nn.ModuleList(nn.Conv2d(count, 3, 1) for count in channels[1:-1])
        self.to_images.append(nn.Conv2d(channels[-1], 3, 3, 1, 1))
        nn.init.normal_(self.class_style.weight, 0, 0.3)
        for to_image in self.to_images:
            nn.init.normal_(to_image.weight, 0, to_image.weight[0].numel() ** -0.5)
            nn.init.zeros_(to_image.bias)
        nn.init.zeros_(self.shading.weight)
        self.register_buffer("field_of_view", torch.ones(1, 1, size, size))
        self.register_buffer("mean", torch.zeros(1, 3, size, size))

    @torch.no_grad()
    def start_from(self, images: Tensor, mirror: bool = False) -> None:
        """Begin with the average eye and its main variations of shading, to which the layers then add all that is finer.

        The latent numbers weigh the principal components of the images reduced to 16 x 16 pixels: the disc's side and
        the colours need not be found by the game, and its first images are blurred eyes.

        Args:
            images: uint8 (n, size, size, 3), at least 2.
            mirror: as if each were there mirrored as well.
        """
        # In parts: all of them as float would be gigabytes at 256 px.
        total, coarse = torch.zeros_like(self.mean), []
        for part in images.split(_PART):
            values = torch.atanh((part.permute(0, 3, 1, 2).float() / 127.5 - 1).clamp(-_BRIGHTEST, _BRIGHTEST))
            total += values.sum(0, keepdim=True)
            coarse.append(F.adaptive_avg_pool2d(values, _COARSE))
        mean = total / len(images)
        self.mean.copy_((mean + mean.flip(3)) / 2 if mirror else mean)
        coarse = torch.cat(coarse) - F.adaptive_avg_pool2d(self.mean, _COARSE)
        coarse = torch.cat([coarse, coarse.flip(3)]) if mirror else coarse
        self.shading.weight.copy_(principal_components(coarse.flatten(1), self.latent).T)

    @property
    def architecture(self) -> dict:
        """What `build_generator` needs to make this network again."""
        sizes = {"size": self.size, "latent": self.latent, "width": self.width}
        return {"model": "light", **sizes, "classes": self.classes}

    def forward(self, latents: Tensor, classes: Tensor | None = None) -> Tensor:
        """(B, latent) standard normal -> (B, 3, size, size) float32 in -1..1.

        Args:
            classes: int64 (B,) class numbers; None for class 0, the only one of a finished generator.
        """
        if classes is None:
            classes = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
        style = F.leaky_relu(self.style(latents) + self.class_style(classes), _SLOPE)
        features = self.seed(latents).view(len(latents), -1, 4, 4).contiguous(memory_format=torch.channels_last)
        features, images, weight = self.seed_norm(features, style), None, _COARSEST
        for layer, to_images in zip(self.layers, self.to_images, strict=True):
            features = layer(features, style)
            finer = weight * to_images(features)
            images = finer if images is None else enlarge(images) + finer
            if images.shape[-1] == _COARSE:
                images = images + self.shading(latents).view(-1, 3, _COARSE, _COARSE)
            weight *= _FINER_IS_WEAKER
        return (torch.tanh(images.float() + self.mean) + 1) * self.field_of_view - 1

    def of_class(self, number: int) -> Generator:
        """The same generator for class `number` alone, with weights of its own: the start of its own training."""
        alone = copy.deepcopy(self)
        alone.classes = 1
        alone.class_style = one_row(self.class_style, number)
        return alone


class Layer(nn.Module):
    """Twice the size: transposed convolution of 4 x 4, `ModulatedNorm`."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.convolution = nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)
        self.norm = ModulatedNorm(after)
        # Each output pixel meets 2 x 2 of the 4 x 4 weights of every channel.
        nn.init.normal_(self.convolution.weight, 0, (2 / (4 * before)) ** 0.5)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """(B, before, n, n) and (B, 128) -> (B, after, 2 n, 2 n)."""
        return self.norm(self.convolution(features), style)


class ModulatedNorm(nn.Module):
    """Each image's features to mean 0 and deviation 1 together, scaled and shifted by the style, LeakyReLU(0.2).

    No statistic of the batch: an image depends on its own latent vector alone, in training as later.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.modulation = nn.Linear(_STYLE, 2 * channels)
        nn.init.normal_(self.modulation.weight, 0, 0.05)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """(B, C, n, n) and (B, 128) -> (B, C, n, n)."""
        scale, shift = self.modulation(style)[:, :, None, None].chunk(2, 1)
        return F.leaky_relu(torch.addcmul(shift, F.group_norm(features, 1), 1 + scale), _SLOPE)


def principal_components(rows: Tensor, count: int) -> Tensor:
    """The first `count` principal components of (n, d) rows of mean zero, each as long as its standard deviation: (count, d).

    Where there are fewer than `count`, the others are zero. Signs are such that the largest element is positive.
    """
    variances, directions = torch.linalg.eigh(rows.T.double() @ rows.double() / len(rows))
    kept = min(count, len(rows) - 1, len(variances))
    lengths = variances.flip(0)[:kept].clamp(min=0).sqrt()
    found = directions.flip(1)[:, :kept].T
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()
    return F.pad(found * signs * lengths[:, None], (0, 0, 0, count - kept)).float()


def enlarge(images: Tensor) -> Tensor:
    """(B, C, n, n) -> (B, C, 2 n, 2 n), bilinear."""
    return F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)


def one_row(embedding: nn.Embedding, number: int) -> nn.Embedding:
    """An embedding of one class, with the weights that `embedding` has for class `number`."""
    return nn.Embedding.from_pretrained(embedding.weight.detach()[number : number + 1].clone(), freeze=False)
