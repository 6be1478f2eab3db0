import pytest
import torch
from safetensors.torch import save_file

from fundus_synth.preprocess.landmark_net import trained_network
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.projection import projection, with_folded_norms

MODEL = "mobilenetv2_035"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights that says which network it is of, with batch norms that do something."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(MODEL, num_classes=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_file(network.state_dict(), path, metadata={"timm": MODEL, "mean": "0.5", "std": "0.25"})
    return path


def eyes(size, count=2):
    torch.manual_seed(1)
    return torch.rand(count, 3, size, size) * 2 - 1


@pytest.mark.parametrize(("size", "side"), [(16, 64), (64, 128), (128, 128), (256, 256)])
def test_maps_are_as_large_as_announced_and_small_images_are_enlarged(size, side, weights):
    for spec, file in (("landmarks", None), ("auto", weights)):
        through = projection(spec, file, size)
        found = through(eyes(size))
        assert [tuple(features.shape) for features in found] == [(2, c, n, n) for c, n in through.shapes]
        sides = [n for _, n in through.shapes]
        assert through.side == side and sides == [sides[0] // 2**k for k in range(len(sides))]
        assert side // sides[0] in (2, 4) and len(sides) in (4, 5)


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_one_place_of_the_finest_timm_map_stands_for_two_pixels_of_the_image(size, weights):
    # Four pixels a place left a generator of 128 px free to draw lines between them.
    through = projection("auto", weights, size)
    assert size // through.shapes[0][1] == 2
    assert through.name.endswith(" from 1/2") == (size >= 128)


def test_the_landmark_network_is_looked_into_on_its_way_down_and_colours_are_added():
    images = eyes(128)
    found = projection("landmarks", None, 128)(images)
    network = trained_network()
    from fundus_synth.preprocess.landmark_net import normalized

    with torch.no_grad():
        at4 = network.down4(network.stem(normalized((images + 1) / 2)))
    assert torch.allclose(found[1], at4, atol=1e-5)
    shade = found[-1][:, -3:]
    assert torch.allclose(shade, 4 * torch.nn.functional.avg_pool2d(images, 16), atol=1e-5)


def test_timm_maps_are_those_of_the_network_with_its_normalisation(weights):
    import timm
    from safetensors.torch import load_file

    images = eyes(128)
    network = timm.create_model(MODEL, num_classes=3).eval()
    network.load_state_dict(load_file(weights))
    with torch.no_grad():
        expected = network.forward_intermediates(((images + 1) / 2 - 0.5) / 0.25, intermediates_only=True)
        found = projection("auto", weights, 128)(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_gradients_reach_the_images_and_never_the_network(weights):
    for spec, file in (("landmarks", None), ("auto", weights)):
        through, images = projection(spec, file, 64), eyes(64).requires_grad_()
        sum(features.sum() for features in through(images)).backward()
        assert images.grad.abs().min(0).values.max() > 0
        assert not through.training and all(p.grad is None and not p.requires_grad for p in through.parameters())


def test_batch_norms_are_folded_and_a_network_that_does_not_allow_it_stays_as_it_is():
    torch.manual_seed(0)

    class Backwards(torch.nn.Module):
        """Uses its layers in another order than it lists them."""

        def __init__(self):
            super().__init__()
            self.convolution, self.norm = torch.nn.Conv2d(3, 3, 1), torch.nn.BatchNorm2d(3)
            self.norm.running_mean.fill_(2)

        def forward(self, images):
            return self.convolution(self.norm(images))

    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    plain[1].running_mean.normal_()
    folded = with_folded_norms(plain.eval(), 16)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    images = eyes(16)
    assert torch.allclose(folded(images), plain(images), atol=1e-5)
    backwards = Backwards().eval()
    assert with_folded_norms(backwards, 16) is backwards


def test_names_tell_weights_apart(weights):
    assert projection("auto", None, 64).name == "landmarks"
    name = projection("auto", weights, 64).name
    assert name.startswith(f"timm:{MODEL} ") and len(name.split()[1]) == 12


def test_what_cannot_be_looked_through_is_refused(weights, tmp_path):
    anonymous = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(1)}, anonymous)
    for spec, file, reason in (
        ("clip", None, "no projection is called 'clip'"),
        ("landmarks", weights, "has no weights"),
        ("timm:mobilenetv2_035", None, "needs a file of weights"),
        ("timm:resnet18", weights, "holds weights of mobilenetv2_035"),
        ("auto", anonymous, "does not say which network"),
        ("auto", tmp_path / "missing.safetensors", "no such weights file"),
    ):
        with pytest.raises(UserError, match=reason):
            projection(spec, file, 64)
