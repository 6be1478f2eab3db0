"""Which layer of a network a class activation map is made of, and how what it returns is read as maps."""

from __future__ import annotations

import difflib
import math

import torch
from torch import nn

from ...runtime.errors import UserError
from ..backbones import Classifier

_SMALLEST_MAP = 4


def find_layer(model: Classifier, layer: str | nn.Module | None = None) -> nn.Module:
    """A layer by its name in `model.network` (e.g. "blocks.4"), or `default_layer`; a module is returned as it is.

    Raises:
        UserError: the network has no such layer, or none that is known to be a map.
    """
    if isinstance(layer, nn.Module):
        return layer
    if layer is None:
        return default_layer(model)
    known = dict(model.network.named_modules())
    if layer and layer in known:
        return known[layer]
    close = (
        difflib.get_close_matches(layer, list(known)[1:], n=5) or [name for name in known if name.count(".") == 0][1:]
    )
    raise UserError(f"backbone {model.name} has no layer {layer!r}", hint=f"Perhaps {', '.join(close)}.")


def layer_name(model: Classifier, layer: str | None = None) -> str:
    """The name of the layer that `find_layer` finds, as `--layer` takes it."""
    found = find_layer(model, layer)
    return next(name for name, module in model.network.named_modules() if module is found)


def default_layer(model: Classifier) -> nn.Module:
    """Where a class activation map looks when the user does not say.

    Of a convolutional network the deepest stage whose map has at least 4 x 4 cells, see `Classifier.gradcam_layer`. Of a vision
    transformer the first normalisation of the last block: behind that block only the class token reaches the score, so that
    the gradients of all other tokens are 0 there. Of a Swin transformer, whose maps have their channels last, as of a convolutional
    network.

    Raises:
        UserError: none of these.
    """
    network = getattr(model, "network", None)
    blocks = getattr(network, "blocks", None)
    if hasattr(network, "num_prefix_tokens") and isinstance(blocks, nn.Sequential) and hasattr(blocks[-1], "norm1"):
        return blocks[-1].norm1
    if getattr(network, "output_fmt", None) == "NHWC":
        for stage in reversed(network.feature_info):
            if model.size // stage["reduction"] >= _SMALLEST_MAP:
                return network.get_submodule(stage["module"])
    return model.gradcam_layer()


def as_maps(output: torch.Tensor, model: nn.Module) -> torch.Tensor:
    """What a layer returned, as maps (n, channels, h, w), h = w.

    Maps stay; maps with channels last (n, h, w, channels) are turned; of tokens (n, tokens, channels) the class and register
    tokens, which come first and have no place, are dropped, and the rest laid out as the grid of patches, row by row.

    Raises:
        UserError: the layer returned something else, e.g. features without places.
    """
    if output.ndim == 4 and output.shape[2] == output.shape[3]:
        return output
    if output.ndim == 4 and output.shape[1] == output.shape[2]:
        return output.permute(0, 3, 1, 2)
    if output.ndim == 3:
        tokens = output[:, getattr(getattr(model, "network", None), "num_prefix_tokens", 0) :]
        side = math.isqrt(tokens.shape[1])
        if side > 0 and side * side == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(len(output), -1, side, side)
    raise UserError(
        f"this layer returns {tuple(output.shape[1:])} an image, which is neither a square map nor a square grid of tokens",
        hint="Choose another --layer, e.g. the last stage of the backbone.",
    )
