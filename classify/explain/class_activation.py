"""Class activation maps: what the maps of one layer do for a score, by their values and gradients there.

With A the layer's maps (c, h, w) and G the gradient of the score with respect to them:

- grad-cam (Selvaraju et al. 2017, ICCV, equations 1 and 2): each channel weighted by the mean of its gradient, summed; what is
  negative is set to 0;
- grad-cam++ (Chattopadhay et al. 2018, WACV, equations 5, 7 and 19): each channel weighted by the sum of its positive gradients,
  each of which counts by G^2 / (2 G^2 + sum(A) G^3), with the sum over places; what is negative is set to 0. The paper explains
  exp(score), which multiplies the whole map by exp(score): that factor is left out, so that the map has the score's units;
- hirescam (Draelos and Carin 2020, arXiv:2011.08891, equation 4): A times G, place by place, summed over channels, signed. Where
  the layer is followed by a mean over places and one linear layer, it sums to the score without its bias.

The gradient is computed from the score down to the layer and no further, so that a map costs little more than a prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...runtime.errors import UserError
from .layers import as_maps

GRAD_CAM, GRAD_CAM_PP, HIRESCAM = "grad-cam", "grad-cam++", "hirescam"


def grad_cam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Float (n, c, h, w) twice -> (n, h, w), at least 0."""
    return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()


def grad_cam_plus_plus(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Float (n, c, h, w) twice -> (n, h, w), at least 0."""
    squares = gradients.square()
    below = 2 * squares + activations.sum(dim=(2, 3), keepdim=True) * squares * gradients
    shares = torch.where(below != 0, squares / torch.where(below != 0, below, 1), 0)
    weights = (shares * gradients.relu()).sum(dim=(2, 3), keepdim=True)
    return (weights * activations).sum(dim=1).relu()


def hirescam(activations: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Float (n, c, h, w) twice -> (n, h, w), signed."""
    return (activations * gradients).sum(dim=1)


CLASS_ACTIVATION: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    GRAD_CAM: grad_cam,
    GRAD_CAM_PP: grad_cam_plus_plus,
    HIRESCAM: hirescam,
}


def activations_and_gradients(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's maps and the gradients of the scores with respect to them, twice float (n, c, h, w).

    Args:
        model: images -> scores (n, k), in evaluation mode.
        images: float (n, 3, size, size) in 0..1.
        targets: int64 (n,), which score.
        layer: a part of `model`.

    Raises:
        UserError: the layer does not run, or more than once, or does not return a map.
    """
    held: list[torch.Tensor] = []

    def cut(_: nn.Module, __: tuple, output: object) -> object:
        if not isinstance(output, torch.Tensor):
            raise UserError(f"this layer returns a {type(output).__name__}, not a map", hint="Choose another --layer.")
        held.append(output.detach().requires_grad_())
        # A copy, because the next layer may work in place (ReLU does).
        return held[-1].clone()

    handle = layer.register_forward_hook(cut)
    try:
        with frozen(model), torch.enable_grad():
            scores = model(images).gather(1, targets[:, None]).sum()
            if len(held) != 1:
                raise UserError(f"this layer runs {len(held)} times in a prediction, once was expected",
                                hint="Choose another --layer.")  # fmt: skip
            gradients = torch.autograd.grad(scores, held[0])[0]
    finally:
        handle.remove()
    return as_maps(held[0].detach(), model).float(), as_maps(gradients, model).float()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Meanwhile no parameter asks for a gradient: nobody needs them, and they cost as much as the images' own."""
    asking = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
