"""Losses of the adversarial game. Scores are logits of any shape, real and generated ones alike: high means "looks real"."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), means over the scores: a scalar (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """-log sigmoid(fake), mean over the scores: a scalar (Goodfellow et al. 2014, section 3, the non-saturating form)."""
    return F.softplus(-fake).mean()


def relativistic_loss(winner: Tensor, loser: Tensor) -> Tensor:
    """-log sigmoid(winner - loser), mean over the pairs: a scalar (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2).

    The discriminator lets the real image of each pair win, the generator its own. An image is judged only beside another,
    so a generator gains nothing by making one kind of image that passes: this keeps it from collapsing.
    """
    return F.softplus(loser - winner).mean()


def gradient_penalty(scores: Tensor, inputs: Tensor) -> Tensor:
    """Mean over the batch of the squared norm of the score's gradient: a scalar (Mescheder, Geiger and Nowozin 2018, eq. 9).

    Of real images it is called R1, of generated ones R2. An image with several scores has their mean.

    Args:
        scores: (B,) or (B, P) scores.
        inputs: (B, ...) what they are scores of, requiring gradients.
    """
    total = scores.flatten(1).mean(1).sum() if scores.ndim > 1 else scores.sum()
    (gradient,) = torch.autograd.grad(total, inputs, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
