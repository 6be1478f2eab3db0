"""The light generator and its discriminator: for 40 to 3000 eyes, on a few processor cores.

Assembled from published parts, each chosen because it is cheap or because fine texture, vessels above all, is what a small
generator gets wrong first: a latent vector that also scales and shifts every layer (Chen, Lucic, Houlsby and Gelly 2019,
"self modulation"), an image that is the sum of ever finer ones (Karras et al. 2020, StyleGAN2, section 4.2), a discriminator
without normalisation (Huang et al. 2024, R3GAN) that judges patches beside the whole (Isola et al. 2017), by the class
(Miyato and Koyama 2018, projection), and sees the image's fine detail enlarged beside the image.
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
# Fine detail of an eye at 64 px has a standard deviation of 0.02, its shading one of 0.5.
_ENLARGE = 8.0
_PATCHES_FROM = 1
_GROUP = 4


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
        """The same generator for class `number` alone: the start of its own training."""
        return _with_one_class(self, "class_style", number)


class Discriminator(nn.Module):
    """Images to scores, high means real: as many of the whole image as of its patches, so that a mean weighs both alike.

    Batches are judged in groups of 4, by how much their images differ as well (Karras et al. 2018, minibatch deviation),
    so a batch must be a multiple of 4.

    Args:
        size, width, classes: as for the generator.

    Raises:
        ValueError: `size` is not a power of two from 16 up.
    """

    def __init__(self, size: int = 64, width: int = 32, classes: int = 1):
        super().__init__()
        self.classes = classes
        channels = channel_plan(size, width)[::-1]
        pairs = zip([6, *channels], channels, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in pairs)
        self.patch_score = nn.Conv2d(channels[_PATCHES_FROM], 1, 1)
        self.summary = nn.Conv2d(channels[-1] + 1, channels[-1], 4)
        self.score = nn.Linear(channels[-1], 1)
        self.class_score = nn.Embedding(classes, channels[-1])
        self.apply(_initialize)
        for last in (self.patch_score, self.score, self.class_score):
            nn.init.normal_(last.weight, 0, 0.02)

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """(B, 3, size, size) in -1..1 -> (B, 2 P) float32 scores (logits), where P is the number of patches.

        Args:
            classes: int64 (B,) class numbers; None for class 0.
        """
        return self.judge(with_detail(images), classes)

    def judge(self, inputs: Tensor, classes: Tensor | None = None) -> Tensor:
        """The scores of what `with_detail` made of images, (B, 6, size, size): gradient penalties are taken here."""
        if classes is None:
            classes = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
        features = inputs
        for number, layer in enumerate(self.layers):
            features = F.leaky_relu(layer(features), _SLOPE)
            if number == _PATCHES_FROM:
                patches = self.patch_score(features).flatten(1)
        summary = F.leaky_relu(self.summary(with_deviation(features)).flatten(1), _SLOPE)
        by_class = (self.class_score(classes) * summary).sum(1, keepdim=True) / summary.shape[1] ** 0.5
        whole = self.score(summary) + by_class
        return torch.cat([whole.expand_as(patches), patches], 1).float()

    def of_class(self, number: int) -> Discriminator:
        """The same discriminator for class `number` alone."""
        return _with_one_class(self, "class_score", number)


class Layer(nn.Module):
    """Twice the size: bilinear enlargement, convolution of 3 x 3, `ModulatedNorm`."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, 1, 1, bias=False)
        self.norm = ModulatedNorm(after)
        nn.init.kaiming_normal_(self.convolution.weight, _SLOPE)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """(B, before, n, n) and (B, 128) -> (B, after, 2 n, 2 n)."""
        return self.norm(self.convolution(enlarge(features)), style)


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


def with_detail(images: Tensor) -> Tensor:
    """Images and, as three more channels, their fine detail, enlarged and squashed to -1..1: (B, 3, n, n) -> (B, 6, n, n).

    Detail is what a binomial filter of 3 x 3 takes away. Without this a discriminator hardly sees it beside the shading.
    """
    return torch.cat([images, torch.tanh(_ENLARGE * (images - smooth(images)))], 1)


def smooth(images: Tensor) -> Tensor:
    """The binomial filter 1 2 1 in both directions, the border repeated."""
    channels = images.shape[1]
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=images.dtype, device=images.device)
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, 3).expand(channels, 1, 1, 3), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, 3, 1).expand(channels, 1, 3, 1), groups=channels)


def with_deviation(features: Tensor) -> Tensor:
    """One more channel, the mean standard deviation within each group of 4 neighbours; (B, C, n, n) -> (B, C + 1, n, n)."""
    count, _, height, width = features.shape
    groups = features.float().reshape(count // _GROUP, _GROUP, -1)
    deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean(1).repeat_interleave(_GROUP)
    channel = deviation.to(features.dtype)[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat([features, channel], 1)


def _with_one_class(network: nn.Module, name: str, number: int) -> nn.Module:
    alone = copy.deepcopy(network)
    alone.classes = 1
    kept = getattr(network, name).weight.detach()[number : number + 1].clone()
    setattr(alone, name, nn.Embedding.from_pretrained(kept, freeze=False))
    return alone


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, _SLOPE)
        nn.init.zeros_(module.bias)
