import pytest
import torch
from torch import nn

from fundus_synth.synth.losses import gradient_penalty, relativistic_loss
from fundus_synth.synth.networks.light import (
    Discriminator,
    Generator,
    ModulatedNorm,
    principal_components,
    smooth,
    with_detail,
    with_deviation,
)  # fmt: skip


def make_networks(size=16, width=4, classes=1):
    torch.manual_seed(0)
    return Generator(size, latent=6, width=width, classes=classes), Discriminator(size, width, classes)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_shapes_and_range(size):
    generator, discriminator = make_networks(size)
    images = generator(torch.randn(4, 6))
    assert images.shape == (4, 3, size, size) and images.dtype == torch.float32
    assert images.abs().max() <= 1
    # As many scores of the whole as of patches a quarter of the size apart.
    scores = discriminator(images)
    assert scores.shape == (4, 2 * (size // 4) ** 2) and scores.dtype == torch.float32


def test_half_of_the_scores_are_of_the_whole_image_and_half_of_patches():
    _, discriminator = make_networks(32)
    images = torch.rand(4, 3, 32, 32)
    changed = images.clone()
    changed[0, :, 28:, 28:] = -1
    whole, patches = discriminator(images).split(64, 1)
    assert (whole == whole[:, :1]).all()
    assert patches[0].std() > 0
    _, of_changed = discriminator(changed).split(64, 1)
    moved = (of_changed[0] - patches[0]).view(8, 8).abs() > 1e-6
    assert moved[-1, -1] and not moved[:5, :5].any()


@pytest.mark.parametrize("size", [0, 8, 48])
def test_sizes_that_are_not_powers_of_two_are_refused(size):
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match="power of two"):
            network(size)


def test_outside_the_field_of_view_images_are_exactly_black():
    generator, _ = make_networks()
    generator.field_of_view[..., :4] = 0
    images = generator(torch.randn(2, 6))
    assert (images[..., :4] == -1).all()
    assert (images[..., 4:] != -1).all()


def test_architecture_rebuilds_the_same_network():
    generator, _ = make_networks(32, classes=3)
    arguments = dict(generator.architecture)
    assert arguments.pop("model") == "light"
    again = Generator(**arguments)
    again.load_state_dict(generator.state_dict())
    latents = torch.randn(2, 6)
    assert torch.equal(again(latents), generator(latents))


def test_an_image_depends_on_its_own_latent_vector_alone_in_training_too():
    generator, _ = make_networks()
    latents = torch.randn(5, 6)
    alone = torch.cat([generator.train()(latent[None]) for latent in latents])
    assert torch.allclose(generator.train()(latents), alone, atol=1e-5)


def test_classes_differ_and_one_can_be_taken_out():
    generator, discriminator = make_networks(classes=3)
    nn.init.normal_(discriminator.class_score.weight)
    latents, number = torch.randn(4, 6), torch.full((4,), 2)
    images = generator(latents, number)
    assert not torch.allclose(images, generator(latents), atol=1e-3)
    taken, judge = generator.of_class(2), discriminator.of_class(2)
    assert taken.architecture["classes"] == 1 and generator.architecture["classes"] == 3
    assert torch.equal(taken(latents), images)
    scores = discriminator(images, number)
    assert torch.equal(judge(images), scores)
    assert not torch.allclose(discriminator(images), scores, atol=1e-3)


def test_a_class_taken_out_has_weights_of_its_own():
    generator, _ = make_networks(classes=2)
    before = {name: parameter.clone() for name, parameter in generator.named_parameters()}
    taken = generator.of_class(1)
    with torch.no_grad():
        for parameter in taken.parameters():
            parameter.fill_(7)
    assert all(torch.equal(parameter, before[name]) for name, parameter in generator.named_parameters())
    assert {name for name, _ in taken.named_parameters()} == {name for name, _ in generator.named_parameters()}
    assert all(parameter.requires_grad for parameter in taken.parameters())


def eyes(count, size=32):
    """Discs of one colour, bright or dark, with a bright spot on the left or on the right."""
    torch.manual_seed(1)
    down, right = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inside = (down - size / 2 + 0.5) ** 2 + (right - size / 2 + 0.5) ** 2 < (size / 2) ** 2
    images = torch.zeros(count, 3, size, size)
    images += 40 + 80 * torch.rand(count, 1, 1, 1)
    half = size // 2
    images[::2, :, half - 4 : half + 4, 4:12] += 80
    images[1::2, :, half - 4 : half + 4, -12:-4] += 80
    return (images * inside).to(torch.uint8)


def test_start_from_begins_with_the_average_eye_and_its_variations():
    generator, images = make_networks(32, width=16)[0], eyes(200)
    generator.start_from(images.permute(0, 2, 3, 1))
    first = generator(torch.zeros(1, 6)).detach()
    tanh_mean = torch.tanh(torch.atanh((images / 127.5 - 1).clamp(-0.99, 0.99)).mean(0))
    assert (first - tanh_mean).abs().mean() < 0.1
    made = torch.atanh(generator(torch.randn(400, 6)).detach().clamp(-0.99, 0.99))
    real = torch.atanh((images / 127.5 - 1).clamp(-0.99, 0.99))
    spots = [
        values[:, 0, 12:20, 5:11].mean((1, 2)) - values[:, 0, 12:20, -11:-5].mean((1, 2)) for values in (made, real)
    ]
    assert spots[0].std().item() == pytest.approx(spots[1].std().item(), rel=0.25)


def test_start_from_mirrored_images_is_symmetric():
    generator, _ = make_networks(32)
    generator.start_from(eyes(31).permute(0, 2, 3, 1), mirror=True)
    assert torch.allclose(generator.mean, generator.mean.flip(3), atol=1e-6)
    for component in generator.shading.weight.T.view(6, 3, 16, 16):
        alike = [torch.allclose(component, sign * component.flip(2), atol=1e-3) for sign in (1, -1)]
        assert any(alike)


def test_principal_components_are_the_axes_of_the_cloud():
    torch.manual_seed(0)
    rows = torch.randn(5000, 3) * torch.tensor([0.1, 2.0, 0.5])
    found = principal_components(rows - rows.mean(0), 5)
    assert found.shape == (5, 3)
    assert torch.allclose(found[:3].diagonal(1), torch.tensor([2.0, 0.5]), atol=0.1)
    assert found[2, 0].item() == pytest.approx(0.1, abs=0.01)
    assert found[3:].abs().max() == 0


def test_principal_components_have_no_more_dimensions_than_the_images():
    rows = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    assert torch.allclose(principal_components(rows, 2), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))


