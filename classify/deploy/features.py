"""What a classifier looks at when it decides, and what it says: in one pass over the images.

Features are what enters the last linear layer: pooled, flat. The model file's output "features" is the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...preprocess.dataset_masks import whole_field
from ...runtime.errors import UserError
from ...runtime.progress import Progress
from ..backbones import Classifier
from ..images import ImageSource, as_source, to_batch
from ..tasks import ONE_CLASS, Task


def feature_layer(model: Classifier) -> nn.Linear:
    """The last linear layer of a classifier, whose input are its features.

    Raises:
        UserError: its head has none (e.g. a convolution that gives the scores).
    """
    layers = [layer for part in model.head_modules() for layer in part.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise UserError(
            f"{model.name} does not end in a linear layer, so it has no features", hint="Use another backbone."
        )
    return layers[-1]


def told_and_features(
    model: Classifier, images: np.ndarray | ImageSource, task: Task = ONE_CLASS, *, batch_size: int = 64,
    device: torch.device | str = "cpu", quiet: bool = True,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """What `predictions.predict_images` returns, and the features.

    What lies outside the inscribed circle is blackened first, as the model file does with every photograph.

    Args:
        model: on `device`; it is put into evaluation mode and left in it.
        images: uint8 (n, size, size, 3) RGB.

    Returns:
        float64 (n, classes), not yet calibrated; float32 (n, d).

    Raises:
        UserError: see `feature_layer`.
    """
    source, layer = as_source(images), feature_layer(model)
    outside = whole_field(source.size) == 0
    caught: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].flatten(1).float().cpu()))
    told = [np.zeros((0, model.classes))]
    model.eval()
    try:
        with torch.inference_mode(), Progress(len(source), "looking at features", quiet=quiet) as progress:
            for start in range(0, len(source), batch_size):
                pixels = source.take(np.arange(start, min(start + batch_size, len(source))))
                pixels[:, outside] = 0
                told.append(task.told(model(to_batch(pixels, device))).cpu().numpy())
                progress.advance(len(pixels))
    finally:
        handle.remove()
    features = torch.cat(caught) if caught else torch.zeros(0, layer.in_features)
    return np.concatenate(told), features.numpy()
