"""The network behind `landmarks`: where disc and fovea are in a standardised eye, as two heat maps and six numbers.

A convolutional encoder and decoder (after U-Net, Ronneberger et al. 2015, with sums for skip connections) of 0.2 million
weights. It was trained by `landmark_training` and lies beside this file in half precision.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

INPUT, GRID = 128, 32
WEIGHTS = Path(__file__).parent / "weights" / "landmarks.safetensors"


class Maps(NamedTuple):
    """What the network says of n eyes.

    Attributes:
        disc, fovea: float (n, GRID, GRID), logits of where the centre is.
        log_radius: float (n, GRID, GRID), log of the disc's radius (fraction of the width) if its centre were there.
        present: float (n, 2), logits of "the centre of the disc (of the fovea) lies in the field".
        direction: float (n, 2), the way from disc to fovea as x and y (to the right, down), length about 1.
    """

    disc: torch.Tensor
    fovea: torch.Tensor
    log_radius: torch.Tensor
    present: torch.Tensor
    direction: torch.Tensor


class LandmarkNet(nn.Module):
    """Maps float (n, 3, INPUT, INPUT) RGB 0..1, black outside the field, to `Maps`."""

    def __init__(self):
        super().__init__()
        self.stem = _convolution(4, 16, stride=2, size=5)
        self.down4 = nn.Sequential(_convolution(16, 32, stride=2), _convolution(32, 32))
        self.down8 = nn.Sequential(_convolution(32, 48, stride=2), _convolution(48, 48))
        self.down16 = nn.Sequential(
            _convolution(48, 64, stride=2), _convolution(64, 64, dilation=2), _convolution(64, 64)
        )
        self.whole = nn.Linear(64, 64)
        self.narrow8, self.narrow4 = nn.Conv2d(64, 48, 1), nn.Conv2d(48, 32, 1)
        self.up8, self.up4 = _convolution(48, 48), _convolution(32, 32)
        self.maps = nn.Conv2d(32, 3, 1)
        self.numbers = nn.Linear(64, 4)

    def forward(self, batch: torch.Tensor) -> Maps:
        at4 = self.down4(self.stem(normalized(batch)))
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        whole = functional.relu(self.whole(at16.mean((2, 3))))
        at8 = self.up8(at8 + self.narrow8(_doubled(at16 + whole[:, :, None, None])))
        disc, fovea, log_radius = self.maps(self.up4(at4 + self.narrow4(_doubled(at8)))).unbind(1)
        numbers = self.numbers(whole)
        return Maps(disc, fovea, log_radius - 2.7, numbers[:, :2], numbers[:, 2:])


def _convolution(inputs: int, outputs: int, stride: int = 1, size: int = 3, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, momentum=0.05), nn.ReLU(inplace=True))


def _doubled(batch: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(batch, scale_factor=2, mode="bilinear", align_corners=False)


def normalized(batch: torch.Tensor) -> torch.Tensor:
    """Each colour of each image with mean 0 and spread 1 over its field, and the distance from the centre as 4th channel.

    So exposure and white balance do not matter, and a picture that is dark is not an unknown one.
    """
    lit = (batch.amax(1, keepdim=True) > 0.02).float()
    count = lit.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (batch * lit).sum((2, 3), keepdim=True) / count
    spread = (((batch - mean) * lit).square().sum((2, 3), keepdim=True) / count).sqrt()
    even = ((batch - mean) / (spread + 0.01)).clamp(-4, 4) * lit
    line = torch.linspace(-1, 1, batch.shape[-1], device=batch.device)
    far = (line[None, :].square() + line[:, None].square()).expand(len(batch), 1, -1, -1)
    return torch.cat([even, far], 1)


def as_batch(images: list[np.ndarray] | np.ndarray) -> torch.Tensor:
    """uint8 (side, side, 3) RGB pictures of any side -> float (n, 3, INPUT, INPUT), 0..1."""
    small = [image if len(image) == INPUT else _resized(image) for image in images]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255


def _resized(image: np.ndarray) -> np.ndarray:
    shrinks = len(image) > INPUT
    return cv2.resize(image, (INPUT, INPUT), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


@cache
def trained_network() -> LandmarkNet:
    """The network with the weights that come with the package, on the CPU."""
    return network_from(WEIGHTS)


def network_from(path: Path) -> LandmarkNet:
    """The network with the weights of a safetensors file, on the CPU, ready to be asked."""
    network = LandmarkNet()
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval().to(memory_format=torch.channels_last)


def look(network: LandmarkNet, batch: torch.Tensor) -> Maps:
    """The network's answer, without gradients."""
    with torch.inference_mode():
        return network(batch.contiguous(memory_format=torch.channels_last))
