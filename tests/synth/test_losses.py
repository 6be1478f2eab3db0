import math

import pytest
import torch

from fundus_synth.synth.losses import LOSSES, gradient_penalty

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def test_cross_entropy_by_hand():
    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    expected = -(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2
    expected += -(math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3))) / 2
    assert LOSSES["cross_entropy"].discriminator(REAL, FAKE).item() == pytest.approx(expected, rel=1e-6)
    expected = -(math.log(sigmoid(0.5)) + math.log(sigmoid(-3))) / 2
    assert LOSSES["cross_entropy"].generator(FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_hinge_by_hand():
    # real: max(0, 1 - 2) = 0, max(0, 1 + 1) = 2; fake: max(0, 1 + 0.5) = 1.5, max(0, 1 - 3) = 0
    assert LOSSES["hinge"].discriminator(REAL, FAKE).item() == pytest.approx(1.0 + 0.75)
    assert LOSSES["hinge"].generator(FAKE).item() == pytest.approx(1.25)


def test_cross_entropy_is_finite_for_certain_discriminators():
    certain = torch.tensor([1e4])
    assert torch.isfinite(LOSSES["cross_entropy"].discriminator(-certain, certain))


def test_gradient_penalty_of_a_linear_score():
    images = torch.randn(3, 2, 4, 4, requires_grad=True)
    weights = torch.arange(32.0).view(1, 2, 4, 4)
    scores = (images * weights).sum((1, 2, 3))
    assert gradient_penalty(scores, images).item() == pytest.approx(sum(i * i for i in range(32)))
