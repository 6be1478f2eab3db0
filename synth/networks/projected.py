"""The light generator's judge: small convolutions on the feature maps of a frozen network (Sauer, Chitta, Mueller and Geiger
2021, "Projected GANs converge faster", arXiv:2111.01007).

A network that has seen many pictures need not learn first what an edge or a spot is, and cannot forget it. A few dozen eyes
then suffice to tell where generated ones differ, and the game takes a small part of the usual time.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .light import one_row

_SLOPE = 0.2
_CLASS = 16
_NARROWEST, _WIDEST = 32, 64
_MOST_MIXED = 128
# Each head looks at 8 x 8 places or fewer; at more of them it would see texture only.
_PLACES = 8
_MIXING = 7


class Discriminator(nn.Module):
    """Feature maps to scores, high means real: one head for each map, one score for each place in it.

    The maps of a frozen network are first mixed at random, across channels and from coarse to fine, by weights that are
    never trained (the paper's section 3.2): so a head cannot ignore what only a few channels show. Heads have spectral norm
    (Miyato et al. 2018) and judge by the class (Miyato and Koyama 2018, projection).

    Args:
        shapes: (channels, height) of each square map, the finest first.
        classes: how many classes the eyes have.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], classes: int = 1):
        super().__init__()
        self.shapes, self.classes = [tuple(shape) for shape in shapes], classes
        mixed = [min(_MOST_MIXED, max(_NARROWEST, 4 * channels)) for channels, _ in self.shapes]
        # Always the same: a shared start and what begins with it must see the same mixture.
        random = torch.Generator().manual_seed(_MIXING)
        for number, ((channels, _), count) in enumerate(zip(self.shapes, mixed, strict=True)):
            across = torch.randn(count, channels, 1, 1, generator=random) * (2 / channels) ** 0.5
            self.register_buffer(f"across{number}", across)
        for number, (finer, coarser) in enumerate(zip(mixed, mixed[1:], strict=False)):
            self.register_buffer(f"down{number}", torch.randn(finer, coarser, 1, 1, generator=random) * coarser**-0.5)
        self.heads = nn.ModuleList(_head(count, side) for count, (_, side) in zip(mixed, self.shapes, strict=True))
        self.class_style = nn.Embedding(classes, _CLASS)
        nn.init.normal_(self.class_style.weight, 0, 0.3)

    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, channels, side, side) as `shapes` says -> as many mixed ones of the same sides."""
        found = [F.conv2d(features, getattr(self, f"across{number}")) for number, features in enumerate(maps)]
        for number in range(len(found) - 2, -1, -1):
            coarser = F.conv2d(found[number + 1], getattr(self, f"down{number}"))
            size = found[number].shape[-2:]
            found[number] = found[number] + F.interpolate(coarser, size, mode="bilinear", align_corners=False)
        return found

    def forward(self, mixed: Sequence[Tensor], classes: Tensor | None = None) -> list[Tensor]:
        """What `mix` gave -> scores (B, places) float32 of each map.

        Args:
            classes: int64 (B,) class numbers; None for class 0.
        """
        if classes is None:
            classes = torch.zeros(len(mixed[0]), dtype=torch.int64, device=mixed[0].device)
        style, scores = self.class_style(classes)[:, :, None, None], []
        for head, features in zip(self.heads, mixed, strict=True):
            found = head(features)
            scores.append((found[:, :1] + (found[:, 1:] * style).sum(1, keepdim=True)).flatten(1).float())
        return scores

    def of_class(self, number: int) -> Discriminator:
        """The same discriminator for class `number` alone, with weights of its own."""
        alone = copy.deepcopy(self)
        alone.classes = 1
        alone.class_style = one_row(self.class_style, number)
        return alone


def _head(channels: int, side: int) -> nn.Sequential:
    width = min(_WIDEST, max(_NARROWEST, channels // 2))
    layers: list[nn.Module] = []
    while side > _PLACES:
        layers += [spectral_norm(nn.Conv2d(channels, width, 4, 2, 1)), nn.LeakyReLU(_SLOPE)]
        channels, side = width, side // 2
    if not layers:
        layers += [spectral_norm(nn.Conv2d(channels, width, 3, 1, 1)), nn.LeakyReLU(_SLOPE)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1 + _CLASS, 1)))
