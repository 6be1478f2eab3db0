import pytest
import torch
from torch import nn

from fundus_synth.synth.networks import build_generator
from fundus_synth.synth.networks.dcgan import Discriminator, Generator, channel_plan


def test_generator_at_64_is_the_study_s():
    generator = Generator(size=64, latent=100, width=64)
    convolutions = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    # Radford 2016, figure 1: 100 -> 512 -> 256 -> 128 -> 64 -> 3, kernels of 4.
    assert [tuple(m.weight.shape) for m in convolutions] == [
        (100, 512, 4, 4), (512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)
    ]  # fmt: skip
    activations = [m for m in generator.modules() if isinstance(m, nn.LeakyReLU | nn.ReLU)]
    assert len(activations) == 4
    assert all(isinstance(m, nn.LeakyReLU) and m.negative_slope == 0.2 for m in activations)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in generator.modules()) == 4


@pytest.mark.parametrize("size", [16, 64, 128])
def test_shapes_and_range(size):
    generator, discriminator = Generator(size, latent=7, width=4), Discriminator(size, width=4)
    images = generator(torch.randn(3, 7))
    assert images.shape == (3, 3, size, size) and images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert discriminator(images).shape == (3,)


def test_layer_widths_stop_at_eight_times():
    assert channel_plan(64, 64) == [512, 256, 128, 64]
    assert channel_plan(512, 16) == [128, 128, 128, 128, 64, 32, 16]


@pytest.mark.parametrize("size", [0, 8, 48, 100])
def test_sizes_that_are_not_powers_of_two_are_refused(size):
    with pytest.raises(ValueError, match="power of two"):
        Generator(size)


def test_outside_the_field_of_view_images_are_exactly_black():
    generator = Generator(16, latent=5, width=4)
    generator.field_of_view[..., :4] = 0
    images = generator(torch.randn(2, 5))
    assert (images[..., :4] == -1).all()
    assert (images[..., 4:] != -1).all()


def test_architecture_rebuilds_the_same_network():
    generator = Generator(32, latent=6, width=5)
    again = build_generator(generator.architecture)
    again.load_state_dict(generator.state_dict())
    latents = torch.randn(2, 6)
    assert torch.equal(again.eval()(latents), generator.eval()(latents))
