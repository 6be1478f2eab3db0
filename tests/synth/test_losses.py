import math

import pytest
import torch

from fundus_synth.synth.losses import discriminator_loss, generator_loss, gradient_penalty, relativistic_loss

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


def test_relativistic_loss_by_hand():
    expected = -(math.log(sigmoid(2 - 0.5)) + math.log(sigmoid(-1 + 3))) / 2
    assert relativistic_loss(REAL, FAKE).item() == pytest.approx(expected, rel=1e-6)


def test_relativistic_loss_sees_only_differences():
    assert relativistic_loss(REAL + 5, FAKE + 5).item() == pytest.approx(relativistic_loss(REAL, FAKE).item())
    assert relativistic_loss(FAKE, REAL) > relativistic_loss(REAL, FAKE)


def test_gradient_penalty_of_a_linear_score_is_its_squared_weight():
    weight = torch.tensor([[1.0, -2.0, 2.0]], requires_grad=True)
    inputs = torch.randn(5, 3, requires_grad=True)
    penalty = gradient_penalty((inputs @ weight.T).squeeze(1), inputs)
    assert penalty.item() == pytest.approx(9)
    penalty.backward()
    assert torch.allclose(weight.grad, 2 * weight)


def test_gradient_penalty_of_several_scores_is_that_of_their_mean():
    inputs = torch.randn(4, 1, 2, 2, requires_grad=True)
    scores = torch.stack([inputs.flatten(1).sum(1), 3 * inputs.flatten(1).sum(1)], 1)
    assert gradient_penalty(scores, inputs).item() == pytest.approx(4 * 2**2)
    assert gradient_penalty(inputs.square().flatten(1).sum(1), inputs).item() == pytest.approx(
        4 * inputs.square().flatten(1).sum(1).mean().item(), rel=1e-5
    )
