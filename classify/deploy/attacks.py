"""The smallest changes that mislead a network: FGSM and PGD, inside the field of view only.

FGSM: one step of size epsilon along the sign of the gradient of the loss (Goodfellow, Shlens, Szegedy, ICLR 2015, equation in
section 4). PGD: many smaller ones from a random start, each followed by the way back into the ball of epsilon (Madry et al.,
ICLR 2018, section 2.1). Whoever attacks knows the weights: such pictures do not come about by chance, they bound what could.

Both work on the picture at the model's size. Shrinking averages over areas, so a whole block of the standardised picture may
move by epsilon at once: the same epsilon on the standardised picture would be no weaker.
"""

from __future__ import annotations

import numpy as np
import torch

from ...preprocess.dataset_masks import whole_field
from ..backbones import Classifier
from ..images import to_batch
from ..tasks import ONE_CLASS, Task

EPSILONS = (1, 2, 4, 6, 8)
"""Of 255, one a severity."""
_PGD_STEPS = 10


def fgsm(
    model: Classifier, images: np.ndarray, truth: np.ndarray, epsilon: int, *,
    task: Task = ONE_CLASS, device: torch.device | str = "cpu",
) -> np.ndarray:  # fmt: skip
    """Each picture moved by `epsilon` grey levels where the loss rises.

    Args:
        model: on `device`; it is left in evaluation mode.
        images: uint8 (n, size, size, 3) RGB at the model's size.
        truth: labels as the task has them, e.g. int (n,).
        epsilon: grey levels of 255.

    Returns:
        uint8, as `images`; every value of the field moved by exactly `epsilon`, unless it would leave 0..255 or the loss does
        not depend on it. Outside the field nothing moves.
    """
    original, field = to_batch(images, device), _field(model.size, device)
    step = _gradient(model, original, truth, task, device).sign()
    return _grey_levels((original + epsilon / 255 * step * field).clamp(0, 1))


def pgd(
    model: Classifier, images: np.ndarray, truth: np.ndarray, epsilon: int, *,
    task: Task = ONE_CLASS, device: torch.device | str = "cpu", seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """As `fgsm`, by ten steps of a quarter of epsilon from a random start.

    Args:
        seed: of the start.

    Returns:
        uint8, as `images`; no value moved by more than `epsilon`.
    """
    original, field = to_batch(images, device), _field(model.size, device)
    size = epsilon / 255
    random = torch.Generator().manual_seed(seed)
    start = (2 * torch.rand(original.shape, generator=random) - 1).to(device)
    moved = (original + size * start * field).clamp(0, 1)
    for _ in range(_PGD_STEPS):
        step = _gradient(model, moved, truth, task, device).sign()
        away = (moved + size / 4 * step * field - original).clamp(-size, size)
        moved = (original + away).clamp(0, 1)
    return _grey_levels(moved)


ATTACKS = {
    "fgsm": (fgsm, "the weights are known: one step against the network (Goodfellow 2015)"),
    "pgd": (pgd, "the weights are known: ten steps against the network (Madry 2018)"),
}


def _gradient(
    model: Classifier, images: torch.Tensor, truth: np.ndarray, task: Task, device: torch.device | str
) -> torch.Tensor:
    model.eval()
    images = images.detach().requires_grad_(True)
    with torch.enable_grad():
        loss = task.loss(model(images), torch.from_numpy(np.asarray(truth)).to(device), model.head, None, 0.0)
        return torch.autograd.grad(loss, images)[0]


def _field(size: int, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy((whole_field(size) > 0).astype(np.float32)).to(device)


def _grey_levels(images: torch.Tensor) -> np.ndarray:
    # Epsilon is a whole number of grey levels and so is the original, so rounding stays within the ball.
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
