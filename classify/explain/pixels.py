"""What single pixels do for a score, all by captum: gradients, gradients gathered on a way to the image, and covering.

- saliency (Simonyan et al. 2014, section 3): the gradient of the score with respect to the pixels;
- smoothgrad (Smilkov et al. 2017): its mean over 25 copies of the image with Gaussian noise of 15 % of the image's range;
- integrated-gradients (Sundararajan et al. 2017, equation 1): the gradient along the straight way from a baseline to the image
  (50 Gauss-Legendre points), times their difference: it sums to the difference of the scores;
- occlusion (Zeiler and Fergus 2014): how much the score falls when a square of an eighth of the width is covered by the baseline,
  averaged over the squares (a sixteenth of the width apart) that a pixel lies in;
- guided-grad-cam (Selvaraju et al. 2017, section 3.3): guided backpropagation (Springenberg et al. 2015) times Grad-CAM.

The baseline of the last but one two is the photograph's own mean colour within its field of view, and the photograph outside
it. Black, the usual one, is what lies outside a fundus photograph: a way from black would credit every bright pixel for not
being outside, and could never credit a dark one, a haemorrhage, for anything.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import numpy as np
import torch
from captum.attr import GuidedGradCam, IntegratedGradients, NoiseTunnel, Occlusion, Saliency
from scipy.ndimage import binary_fill_holes
from torch import nn

from ...runtime.errors import UserError

GUIDED, SALIENCY, SMOOTHGRAD, INTEGRATED, OCCLUSION = (
    "guided-grad-cam", "saliency", "smoothgrad", "integrated-gradients", "occlusion",
)  # fmt: skip
_NOISY_COPIES, _NOISE = 25, 0.15
_STEPS = 50
_AT_ONCE = 32
_DARK = 10 / 255
# Bends that are neither ReLU nor a gate: what guided backpropagation should do at them, nobody has defined. By name, because timm
# has its own of many.
_OTHER_BENDS = {
    "SiLU", "Swish", "GELU", "GELUTanh", "QuickGELU", "GeluTanh", "QuickGelu", "Hardswish", "HardSwish", "Mish", "HardMish", "ELU",
    "CELU", "SELU", "LeakyReLU", "PReLU", "RReLU", "Tanh", "Softplus",
}  # fmt: skip


def saliency(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, **_: object) -> torch.Tensor:
    """Signed gradients, float (n, 3, s, s) of images (n, 3, s, s) in 0..1 and targets int64 (n,)."""
    return Saliency(model).attribute(images, target=targets, abs=False)


def smoothgrad(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, seed: int = 0, **_: object
) -> torch.Tensor:
    """As `saliency`; every image meets the same noise, whatever its neighbours."""
    tunnel, found = NoiseTunnel(Saliency(model)), []
    for image, target in zip(images.split(1), targets.split(1), strict=True):
        spread = _NOISE * float(image.detach().max() - image.detach().min())
        with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
            torch.manual_seed(seed)
            found.append(
                tunnel.attribute(image, nt_type="smoothgrad", nt_samples=_NOISY_COPIES, nt_samples_batch_size=_NOISY_COPIES,
                                 stdevs=spread, target=target, abs=False)
            )  # fmt: skip
    return torch.cat(found)


def integrated_gradients(model: nn.Module, images: torch.Tensor, targets: torch.Tensor, **_: object) -> torch.Tensor:
    """As `saliency`; sums to the score's difference from that of `baseline`."""
    return IntegratedGradients(model).attribute(
        images,
        baselines=baseline(images),
        target=targets,
        n_steps=_STEPS,
        internal_batch_size=max(_AT_ONCE, len(images)),
    )


def occlusion(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, channels: bool = False, **_: object
) -> torch.Tensor:
    """As `saliency`; with `channels` each channel is covered by itself, else all three together (and have the same map)."""
    side = images.shape[-1]
    window, stride = max(1, side // 8), max(1, side // 16)
    deep, at_once = 1 if channels else 3, max(1, _AT_ONCE // len(images))
    with torch.no_grad():
        return Occlusion(model).attribute(images, (deep, window, window), (deep, stride, stride), perturbations_per_eval=at_once,
                                          baselines=baseline(images), target=targets)  # fmt: skip


def guided_grad_cam(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor, layer: nn.Module, **_: object
) -> torch.Tensor:
    """As `saliency`.

    Guided backpropagation lets only positive gradients through at a ReLU. It is defined for networks that bend by ReLU (ReLU6
    is one with a ceiling). Gates (sigmoids of squeeze-and-excitation or attention) pass their gradients unchanged.

    Raises:
        UserError: the network has other bends, such as SiLU or GELU, or none.
    """
    names = {module: name for name, module in model.named_modules()}
    twin = rectified(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting backward hooks")
        method = GuidedGradCam(twin, twin.get_submodule(names[layer]))
        return method.attribute(images, target=targets, interpolate_mode="bilinear")


PIXELS: dict[str, Callable[..., torch.Tensor]] = {
    GUIDED: guided_grad_cam,
    SALIENCY: saliency,
    SMOOTHGRAD: smoothgrad,
    INTEGRATED: integrated_gradients,
    OCCLUSION: occlusion,
}


def baseline(images: torch.Tensor) -> torch.Tensor:
    """Each photograph's mean colour where its field of view is, and the photograph itself where it is not: float as `images`,
    (n, 3, s, s) in 0..1.

    The field is what is not dark, with its holes.
    """
    images = images.detach()
    bright = (images.amax(dim=1) > _DARK).cpu().numpy()
    field = torch.from_numpy(np.stack([binary_fill_holes(one) for one in bright])).to(images.device)[:, None]
    mean = (images * field).sum(dim=(2, 3), keepdim=True) / field.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    return torch.where(field, mean, images)


def rectified(model: nn.Module) -> nn.Module:
    """A copy in which every ReLU is a module of its own that captum can hook: not in place, and ReLU6 as ReLU and a ceiling.

    Raises:
        UserError: see `guided_grad_cam`.
    """
    others = sorted({type(module).__name__ for module in model.modules()} & _OTHER_BENDS)
    bends = [module for module in model.modules() if isinstance(module, nn.ReLU | nn.ReLU6)]
    if others or not bends:
        raise UserError(
            f"{GUIDED} is defined for networks that bend by ReLU; this one has {', '.join(others) or 'none'}",
            hint="Use grad-cam or smoothgrad.",
        )
    twin = copy.deepcopy(model)
    for name, module in list(twin.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.ReLU6):
            twin.set_submodule(name, nn.Sequential(nn.ReLU(), _Ceiling(6.0)))
        elif isinstance(module, nn.ReLU):
            module.inplace = False
    return twin


class _Ceiling(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.clamp(max=self.value)
