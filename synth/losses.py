"""Losses of the adversarial game. Scores are logits of any shape, real and generated ones alike: high means "looks real"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), means over the scores: a scalar (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """-log sigmoid(fake), mean over the scores: a scalar (Goodfellow et al. 2014, section 3, the non-saturating form)."""
    return F.softplus(-fake).mean()


def hinge_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """max(0, 1 - real) + max(0, 1 + fake), means over the scores of each judge, summed over the judges: a scalar.

    Lim and Ye 2017, "Geometric GAN", with the sum over judges of Sauer et al. 2021, eq. 4. The generator's loss is
    the negative `mean_score` of its images.
    """
    pairs = zip(real, fake, strict=True)
    return torch.stack([F.relu(1 - true).mean() + F.relu(1 + made).mean() for true, made in pairs]).sum()


def mean_score(scores: Sequence[Tensor]) -> Tensor:
    """The mean score of each judge, summed over the judges: a scalar."""
    return torch.stack([score.mean() for score in scores]).sum()
