"""The feature space `classifier:RUN`: what a classifier trained here looks at when it decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from ..runtime.errors import UserError
from ..runtime.files import sha256_file
from ..synth.features.networks import NetworkSpace
from .checkpoint import load_classifier

PREFIX = "classifier:"


def classifier_space(run: Path | str) -> NetworkSpace:
    """What enters the last linear layer of the classifier in `run`, at the size it was trained with.

    Such features tell what the classes tell apart, and nothing of what is common to all of them: a set may be near real
    eyes here and have no vessels. Name another space beside it.

    Raises:
        UserError: no classifier there, or one whose last layer is not linear.
    """
    model, _ = load_classifier(run)
    layers = [layer for layer in model.network.modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1].out_features not in (model.classes, model.classes - 1):
        raise UserError(f"{model.name} does not end in a linear layer, so it has no features to compare", path=run)
    folder = Path(run)
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    version = f"1 {sha256_file(folder / 'classifier.safetensors')}"
    return NetworkSpace(f"{PREFIX}{run}", version, model.size, entering(layers[-1], model))


def with_classifiers(features: Sequence[str]) -> list[str | NetworkSpace]:
    """The names of feature spaces as they are, but those that begin with `classifier:` opened."""
    return [classifier_space(one.removeprefix(PREFIX)) if one.startswith(PREFIX) else one for one in features]


def entering(layer: nn.Module, model: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from RGB images 0..255, float (n, 3, size, size), to what enters `layer` of `model`, (n, features)."""
    caught: list[torch.Tensor] = []
    layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))

    def features(images: torch.Tensor) -> torch.Tensor:
        caught.clear()
        model(images / 255)
        return caught[-1].flatten(1)

    return features
