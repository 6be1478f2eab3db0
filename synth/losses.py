"""The adversarial game's two losses (Goodfellow et al. 2014). Scores are logits (B,): high means "looks real"."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real) - log(1 - sigmoid(fake)), means over the batch: a scalar (eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """-log sigmoid(fake), mean over the batch: a scalar (the non-saturating form, section 3)."""
    return F.softplus(-fake).mean()
