"""Feature spaces of networks that were trained on other pictures: any timm model, DINOv2, and Inception as FID uses it.

Weights come from a file that the user names; nothing is fetched.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import UserError
from .base import batches

if TYPE_CHECKING:
    import torch

    from ...runtime.weights import WeightFile

# Convolutions of another batch size may sum in another order, so a network always sees exactly this many images.
_BATCH = 16
_SIZE = 224
_DINOV2 = "vit_small_patch14_dinov2"
_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


class NetworkSpace:
    """See `base.FeatureSpace`. `network` maps float (16, 3, size, size), 0..255, to (16, dimensions)."""

    feature_names = None
    standardized = False
    in_processes = False

    def __init__(self, name: str, version: str, size: int, network: Callable[[torch.Tensor], torch.Tensor]):
        self.name, self.version, self.size = name, version, size
        self._network = network
        self.dimensions = self._look(np.zeros((1, size, size, 3), np.uint8)).shape[1]

    def features(self, images: np.ndarray) -> np.ndarray:
        """See `base.FeatureSpace`."""
        parts = [self._look(batch) for batch in batches(images, self.size, _BATCH)]
        return np.concatenate([np.empty((0, self.dimensions), np.float32), *parts])

    def _look(self, images: np.ndarray) -> np.ndarray:
        import torch

        batch = np.zeros((_BATCH, self.size, self.size, 3), np.uint8)
        batch[: len(images)] = images
        with torch.inference_mode():
            found = self._network(torch.from_numpy(batch).permute(0, 3, 1, 2).float())
        return found.float().numpy()[: len(images)]


def timm_space(model: str, weights: Path | str | None, name: str | None = None) -> NetworkSpace:
    """What the timm model `model` computes before its head, at the size it was trained with.

    Args:
        weights: safetensors or a state dict of tensors; its metadata is obeyed as `fundus-classify train --weights` does.
        name: of the space, if not "timm:MODEL".

    Raises:
        UserError: no such model, no weights, or weights that do not fit.
    """
    name = name or f"timm:{model}"
    network, file = timm_network(model, weights, f"the feature space {name}", "--feature-weights")
    return NetworkSpace(name, f"1 {file.sha256}", _side(network.pretrained_cfg), _normalizing(network, file))


def timm_network(model: str, weights: Path | str | None, what: str, option: str) -> tuple[torch.nn.Module, WeightFile]:
    """The timm network `model` without its head, in evaluation mode, with the weights of a file.

    Args:
        what, option: for what it is and by which option its weights are named, for errors.

    Raises:
        UserError: no such model, no weights, or weights that do not fit.
    """
    import timm

    from ...runtime.weights import load_into, read_weights

    if not timm.is_model(model):
        close = difflib.get_close_matches(model, timm.list_models(), n=5) or ["mobilenetv2_100", "resnet18"]
        raise UserError(f"timm has no model {model!r}", hint=f"Perhaps {', '.join(close)}.")
    if weights is None:
        raise UserError(f"{what} needs a file of weights", hint=f"Name it with {option}.")
    file = read_weights(weights)
    _refuse_other_model(file, model)
    network = timm.create_model(model, num_classes=0, **_options(model, file))
    heads = network.pretrained_cfg["classifier"]
    load_into(network, file, (heads,) if isinstance(heads, str) else tuple(heads))
    return network.eval(), file


def dinov2_space(weights: Path | str | None) -> NetworkSpace:
    """DINOv2 with the small transformer (Oquab et al. 2023, arXiv:2304.07193) at 224 pixels; errors of `timm_space`."""
    return timm_space(_DINOV2, weights, "dinov2")


def inception_space(weights: Path | str | None) -> NetworkSpace:
    """The 2048 pooled features of the Inception network that FID is defined with, by torch-fidelity.

    Args:
        weights: torch-fidelity's file of it; None = the one in PyTorch's hub folder, if torch-fidelity put it there.

    Raises:
        UserError: torch-fidelity is not installed, or there is no such file, or it does not fit.
    """
    import torch

    from ...runtime.weights import read_weights

    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UserError(
            "the feature space inception needs torch-fidelity", hint="pip install torch-fidelity"
        ) from error
    path = Path(weights) if weights else Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION_FILE
    if weights is None and not path.is_file():
        raise UserError(
            "the feature space inception needs a file of weights",
            hint=f"Name torch-fidelity's {_INCEPTION_FILE} with --feature-weights.",
        )
    file = read_weights(path)
    # torch-fidelity would unpickle the user's file; it is given one that holds the tensors and nothing else.
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "weights.pth"
        torch.save(file.tensors, plain)
        try:
            network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(plain))
        except (RuntimeError, KeyError) as error:
            raise UserError("does not hold the weights of torch-fidelity's Inception", path=path) from error
    return NetworkSpace("inception", f"1 {file.sha256}", 299, lambda images: network.eval()(images.byte())[0])


def _refuse_other_model(file: WeightFile, model: str) -> None:
    made_for = file.facts.get("timm") or file.facts.get("backbone")
    if made_for and made_for != model:
        raise UserError(f"holds weights of {made_for}, not {model}", path=file.path, hint=f"Use timm:{made_for}.")


def _options(model: str, file: WeightFile) -> dict:
    """What timm's builder needs beside the name."""
    import timm

    options: dict = {"pad_type": file.facts["pad_type"]} if file.facts.get("pad_type") else {}
    config = timm.get_pretrained_cfg(model)
    if model.startswith("vit_") and config is not None and _side(config.to_dict()) != config.input_size[1]:
        # Trained at another size than ours: the positions are interpolated at each look.
        options |= {"img_size": config.input_size[1], "dynamic_img_size": True}
    return options


def _side(config: dict) -> int:
    """What the network was trained with, but not more than 224: larger ones take seconds an image."""
    own = config["input_size"][1]
    fixed = config.get("fixed_input_size") and not str(config.get("architecture", "")).startswith("vit_")
    return own if fixed else min(own, _SIZE)


def mean_and_spread(network: torch.nn.Module, file: WeightFile) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network's inputs, RGB in 0..1, are normalised with: two float (1, 3, 1, 1)."""
    import torch

    config = network.pretrained_cfg
    mean, spread = (
        torch.tensor(config[fact] if file.number(fact) is None else (file.number(fact),) * 3).view(1, 3, 1, 1)
        for fact in ("mean", "std")
    )
    return mean, spread


def _normalizing(network: torch.nn.Module, file: WeightFile) -> Callable[[torch.Tensor], torch.Tensor]:
    mean, spread = mean_and_spread(network, file)
    return lambda images: network((images / 255 - mean) / spread)
