"""Adversarial losses. Scores are logits (B,): high means "looks real" to the discriminator. All return a scalar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """The two sides of one game: `discriminator(real_scores, fake_scores)` and `generator(fake_scores)`."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), means over the batch (Goodfellow 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def cross_entropy_generator(fake: Tensor) -> Tensor:
    """-log sigmoid(fake), the non-saturating form (Goodfellow 2014, section 3)."""
    return F.softplus(-fake).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake), means over the batch (Lim and Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-fake, mean over the batch (Lim and Ye 2017)."""
    return -fake.mean()


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """R1: the squared gradient of the scores to real images, summed over each image, mean over the batch.

    Args:
        scores: (B,) computed from `images`.
        images: (B, C, H, W) with requires_grad.

    Source: Mescheder, Geiger and Nowozin 2018, eq. 9 without its factor gamma / 2.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


LOSSES = {
    "cross_entropy": AdversarialLoss(cross_entropy_discriminator, cross_entropy_generator),
    "hinge": AdversarialLoss(hinge_discriminator, hinge_generator),
}
