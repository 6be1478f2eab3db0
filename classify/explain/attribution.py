"""Grad-CAM (Selvaraju et al. 2017, ICCV): which part of a fundus photograph raised a class's score."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from ..images import ImageSource, as_source, to_batch

_BATCH = 32
_OPACITY = 0.7


def grad_cam(
    model: nn.Module,
    images: np.ndarray | ImageSource,
    target_classes: np.ndarray | Sequence[int],
    *,
    layer: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Grad-CAM maps, computed by captum: channel maps weighted by the mean gradient of the class score, summed,
    negative values set to 0, enlarged bilinearly. They are not normalised: an image without evidence for the class
    has a map of zeros.

    Args:
        model: on `device`; it is put into evaluation mode.
        images: uint8 (n, h, w, 3).
        target_classes: int (n,), the class that each image's map is about.
        layer: where to look; `model.gradcam_layer()` by default.

    Returns:
        float32 (n, h, w), at least 0, in units of the class score (logit).
    """
    source, target_classes = as_source(images), np.asarray(target_classes)
    model.eval()
    method = LayerGradCam(model, model.gradcam_layer() if layer is None else layer)
    maps = [np.zeros((0, source.size, source.size), np.float32)]
    for start in range(0, len(source), _BATCH):
        part = np.arange(start, min(start + _BATCH, len(source)))
        goals = torch.from_numpy(target_classes[part]).to(device)
        coarse = method.attribute(to_batch(source.take(part), device), target=goals, relu_attributions=True)
        fine = LayerAttribution.interpolate(coarse, (source.size, source.size), "bilinear")
        maps.append(fine[:, 0].detach().float().cpu().numpy())
    return np.concatenate(maps)


def color_scale(maps: np.ndarray) -> float:
    """One scale for all maps of a sheet, their largest value, so that a weak map looks weak beside a strong one."""
    return float(maps.max()) if maps.size else 0.0


def overlay(image: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """The photograph with the map laid over it, the more opaque the stronger, so that 0 leaves it unchanged.

    The colours run from blue to green, which no fundus photograph has.

    Args:
        image: uint8 (h, w, 3).
        attribution: float (h, w), at least 0.
        scale: the value shown at full strength; 0 shows nothing.

    Returns:
        uint8 (h, w, 3).
    """
    strength = np.clip(attribution / scale, 0, 1) if scale > 0 else np.zeros_like(attribution)
    colors = matplotlib.colormaps["winter"](strength)[..., :3] * 255
    opacity = _OPACITY * strength[..., None]
    return np.rint(image * (1 - opacity) + colors * opacity).astype(np.uint8)
