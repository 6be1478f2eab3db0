import pytest
import torch
from torch import nn

from fundus_synth.synth.losses import hinge_loss, mean_score
from fundus_synth.synth.networks.light import Generator
from fundus_synth.synth.networks.projected import Discriminator
from fundus_synth.synth.projection import projection

SHAPES = [(5, 32), (7, 8), (9, 4)]


def make(classes=1):
    torch.manual_seed(0)
    return Discriminator(SHAPES, classes)


def maps(count=3):
    torch.manual_seed(1)
    return [torch.randn(count, channels, side, side) for channels, side in SHAPES]


def test_one_score_for_each_place_at_most_eight_across():
    discriminator = make()
    scores = discriminator(discriminator.mix(maps()))
    assert [score.shape for score in scores] == [(3, 64), (3, 64), (3, 16)]
    assert all(score.dtype == torch.float32 for score in scores)


def test_a_place_is_judged_by_what_is_near_it():
    discriminator = make().eval()
    before, changed = maps(1), maps(1)
    changed[0][..., 28:, 28:] += 3
    mixed = [discriminator.mix(given) for given in (before, changed)]
    moved = (discriminator(mixed[0])[0] - discriminator(mixed[1])[0]).view(8, 8).abs() > 1e-6
    assert moved[-1, -1] and not moved[:5, :5].any()


def test_what_is_coarse_reaches_the_finer_maps_and_not_the_other_way():
    discriminator = make()
    plain = discriminator.mix(maps())
    coarse, fine = maps(), maps()
    coarse[2] += 1
    fine[0] += 1
    assert not torch.allclose(discriminator.mix(coarse)[0], plain[0])
    assert torch.equal(discriminator.mix(fine)[2], plain[2]) and not torch.allclose(
        discriminator.mix(fine)[0], plain[0]
    )


def test_the_mixture_is_always_the_same_is_saved_and_is_never_trained():
    one = make()
    torch.manual_seed(5)
    other = Discriminator(SHAPES)
    assert all(torch.equal(a, b) for a, b in zip(one.mix(maps()), other.mix(maps()), strict=True))
    assert {"across0", "across2", "down1"} <= one.state_dict().keys()
    assert not {"across0", "across2", "down1"} & {name for name, _ in one.named_parameters()}


def test_no_head_can_grow_without_limit():
    """Spectral norm: a layer stretches no input by more than 1, whatever its weights are."""
    discriminator = make()
    layer = discriminator.heads[1][0]
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(1000)
    for _ in range(30):
        layer.weight  # noqa: B018  each look in training improves the estimate
    assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)


def test_classes_differ_and_one_can_be_taken_out():
    discriminator = make(3).eval()
    mixed, number = discriminator.mix(maps()), torch.full((3,), 2)
    scores = discriminator(mixed, number)
    taken = discriminator.of_class(2)
    assert taken.classes == 1 and discriminator.classes == 3
    for asked, alone, other in zip(scores, taken(mixed), discriminator(mixed), strict=True):
        assert torch.equal(asked, alone) and not torch.allclose(asked, other, atol=1e-4)
    with torch.no_grad():
        taken.class_style.weight.fill_(7)
    assert discriminator.class_style.weight.abs().max() < 7
    assert all(parameter.requires_grad for parameter in taken.parameters())


def test_every_weight_of_both_networks_learns_through_the_frozen_one():
    torch.manual_seed(0)
    generator, through = Generator(32, latent=6, width=4, classes=2), projection("landmarks", None, 32)
    discriminator, classes = Discriminator(through.shapes, 2), torch.arange(8) % 2
    seen = discriminator.mix(through(generator(torch.randn(8, 6), classes)))
    scores = discriminator(seen, classes)
    (hinge_loss(scores, scores) + mean_score(scores)).backward()
    for network in (generator, discriminator):
        silent = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
        assert silent == []
    assert all(p.grad is None for p in through.parameters())


def test_a_judge_learns_to_tell_two_kinds_of_maps_apart():
    discriminator = make()
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-2)
    for step in range(30):
        torch.manual_seed(step)
        real = [torch.randn(4, c, n, n) + 0.5 for c, n in SHAPES]
        fake = [torch.randn(4, c, n, n) for c, n in SHAPES]
        scores = [discriminator(discriminator.mix(given)) for given in (real, fake)]
        loss = hinge_loss(*scores)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert isinstance(discriminator.heads, nn.ModuleList)
    assert mean_score(scores[0]) > mean_score(scores[1]) + 1
