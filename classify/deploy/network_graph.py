"""The network that a model file holds: from a standardised image to calibrated probabilities, in one graph.

What prediction does around the network is part of it: blackening outside the field of view, shrinking to the network's size,
normalisation, temperature. Shrinking averages over areas. Along one axis that is a product with a matrix whose row i holds what
share of output pixel i each input pixel covers; the matrix is computed from the side of the input, which may vary.
"""

from __future__ import annotations

import torch
from torch import nn

from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...runtime.errors import UserError
from ..backbones import Classifier

PROBABILITIES, VALUE, FEATURES, MAPS = "probabilities", "value", "features", "maps"
_SAME = 1e-4  # two ways to compute features that are about 1
_FINE = 4096.0


class DeployedNetwork(nn.Module):
    """A classifier with all that a model file needs.

    Args:
        model: in evaluation mode and of no further use: its last layer is taken out of it.
        target: what it was trained on, see `checkpoint.About`.
        temperature: of its probabilities.

    Attributes:
        outputs: names of what `forward` returns, in order.

    Shape: uint8 (n, side, side, 3) RGB, a standardised image of at least the network's size -> float32, by `outputs`:
        probabilities (n, k), calibrated; absent for haemoglobin.
        value (n, 1), g/dL; absent for other targets.
        features (n, d), the input of the last linear layer.
        maps (n, k, h, w), class activation maps (Zhou et al. 2016, equation 2), whose mean over places is the logit without
            its bias; absent unless the logits are a linear layer of a mean over places.

    Raises:
        UserError: the network does not end in one linear layer.
    """

    def __init__(self, model: Classifier, target: str, temperature: float):
        super().__init__()
        self.size, self.target, self.temperature = model.size, target, temperature
        self.network, self.last = _without_last(model)
        mean, std = model.normalization
        # Of levels 0..255, so that a division is saved.
        self.register_buffer("_mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("_std", 255 * torch.tensor(std).view(1, 3, 1, 1))
        self.has_maps = self._ends_in_mean()
        told = VALUE if target == HEMOGLOBIN else PROBABILITIES
        self.outputs = (told, FEATURES, MAPS) if self.has_maps else (told, FEATURES)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pixels = (shrunk(masked(image), self.size) - self._mean) / self._std
        if self.has_maps:
            last_map = self.network.forward_features(pixels)
            features = last_map.mean(dim=(2, 3))
        else:
            features = self.network(pixels).flatten(1)
        logits = self.last(features)
        told = self._told(logits)
        if not self.has_maps:
            return told, features
        maps = torch.matmul(self.last.weight, last_map.flatten(2)).unflatten(2, last_map.shape[2:])
        return told, features, maps

    def _told(self, logits: torch.Tensor) -> torch.Tensor:
        if self.target == HEMOGLOBIN:
            return logits
        if self.target == MULTILABEL:
            return torch.sigmoid(logits / self.temperature)
        return torch.softmax(logits / self.temperature, dim=1)

    def _ends_in_mean(self) -> bool:
        """Whether the features are the mean over places of the network's last map, and the logits a linear layer of them."""
        if type(self.last) is not nn.Linear or not hasattr(self.network, "forward_features"):
            return False
        pixels = torch.rand(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            last_map, features = self.network.forward_features(pixels), self.network(pixels).flatten(1)
        if last_map.ndim != 4 or last_map.shape[:2] != features.shape:
            return False
        return torch.allclose(last_map.mean(dim=(2, 3)), features, rtol=_SAME, atol=_SAME)


def masked(image: torch.Tensor) -> torch.Tensor:
    """Black outside the inscribed circle, as in standardised images: (n, side, side, 3) -> float32 of the same shape."""
    side = image.shape[1]
    line = (torch.arange(side, dtype=torch.float32, device=image.device) + 0.5 - side / 2).square()
    inside = line[:, None] + line[None, :] <= (side / 2) ** 2
    return image.float() * inside[None, :, :, None].float()


def shrunk(levels: torch.Tensor, size: int) -> torch.Tensor:
    """Means over areas, rounded to whole levels: float32 (n, side, side, 3) -> (n, 3, size, size); side at least size.

    The same levels as `data.cache.fit_square`, which halves round upwards when a side is halved and to even levels otherwise.
    """
    n, side = levels.shape[0], levels.shape[1]
    shares = area_shares(side, size, levels.device)
    lines = torch.matmul(shares, levels.reshape(n, side, side * 3)).reshape(n, size, side, 3)
    means = torch.matmul(lines.permute(0, 1, 3, 2), shares.T).permute(0, 2, 1, 3)
    # What should be a half is one only up to float32's rounding.
    means = torch.round(means * _FINE) / _FINE
    halved = torch.scalar_tensor(side, dtype=torch.float32, device=levels.device) == 2 * size
    return torch.where(halved, torch.floor(means + 0.5), torch.round(means))


def area_shares(side: int, size: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Row i: the share of output pixel i that each input pixel covers; float32 (size, side), rows sum to 1.

    Counted in parts of 1 / size of an input pixel, in whole numbers that float32 holds exactly: a mean that lies half-way
    between two levels must be seen to do so.
    """
    step = torch.scalar_tensor(side, dtype=torch.float32, device=device)
    low = torch.arange(size, dtype=torch.float32, device=device)[:, None] * step
    pixel = torch.arange(side, dtype=torch.float32, device=device)[None, :] * size
    return (torch.minimum(low + step, pixel + size) - torch.maximum(low, pixel)).clamp(min=0) / step


def _without_last(model: Classifier) -> tuple[nn.Module, nn.Linear]:
    """The network with its last linear layer replaced by nothing, and that layer."""
    network = model.network
    names = [name for name, module in network.named_modules() if module in model.head_modules()]
    layers = [
        f"{head}.{name}" if name else head
        for head in names
        for name, module in network.get_submodule(head).named_modules()
        if isinstance(module, nn.Linear)
    ]
    if len(names) != 1 or not layers:
        raise UserError(f"backbone {model.name} does not end in one linear layer and cannot be exported")
    last = network.get_submodule(layers[-1])
    network.set_submodule(layers[-1], nn.Identity())
    return network, last
