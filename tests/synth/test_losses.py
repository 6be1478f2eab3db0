import math

import pytest
import torch

from fundus_synth.synth.losses import discriminator_loss, generator_loss, hinge_loss, mean_score

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_discriminator_loss_by_hand():
    expected = -(math.log(sigmoid(2)) + math.log(sigmoid(-1))) / 2
    expected += -(math.log(1 - sigmoid(0.5)) + math.log(1 - sigmoid(-3))) / 2
    assert discriminator_loss(REAL, FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_generator_loss_by_hand():
    expected = -(math.log(sigmoid(0.5)) + math.log(sigmoid(-3))) / 2
    assert generator_loss(FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_an_undecided_discriminator_loses_two_bits():
    undecided = torch.zeros(4)
    assert discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(undecided).item() == pytest.approx(math.log(2))


def test_certain_scores_give_finite_losses_and_gradients():
    certain = torch.tensor([1e4], requires_grad=True)
    loss = discriminator_loss(-certain, certain)
    loss.backward()
    assert torch.isfinite(loss) and certain.grad.item() == pytest.approx(2.0)


def test_hinge_loss_by_hand():
    # Of the first judge: real 2 -> 0, -1 -> 2, mean 1; made 0.5 -> 1.5, -3 -> 0, mean 0.75. Of the second: 0 -> 1 and 1.
    assert hinge_loss([REAL, torch.zeros(3)], [FAKE, torch.zeros(5)]).item() == pytest.approx(1 + 0.75 + 2)


def test_mean_score_weighs_judges_alike_however_many_places_they_judge():
    assert mean_score([REAL, torch.ones(100)]).item() == pytest.approx(0.5 + 1)
