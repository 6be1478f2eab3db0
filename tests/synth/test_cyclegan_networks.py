import pytest
import torch
from torch import nn

from fundus_synth.synth.networks import build_generator
from fundus_synth.synth.networks.cyclegan import Discriminator, Generator, detail, field_of


def round_eyes(count=2, size=32):
    """Random eyes: a lit circle of 0.9 of the width on black."""
    torch.manual_seed(count)
    line = torch.linspace(-1, 1, size)
    inside = (line[:, None] ** 2 + line**2 <= 0.81)[None, None].expand(count, 1, size, size)
    return torch.where(inside, torch.rand(count, 3, size, size) * 1.5 - 0.7, -1.0), inside


def disturbed(generator):
    """The generator with a last layer that does something: as made, it is the identity."""
    nn.init.normal_(generator.layers[-1].weight, 0.0, 0.5)
    return generator


def shapes_of(generator):
    """(outputs, inputs) of every convolution."""
    convolutions = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    return [(m.out_channels, m.in_channels) for m in convolutions]


@pytest.mark.parametrize(("size", "blocks"), [(128, 6), (256, 9)])
def test_the_generator_is_the_paper_s_but_for_the_detail_it_sees(size, blocks):
    generator = Generator(size, width=64)
    # Zhu 2017, section 7.2: c7s1-64, d128, d256, R256 ..., u128, u64, c7s1-3.
    shapes = shapes_of(generator)
    assert shapes[:3] == [(64, 6), (128, 64), (256, 128)]
    assert shapes[3:-3] == [(256, 256)] * 2 * blocks
    assert shapes[-3:] == [(128, 256), (64, 128), (3, 64)]
    assert sum(isinstance(m, nn.InstanceNorm2d) for m in generator.modules()) == len(shapes) - 1
    plain = [m for m in generator.modules() if isinstance(m, nn.Conv2d) and m.stride == (1, 1)]
    assert all(m.padding == (0, 0) for m in plain), "reflection padding, not zeros"


def test_small_eyes_are_halved_once():
    assert shapes_of(Generator(64, width=8, blocks=1)) == [(8, 6), (16, 8), (16, 16), (16, 16), (8, 16), (3, 8)]


@pytest.mark.parametrize("size", [16, 64, 256])
def test_detail_is_what_differs_from_the_surround(size):
    """Colour and slow changes of light vanish; a faint lesion is amplified, whatever the eye's colour."""
    ramp = torch.linspace(-0.1, 0.1, size).expand(1, 3, size, size)
    middle = slice(size // 4, -size // 4)
    assert detail(ramp)[..., middle].abs().max() < 1e-3
    assert detail(torch.full((1, 3, size, size), 0.7)).abs().max() < 1e-3
    lesions = []
    for base in (-0.5, 0.5):
        eye = torch.full((1, 3, size, size), base)
        eye[..., size // 2, size // 2] -= 10 / 127.5
        lesions.append(detail(eye)[0, 0, size // 2, size // 2])
    width = 2 * (size // 16) + 1
    expected = -torch.tensor(8 * 10 / 127.5 * (1 - width**-2)).tanh()
    assert torch.allclose(torch.stack(lesions), expected, atol=1e-3)
    assert detail(torch.randn(2, 3, size, size)).abs().max() <= 1


def test_the_discriminator_does_not_see_colour_and_light():
    eyes, _ = round_eyes(size=64)
    judge = Discriminator(64, width=4).requires_grad_(False)
    assert torch.allclose(judge(eyes * 0.5 + 0.2), judge(eyes * 0.5 - 0.1), atol=1e-3)
    assert not torch.allclose(judge(eyes * 0.5), judge(eyes.roll(8, 3) * 0.5), atol=1e-3)


@pytest.mark.parametrize(("size", "patch"), [(64, 16), (128, 34), (256, 70), (512, 142)])
def test_patches_are_about_a_quarter_of_the_image(size, patch):
    """The receptive field of one score, from the gradient of a network without norms (those look at the whole image)."""
    discriminator = Discriminator(size, width=2)
    without_norms = nn.Sequential(*(m for m in discriminator.layers if not isinstance(m, nn.InstanceNorm2d)))
    nn.init.ones_(without_norms[0].weight)
    images = torch.rand(1, 3, size, size, requires_grad=True)
    scores = without_norms(images)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == patch


def test_an_untrained_generator_changes_nothing():
    eyes, _ = round_eyes()
    assert torch.equal(Generator(32, width=4)(eyes), eyes)


def test_outside_the_field_of_view_a_translation_is_black():
    eyes, inside = round_eyes(3)
    with torch.no_grad():
        made = disturbed(Generator(32, width=4))(eyes)
    assert made.shape == eyes.shape and made.dtype == torch.float32
    assert made.abs().max() <= 1
    assert (made[~inside.expand_as(made)] == -1).all()
    assert (made != eyes)[inside.expand_as(made)].float().mean() > 0.9


def test_the_field_of_the_way_back_is_that_of_the_first_eye():
    """A translation may be dark at its rim; the way back must be able to light it again."""
    eyes, inside = round_eyes()
    with torch.no_grad():
        back = disturbed(Generator(32, width=4))(torch.full_like(eyes, -1.0), inside)
    assert (back[inside.expand_as(back)] > -1).any()


def test_the_field_has_no_holes_and_ignores_faint_noise():
    eyes, inside = round_eyes()
    spoilt = torch.where(inside, eyes, torch.rand_like(eyes) * 12 / 127.5 - 1)
    spoilt[:, :, 14:18, 12:20] = -1  # a haemorrhage as black as the surround
    assert torch.equal(field_of(spoilt), inside)


def test_each_eye_is_translated_by_itself():
    eyes, _ = round_eyes(4)
    generator = disturbed(Generator(32, width=4)).requires_grad_(False)
    alone = torch.cat([generator(eye[None]) for eye in eyes])
    assert torch.allclose(generator(eyes), alone, atol=1e-5)


def test_the_architecture_makes_the_same_network_again():
    eyes, _ = round_eyes()
    generator = disturbed(Generator(32, width=4, blocks=2)).requires_grad_(False)
    assert generator.architecture == {"model": "cyclegan", "size": 32, "width": 4, "blocks": 2}
    again = build_generator(generator.architecture)
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again(eyes), generator(eyes))


@pytest.mark.parametrize("network", [Generator, Discriminator])
@pytest.mark.parametrize("size", [0, 8, 48, 100])
def test_sizes_that_are_not_powers_of_two_are_refused(network, size):
    with pytest.raises(ValueError, match="power of two"):
        network(size)
