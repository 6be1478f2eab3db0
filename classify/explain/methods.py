"""Which parts of a fundus photograph raised a score: one function for all methods.

    maps = attribute(model, images, targets, "hirescam")

See `class_activation` for the maps of a layer (grad-cam, grad-cam++, hirescam) and `pixels` for those of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from captum.attr import LayerAttribution
from torch import nn

from ...runtime.errors import UserError
from ...runtime.progress import Progress
from ..backbones import Classifier
from ..images import ImageSource, as_source, to_batch
from .class_activation import CLASS_ACTIVATION, GRAD_CAM, GRAD_CAM_PP, HIRESCAM, activations_and_gradients, frozen
from .layers import find_layer
from .pixels import GUIDED, INTEGRATED, OCCLUSION, PIXELS, SALIENCY, SMOOTHGRAD
from .scores import Scored, Scores

METHODS = (GRAD_CAM, GRAD_CAM_PP, HIRESCAM, GUIDED, SALIENCY, SMOOTHGRAD, INTEGRATED, OCCLUSION)
PIXEL_METHODS = tuple(PIXELS)
_GRADIENTS = (SALIENCY, SMOOTHGRAD)
_BATCH = 32


def attribute(
    model: Classifier, images: np.ndarray | ImageSource, targets: np.ndarray | Sequence[int], method: str = GRAD_CAM, *,
    layer: str | nn.Module | None = None, channels: bool = False, scores: Scores | None = None, seed: int = 0,
    device: torch.device | str = "cpu", quiet: bool = True,
) -> np.ndarray:  # fmt: skip
    """Attribution maps, not normalised: an image without evidence has a map of zeros, and a weak map is small.

    A map of several channels is one map by the sum over them; of saliency and smoothgrad, whose signs are the channels', by the
    largest magnitude (Simonyan et al. 2014, section 3.1). Maps of a layer are enlarged bilinearly.

    Args:
        model: on `device`; it is put into evaluation mode.
        images: uint8 (n, s, s, 3), at the model's size.
        targets: int (n,), the score that each image's map is about.
        method: one of METHODS.
        layer: where the maps of a layer look, a module of the model or its name in `model.network`; see
            `layers.default_layer`. Of pixel methods only guided-grad-cam has one.
        channels: the maps of R, G and B apart, signed; for PIXEL_METHODS.
        scores: what the targets number; the model's outputs by default.
        seed: of the noise of smoothgrad.

    Returns:
        float32 (n, s, s), or (n, s, s, 3) with `channels`; in units of the score (for gradients: by value 0..1 of a pixel).
        Grad-cam, grad-cam++, and without `channels` saliency and smoothgrad, are at least 0; the others signed.

    Raises:
        UserError: unknown method or layer, a method that this network does not allow, channels of a map that has none.
    """
    check_method(method, channels)
    source, targets = as_source(images), np.asarray(targets, dtype=np.int64)
    if len(targets) != len(source):
        raise ValueError(f"{len(source)} images, but {len(targets)} targets")
    model.eval()
    scored, look = Scored(model, scores), None
    if method in CLASS_ACTIVATION or method == GUIDED:
        look = find_layer(model, layer)
    maps = [np.zeros((0, source.size, source.size, *([3] if channels else [])), np.float32)]
    with Progress(len(source), method, quiet=quiet) as progress, frozen(scored):
        for start in range(0, len(source), _BATCH):
            part = np.arange(start, min(start + _BATCH, len(source)))
            batch, goals = to_batch(source.take(part), device), torch.from_numpy(targets[part]).to(device)
            maps.append(_maps(scored, batch, goals, method, look, channels, seed))
            progress.advance(len(part))
    return np.concatenate(maps)


def check_method(method: str, channels: bool = False) -> None:
    """Refuse a method that is not there, or channels of one that has none.

    Raises:
        UserError: such a method.
    """
    if method not in METHODS:
        raise UserError(f"no method is called {method!r}", hint=f"Use {', '.join(METHODS)}.")
    if channels and method not in PIXEL_METHODS:
        raise UserError(
            f"{method} looks at a layer, where colours are mixed already; it has no map of a colour channel",
            hint=f"Use {', '.join(PIXEL_METHODS)}.",
        )


def check_network(model: Classifier, method: str, layer: str | None = None) -> None:
    """Try a method's layer on an empty image, so that what cannot work is refused before any photograph is read.

    Raises:
        UserError: the network does not allow the method, or has no such layer.
    """
    if method in CLASS_ACTIVATION or method == GUIDED:
        device = next(model.parameters()).device
        attribute(model, np.zeros((1, model.size, model.size, 3), np.uint8), [0], method, layer=layer, device=device)


def is_signed(method: str) -> bool:
    """Whether a map of it, without channels, has values below 0."""
    return method not in (GRAD_CAM, GRAD_CAM_PP, *_GRADIENTS)


def _maps(
    model: Scored, images: torch.Tensor, targets: torch.Tensor, method: str, layer: nn.Module | None, channels: bool, seed: int
) -> np.ndarray:  # fmt: skip
    """Float32 (n, s, s), or (n, s, s, 3)."""
    if method in CLASS_ACTIVATION:
        coarse = CLASS_ACTIVATION[method](*activations_and_gradients(model, images, targets, layer))
        return LayerAttribution.interpolate(coarse[:, None], images.shape[2:], "bilinear")[:, 0].cpu().numpy()
    # Captum says aloud when it has to ask for the gradient itself.
    found = PIXELS[method](model, images.requires_grad_(), targets, layer=layer, channels=channels, seed=seed)
    apart = found.detach().float().permute(0, 2, 3, 1).cpu().numpy()
    if channels:
        return apart
    # Covered together, the three channels of occlusion have one map between them.
    return apart[..., 0] if method == OCCLUSION else merge_channels(apart, method)


def merge_channels(maps: np.ndarray, method: str) -> np.ndarray:
    """The map of a pixel method but occlusion from its maps by channel, float (n, s, s, 3) -> (n, s, s), see `attribute`."""
    return np.abs(maps).max(axis=3) if method in _GRADIENTS else maps.sum(axis=3)
