"""The frozen network through which the light generator's judge looks at eyes.

`landmarks` is the toolkit's own, which finds disc and fovea: nothing to fetch, but it knows little of texture. `timm:NAME`, one
that was trained on photographs of everything, knows edges, spots and grain; its weights come from a file that the user names.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..preprocess.landmark_net import normalized, trained_network
from ..runtime.errors import UserError
from .features.networks import mean_and_spread, timm_network

PROJECTIONS = ("auto", "landmarks", "timm:NAME")
_LARGE_ENOUGH, _SMALLEST = 128, 64
_MAPS = 4
_FINEST, _ONE_FINER = 4, 2
_COLORS = 4


class Projection(nn.Module):
    """Maps images to the feature maps of a frozen network.

    Args:
        size: of the images, pixels; below 128 the network sees them enlarged to twice their size, and to 64 at least: at
            64 px vessels are as wide as its smallest edges, and unenlarged the game took three times as long.

    Attributes:
        name: what the network is, for the description of the run.
        shapes: (channels, height) of each map, the finest first.
    """

    name: str

    def __init__(self, size: int):
        super().__init__()
        self.side = size if size >= _LARGE_ENOUGH else max(2 * size, _SMALLEST)

    def maps(self, images: Tensor) -> list[Tensor]:
        """(B, 3, side, side) in -1..1 -> the feature maps, the finest first."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, size, size) in -1..1 -> float maps (B, channels, height, height), the finest first."""
        if images.shape[-1] != self.side:
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False)
        return self.maps(images)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(channels, height) of each map, the finest first."""
        with torch.no_grad():
            blank = next(self.buffers()).new_zeros(1, 3, self.side, self.side)
            return [tuple(found.shape[1:3]) for found in self.maps(blank)]

    def frozen(self) -> Projection:
        """Itself, in evaluation mode, without gradients of its weights."""
        return self.requires_grad_(False).eval().to(memory_format=torch.channels_last)


class LandmarkProjection(Projection):
    """What the landmark network computes on its way down, and the eye's colours, which it does not look at."""

    name = "landmarks"

    def __init__(self, size: int):
        super().__init__(size)
        network = copy.deepcopy(trained_network())
        self.stages = nn.ModuleList([network.stem, network.down4, network.down8, network.down16])
        for stage in self.stages:
            for module in stage.modules():
                if isinstance(module, nn.ReLU):
                    module.inplace = False

    def maps(self, images: Tensor) -> list[Tensor]:
        """See `Projection.maps`."""
        features, found = normalized((images + 1) / 2), []
        for stage in self.stages:
            features = stage(features)
            found.append(features)
        colors = F.adaptive_avg_pool2d(images, found[-1].shape[-1])
        return [*found[:-1], torch.cat([found[-1], _COLORS * colors], 1)]


class TimmProjection(Projection):
    """The last maps of the stages of a timm network: one place of the finest stands for two pixels of the image, where the
    network has a map that fine.

    That is a quarter of an enlarged width, and half of one that is not. At 128 px, with places of four pixels, what lay
    between them was nobody's business, and the generator still drew straight lines there after 2500 steps.
    """

    def __init__(self, size: int, model: str, weights: Path | str | None):
        super().__init__(size)
        network, file = timm_network(model, weights, f"the projection timm:{model}", "--projection-weights")
        enlarged = self.side > size
        finest, maps = (_FINEST, _MAPS) if enlarged else (_ONE_FINER, _MAPS + 1)
        self.name = f"timm:{model} {file.sha256[:12]}" + ("" if enlarged else f" from 1/{finest}")
        if not hasattr(network, "forward_intermediates"):
            raise UserError(
                f"timm's {model} does not show its feature maps", hint="Use another network, e.g. mobilenetv2_100."
            )
        for name, values in zip(("mean", "spread"), mean_and_spread(network, file), strict=True):
            self.register_buffer(name, 2 * values - 1 if name == "mean" else 2 * values)
        numbered = enumerate(network.feature_info)
        self.indices = [number for number, fact in numbered if fact["reduction"] >= finest][-maps:]
        self.network = with_folded_norms(network.eval(), self.side)

    def maps(self, images: Tensor) -> list[Tensor]:
        """See `Projection.maps`."""
        seen = (images - self.mean) / self.spread
        return self.network.forward_intermediates(seen, indices=self.indices, intermediates_only=True)


def projection(spec: str, weights: Path | str | None, size: int) -> Projection:
    """The frozen network called `spec`, for images of `size` pixels.

    Args:
        spec: one of PROJECTIONS; "auto" is the timm network that the weights file names in its metadata, or `landmarks`.
        weights: file of the timm network's weights.

    Raises:
        UserError: no such network, or weights that are missing, not wanted or do not fit.
    """
    from ..runtime.weights import read_weights

    if spec == "auto" and weights is not None:
        facts = read_weights(weights).facts
        model = facts.get("timm") or facts.get("backbone")
        if not model:
            raise UserError(
                "does not say which network it is of", path=Path(weights), hint="Name it: --projection timm:NAME."
            )
        spec = f"timm:{model}"
    if spec in ("auto", "landmarks"):
        if weights is not None:
            raise UserError("the projection landmarks has no weights", hint="Leave out --projection-weights.")
        return LandmarkProjection(size).frozen()
    if spec.startswith("timm:"):
        return TimmProjection(size, spec.removeprefix("timm:"), weights).frozen()
    raise UserError(f"no projection is called {spec!r}; expected one of {', '.join(PROJECTIONS)}")


def with_folded_norms(network: nn.Module, side: int) -> nn.Module:
    """A network in evaluation mode with its batch norms folded into the convolutions before them: half the time on a processor.

    Layers do not say what follows them in use, only in order; where that differs the network is given back as it was.
    """
    folded = copy.deepcopy(network)
    _fold(folded)
    example = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        before, after = network(example), folded(example)
    return folded if torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max())) else network


def _fold(module: nn.Module) -> None:
    children = list(module.named_children())
    for (_, one), (name, other) in zip(children, children[1:], strict=False):
        if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
            one.weight, one.bias = fuse_conv_bn_weights(
                one.weight, one.bias, other.running_mean, other.running_var, other.eps, other.weight, other.bias
            )
            # timm's batch norms bring their activation along.
            setattr(module, name, getattr(other, "act", nn.Identity()))
    for _, child in module.named_children():
        _fold(child)
