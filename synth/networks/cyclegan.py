"""CycleGAN's networks (Zhu, Park, Isola and Efros 2017, "Unpaired image-to-image translation using cycle-consistent
adversarial networks", section 7.2 of the appendix), with changes for lesions, which are small and faint.

An eye with a disease is the same eye but for the lesions, so the generator's output is added to its input: it need only
draw what changes, it begins as the identity, and disc and vessels stay where they are without having to be learned.
Eyes differ by far more in colour and light than a lesion differs from its surround, so all networks are shown `detail`;
on raw pixels the discriminators found no lesions at all in hundreds of steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2
_WIDEST = 8
_SMALLEST = 16
_ONE_STRIDE = 64
# In -1..1: what JPEG leaves in the black surround (12 of 255) is still black.
_DARK = 12 / 127.5 - 1
# Ten levels of 255, a faint lesion, become 0.56; disc and rim, ten times as strong, are cut off at 1.
_GAIN = 8.0


class Generator(nn.Module):
    """Eyes of one class to the same eyes of another: c7s1, strided convolutions, residual blocks, and back up.

    Instance norm, ReLU and reflection padding as in the paper; the last layer's tanh is the change of the image. The
    first layer sees the eye and its `detail`. Up to 64 px, where a lesion is a pixel or two, one of the paper's two
    strided convolutions is left out, or the blocks would not know where it is.

    Args:
        size: image width and height in pixels, a power of two from 16 up.
        width: channels of the first layer; twice and four times as many after the strided convolutions.
        blocks: residual blocks; the paper's 6 up to 128 px and 9 above when None.

    Raises:
        ValueError: `size` is not such a power of two.
    """

    def __init__(self, size: int = 64, width: int = 32, blocks: int | None = None):
        super().__init__()
        check_size(size)
        self.size, self.width = size, width
        self.blocks = (6 if size <= 128 else 9) if blocks is None else blocks
        channels = [width, 2 * width] if size <= _ONE_STRIDE else [width, 2 * width, 4 * width]
        steps = list(zip(channels, channels[1:], strict=False))
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(6, width, 7), *_norm_and_relu(width),
            *(layer for few, many in steps for layer in (nn.Conv2d(few, many, 3, 2, 1), *_norm_and_relu(many))),
            *(ResidualBlock(channels[-1]) for _ in range(self.blocks)),
            *(layer for few, many in reversed(steps) for layer in (
                nn.ConvTranspose2d(many, few, 3, 2, 1, output_padding=1), *_norm_and_relu(few))),
            nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7),
        )  # fmt: skip
        self.apply(_initialize)
        nn.init.zeros_(self.layers[-1].weight)
        # Adam moves every weight of the last layer at once, by the same amount: undamped, its first step would change the
        # image by tens of levels, and the identity it begins with would be lost.
        self._calm = self.layers[-1].weight[0].numel() ** -0.5

    @property
    def architecture(self) -> dict:
        """What `build_generator` needs to make this network again."""
        return {"model": "cyclegan", "size": self.size, "width": self.width, "blocks": self.blocks}

    def forward(self, images: Tensor, field: Tensor | None = None) -> Tensor:
        """Translate eyes.

        Args:
            images: (B, 3, size, size) in -1..1.
            field: bool (B, 1, size, size), each eye's field of view; `field_of(images)` when None. When an image is
                itself a translation, this is the field of the photograph it was made from.

        Returns:
            (B, 3, size, size) float32 in -1..1, exactly -1 outside the field.
        """
        field = field_of(images) if field is None else field
        seen = torch.cat([images, detail(images)], dim=1)
        change = 2 * torch.tanh(self._calm * self.layers(seen).float())
        return torch.where(field, (images + change).clamp(-1, 1), -1.0)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with instance norm, added to what came in."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), *_norm_and_relu(channels),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        return features + self.layers(features)


class Discriminator(nn.Module):
    """PatchGAN: the `detail` of images to a map of scores, one a patch; high means real.

    The paper's patches are 70 of 256 pixels wide. Smaller and larger images have fewer or more strided layers, so that a
    patch stays about a quarter of the image: 16 of 64 pixels, 34 of 128, 142 of 512.

    Args:
        size, width: as for the generator.

    Raises:
        ValueError: `size` is not a power of two from 16 up.
    """

    def __init__(self, size: int = 64, width: int = 32):
        super().__init__()
        check_size(size)
        strided = max(1, size.bit_length() - 6)
        channels = [width * min(_WIDEST, 2**index) for index in range(strided + 1)]
        layers = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for index, (before, after) in enumerate(zip(channels, channels[1:], strict=False), start=1):
            stride = 2 if index < strided else 1
            layers += [nn.Conv2d(before, after, 4, stride, 1), nn.InstanceNorm2d(after), nn.LeakyReLU(_SLOPE)]
        layers += [nn.Conv2d(channels[-1], 1, 4, 1, 1)]
        self.layers = nn.Sequential(*layers)
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) in -1..1 -> (B, 1, h, w) float32 scores of patches."""
        return self.layers(detail(images)).float()


def detail(images: Tensor) -> Tensor:
    """Each pixel's difference from the mean of its surround, an eighth of the image wide, amplified, in -1..1.

    Lesions, vessels and the disc's rim are left; the eye's colour and the light's slow changes are gone.

    Args:
        images: (B, 3, size, size) in -1..1.

    Returns:
        the same shape.
    """
    reach = images.shape[-1] // 16
    around = F.avg_pool2d(F.pad(images, (reach,) * 4, mode="reflect"), 2 * reach + 1, 1)
    return torch.tanh(_GAIN * (images - around))


def field_of(images: Tensor) -> Tensor:
    """Each eye's field of view: the pixels between lit ones, both along their row and along their column.

    A field of view has no dents, so dark places within it (a haemorrhage, a dim macula) belong to it.

    Args:
        images: (B, 3, H, W) in -1..1.

    Returns:
        bool (B, 1, H, W).
    """
    lit = (images.amax(1, keepdim=True) > _DARK).to(torch.uint8)
    return _between(lit, 2) & _between(lit, 3)


def check_size(size: int) -> None:
    """Raise ValueError unless `size` is a power of two from 16 up."""
    if size < _SMALLEST or size & (size - 1):
        raise ValueError(f"size is {size}; expected a power of two of at least {_SMALLEST}")


def _between(lit: Tensor, axis: int) -> Tensor:
    before = lit.cummax(axis).values
    after = lit.flip(axis).cummax(axis).values.flip(axis)
    return (before & after).bool()


def _norm_and_relu(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU()]


def _initialize(module: nn.Module) -> None:
    # Section 7.1: weights from N(0, 0.02).
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.bias)