def test_every_weight_of_both_networks_learns():
    generator, discriminator = make_networks(32, classes=2)
    images = generator(torch.randn(8, 6), torch.arange(8) % 2)
    relativistic_loss(discriminator(images, torch.arange(8) % 2), torch.zeros(8, 128)).backward()
    for network in (generator, discriminator):
        silent = [name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
        assert silent == []


def test_penalty_of_the_detail_reaches_the_discriminator():
    _, discriminator = make_networks()
    inputs = with_detail(torch.rand(4, 3, 16, 16)).requires_grad_()
    gradient_penalty(discriminator.judge(inputs), inputs).backward()
    assert discriminator.layers[0].weight.grad[:, 3:].abs().max() > 0


def test_smooth_is_the_binomial_filter():
    image = torch.zeros(1, 2, 5, 5)
    image[0, 1, 2, 2] = 16
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert torch.allclose(smooth(image)[0, 1, 1:4, 1:4], expected)
    assert smooth(image)[0, 0].abs().max() == 0
    assert torch.allclose(smooth(torch.full((1, 3, 4, 4), 0.7)), torch.tensor(0.7))


def test_detail_of_a_flat_image_is_nothing_and_of_faint_grain_plain_to_see():
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert torch.allclose(with_detail(flat)[:, 3:], torch.zeros(()), atol=1e-5)
    grain = flat + 0.01 * torch.tensor([1.0, -1.0]).repeat(4)
    both = with_detail(grain)
    assert torch.equal(both[:, :3], grain)
    assert both[:, 3:, :, 2:6].abs().min() > 0.07
    assert with_detail(torch.randn(1, 3, 8, 8))[:, 3:].abs().max() <= 1


def test_deviation_within_groups_of_four_neighbours():
    features = torch.zeros(8, 2, 3, 3)
    features[4:] = torch.tensor([1.0, 1.0, 3.0, 3.0])[:, None, None, None]
    added = with_deviation(features)
    assert added.shape == (8, 3, 3, 3) and torch.equal(added[:, :2], features)
    assert added[:4, 2].abs().max() < 1e-3
    assert torch.allclose(added[4:, 2], torch.ones(()))


def test_modulated_norm_starts_at_mean_0_and_deviation_1():
    norm = ModulatedNorm(5)
    nn.init.zeros_(norm.modulation.weight)
    features = 7 * torch.randn(3, 5, 4, 4) + 2
    normal = norm(features, torch.randn(3, 128))
    before = torch.where(normal > 0, normal, normal / 0.2)
    assert torch.allclose(before.mean((1, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(before.square().mean((1, 2, 3)), torch.ones(3), atol=1e-4)
