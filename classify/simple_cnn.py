"""The small convolutional network of study E, scaled to the input size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

_STUDY_SIZE = 512
_CHANNELS = (12, 36, 72, 144)
_DROPOUT = 0.25


@dataclass(frozen=True)
class Plan:
    """Kernels, pools and widths for one input size; see `plan_for`."""

    first_kernel: int
    third_kernel: int
    pool: int
    widths: tuple[int, int, int]
    map_sizes: tuple[int, int, int, int, int, int]

    @property
    def flat(self) -> int:
        """Features that leave the convolutions."""
        return _CHANNELS[-1] * self.map_sizes[-1] ** 2


def plan_for(size: int) -> Plan:
    """The network of study E for square inputs of `size` pixels (32..512).

    At 512 it is the study's: an unpadded 13x13 convolution, two pools of 4, an unpadded 6x6 convolution, maps of 500,
    500, 125, 120, 120 and 30 pixels, dense layers of 4096, 512 and 64 units. For other sizes:

    - the unpadded kernels shrink with the side (the first stays odd), but not below 5 and 3 pixels, where they would
      no longer see an edge;
    - both pools stay 4, except below 64 pixels, where they are 2 and still leave a map of several cells;
    - the first dense layer shrinks with the side (8 units a pixel), because it holds nearly all parameters; the second
      is never wider than the first.

    The study does not give the kernels of its second and fourth convolutions, which keep the map's size (3x3, padded,
    here), nor the dropout rate (0.25 here).
    """
    scale = size / _STUDY_SIZE
    first = max(5, 2 * round((13 * scale - 1) / 2) + 1)
    third = max(3, round(6 * scale))
    pool = 4 if size >= 64 else 2
    one = size - first + 1
    two = one // pool
    three = two - third + 1
    dense = 8 * size
    return Plan(first, third, pool, (dense, min(512, dense), 64), (one, one, two, three, three, three // pool))


class SimpleCNN(nn.Module):
    """Study E's CNN: four convolutions, two pools, four dense layers, ReLU throughout.

    Args:
        classes: how many logits to return.
        size: side of the square input in pixels, 32..512.

    Shape: float (n, 3, size, size) -> logits (n, classes).
    """

    def __init__(self, classes: int, size: int):
        super().__init__()
        plan = plan_for(size)
        self.plan = plan
        a, b, c, d = _CHANNELS
        self.features = nn.Sequential(
            nn.Conv2d(3, a, plan.first_kernel),
            nn.BatchNorm2d(a),
            nn.ReLU(),
            nn.Conv2d(a, b, 3, padding=1),
            nn.BatchNorm2d(b),
            # ReLU and maximum commute; after the pool ReLU has sixteen times less to do.
            nn.MaxPool2d(plan.pool),
            nn.ReLU(),
            nn.Dropout(_DROPOUT),
            nn.Conv2d(b, c, plan.third_kernel),
            nn.ReLU(),
            nn.Conv2d(c, d, 3, padding=1),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(nn.MaxPool2d(plan.pool), nn.Dropout(_DROPOUT), nn.Flatten())
        first, second, third = plan.widths
        self.dense = nn.Sequential(
            nn.Linear(plan.flat, first), nn.ReLU(),
            nn.Linear(first, second), nn.ReLU(),
            nn.Linear(second, third), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(third, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.dense(self.pool(self.features(images))))
