import pytest
import torch

from fundus_synth.synth.networks.light import Generator, ModulatedNorm, principal_components


def make_generator(size=16, width=4, classes=1):
    torch.manual_seed(0)
    return Generator(size, latent=6, width=width, classes=classes)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_shapes_and_range(size):
    generator = make_generator(size)
    images = generator(torch.randn(4, 6))
    assert images.shape == (4, 3, size, size) and images.dtype == torch.float32
    assert images.abs().max() <= 1


@pytest.mark.parametrize("size", [0, 8, 48])
def test_sizes_that_are_not_powers_of_two_are_refused(size):
    with pytest.raises(ValueError, match="power of two"):
        Generator(size)


def test_outside_the_field_of_view_images_are_exactly_black():
    generator = make_generator()
    generator.field_of_view[..., :4] = 0
    images = generator(torch.randn(2, 6))
    assert (images[..., :4] == -1).all()
    assert (images[..., 4:] != -1).all()


def test_architecture_rebuilds_the_same_network():
    generator = make_generator(32, classes=3)
    arguments = dict(generator.architecture)
    assert arguments.pop("model") == "light"
    again = Generator(**arguments)
    again.load_state_dict(generator.state_dict())
    latents = torch.randn(2, 6)
    assert torch.equal(again(latents), generator(latents))


def test_an_image_depends_on_its_own_latent_vector_alone_in_training_too():
    generator = make_generator()
    latents = torch.randn(5, 6)
    alone = torch.cat([generator.train()(latent[None]) for latent in latents])
    assert torch.allclose(generator.train()(latents), alone, atol=1e-5)


def test_classes_differ_and_one_can_be_taken_out():
    generator = make_generator(classes=3)
    latents, number = torch.randn(4, 6), torch.full((4,), 2)
    images = generator(latents, number)
    assert not torch.allclose(images, generator(latents), atol=1e-3)
    taken = generator.of_class(2)
    assert taken.architecture["classes"] == 1 and generator.architecture["classes"] == 3
    assert torch.equal(taken(latents), images)


def test_a_class_taken_out_has_weights_of_its_own():
    generator = make_generator(classes=2)
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
    generator, images = make_generator(32, width=16), eyes(200)
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
    generator = make_generator(32)
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


def test_modulated_norm_starts_at_mean_0_and_deviation_1():
    norm = ModulatedNorm(5)
    torch.nn.init.zeros_(norm.modulation.weight)
    features = 7 * torch.randn(3, 5, 4, 4) + 2
    normal = norm(features, torch.randn(3, 128))
    before = torch.where(normal > 0, normal, normal / 0.2)
    assert torch.allclose(before.mean((1, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(before.square().mean((1, 2, 3)), torch.ones(3), atol=1e-4)
