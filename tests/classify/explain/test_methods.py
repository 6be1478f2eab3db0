from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import (
    GuidedGradCam,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import nn

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.explain.methods import METHODS, PIXEL_METHODS, attribute, check_network, is_signed
from fundus_synth.classify.explain.pixels import baseline
from fundus_synth.classify.images import ImageSource, to_batch
from fundus_synth.runtime.errors import UserError


class _Toy(nn.Module):
    """Two maps, red and green, averaged; class 0 is 2 red - green, class 1 is nothing, class 2 is -red."""

    def __init__(self, shrink: int = 1):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AvgPool2d(shrink))
        self.maps[0].weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[..., None, None]
        self.head = nn.Linear(2, 3, bias=False)
        self.head.weight.data = torch.tensor([[2.0, -1.0], [0.0, 0.0], [-1.0, 0.0]])

    def gradcam_layer(self) -> nn.Module:
        return self.maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(images).mean(dim=(2, 3)))


class _Bent(_Toy):
    """Two maps, red above a half and red, by ReLU in place; the score is the first minus a quarter of the second."""

    def __init__(self, rectifier: nn.Module):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 2, 1), rectifier)
        self.maps[0].weight.data = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]])[..., None, None]
        self.maps[0].bias.data = torch.tensor([-0.5, 0.0])
        self.head.weight.data = torch.tensor([[1.0, -0.25]] * 3)


class _Small(nn.Module):
    """A network that bends at two places, ReLU where captum wants to hook it, a smooth one by choice."""

    def __init__(self, bend: type[nn.Module] = nn.ReLU):
        super().__init__()
        torch.manual_seed(0)
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3), bend(), nn.Conv2d(6, 8, 3, 2), bend())
        self.head = nn.Linear(8, 3)

    def gradcam_layer(self) -> nn.Module:
        return self.maps

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.maps(images).mean(dim=(2, 3)))


def _images(n: int = 3, size: int = 8) -> np.ndarray:
    """Noise, brighter than what counts as black."""
    return np.random.default_rng(0).integers(20, 256, (n, size, size, 3)).astype(np.uint8)


def _net(name: str = "resnet10t", size: int = 64, classes: int = 3):
    torch.manual_seed(0)
    return create_backbone(name, classes, size).eval()


def test_class_activation_maps_by_hand():
    images = _images()
    red, green = images[..., 0] / 255, images[..., 1] / 255
    # The mean over 64 places passes 1/64 of each head weight back to every place.
    expected = 2 * red / 64 - green / 64
    found = attribute(_Toy(), images, [0, 0, 0])
    assert found.shape == (3, 8, 8) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.maximum(expected, 0), atol=1e-7)
    np.testing.assert_allclose(attribute(_Toy(), images, [0, 0, 0], "hirescam"), expected, atol=1e-7)
    # Grad-CAM++: green has no positive gradient; red's is G = 2/64 in 64 places, each counted G^2 / (2 G^2 + sum(red) G^3).
    g = 2 / 64
    weight = 64 * g / (2 + red.sum(axis=(1, 2), keepdims=True) * g)
    np.testing.assert_allclose(attribute(_Toy(), images, [0] * 3, "grad-cam++"), weight * red, rtol=1e-5)


def test_hirescam_sums_to_the_score():
    images = _images()
    scores = _Toy()(to_batch(images))[:, 0].detach().numpy()
    np.testing.assert_allclose(attribute(_Toy(), images, [0] * 3, "hirescam").sum(axis=(1, 2)), scores, rtol=1e-5)


def test_gradients_by_hand():
    images, gradient = _images(), np.array([2, -1, 0]) / 64
    for method in ("saliency", "smoothgrad"):  # the toy is linear: noise changes no gradient
        apart = attribute(_Toy(), images, [0, 1, 2], method, channels=True)
        assert apart.shape == (3, 8, 8, 3) and apart.dtype == np.float32
        np.testing.assert_allclose(apart[0], np.broadcast_to(gradient, (8, 8, 3)), atol=1e-7)
        assert (apart[1] == 0).all()
        np.testing.assert_allclose(apart[2], np.broadcast_to([-1 / 64, 0, 0], (8, 8, 3)), atol=1e-7)
        together = attribute(_Toy(), images, [0, 1, 2], method)
        np.testing.assert_allclose(together, np.abs(apart).max(axis=3), atol=1e-8)


@pytest.mark.parametrize("method", ["integrated-gradients", "occlusion"])
def test_ways_from_the_mean_colour_by_hand(method):
    images = _images(2)
    images[:, :2] = 0  # two rows outside the field
    pixels = images / 255
    change = np.where((np.arange(8) < 2)[:, None, None], 0, pixels - pixels[:, 2:].mean(axis=(1, 2), keepdims=True))
    expected = change * np.array([2, -1, 0]) / 64
    # At 8 pixels occlusion covers single pixels, so that on a linear network both are the same.
    np.testing.assert_allclose(attribute(_Toy(), images, [0, 0], method, channels=True), expected, atol=1e-7)
    np.testing.assert_allclose(attribute(_Toy(), images, [0, 0], method), expected.sum(axis=3), atol=1e-7)


@pytest.mark.parametrize("rectifier", [nn.ReLU(inplace=True), nn.ReLU6(inplace=True)])
def test_guided_grad_cam_by_hand(rectifier):
    images = _images()
    red = images[..., 0] / 255
    cam = np.maximum(np.maximum(red - 0.5, 0) - red / 4, 0) / 64
    apart = attribute(_Bent(rectifier), images, [0] * 3, "guided-grad-cam", channels=True)
    # Only the first map sends a positive gradient back, 1/64 where it is above 0.
    np.testing.assert_allclose(apart[..., 0], cam / 64, atol=1e-8)
    assert cam.max() > 0 and (apart[..., 1:] == 0).all()
    # Without the guidance the second map's gradient passes, too.
    plain = attribute(_Bent(rectifier), images, [0] * 3, "saliency", channels=True)[..., 0]
    np.testing.assert_allclose(plain, ((red > 0.5) - 0.25) / 64, atol=1e-7)


def test_baseline_is_the_mean_colour_of_the_field():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[0, 4:12, 4:12] = (200, 100, 50)
    images[0, 4:12, 4:8] = (100, 60, 50)
    images[0, 7, 7] = 0  # a dark haemorrhage within the field belongs to it
    images[0, 0, 0] = 5  # noise of a compressed black does not
    found = baseline(to_batch(images))[0].permute(1, 2, 0).numpy() * 255
    mean = images[0, 4:12, 4:12].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(found[4:12, 4:12], np.broadcast_to(mean, (8, 8, 3)), rtol=1e-5)
    assert found[0, 0, 0] == pytest.approx(5) and (found[:4, 4:] == 0).all()
    assert (baseline(torch.zeros(1, 3, 4, 4)) == 0).all()


def _captum(name: str, model: nn.Module, batch: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    layer = model.gradcam_layer()
    if name == "grad-cam":
        coarse = LayerGradCam(model, layer).attribute(batch, target=targets, relu_attributions=True)
        return LayerAttribution.interpolate(coarse, tuple(batch.shape[2:]), "bilinear")[:, 0]
    if name == "guided-grad-cam":
        return GuidedGradCam(model, layer).attribute(batch, target=targets, interpolate_mode="bilinear")
    if name == "saliency":
        return Saliency(model).attribute(batch, target=targets, abs=False)
    if name == "integrated-gradients":
        return IntegratedGradients(model).attribute(batch, baselines=baseline(batch), target=targets, n_steps=50)
    if name == "occlusion":
        return Occlusion(model).attribute(batch, (3, 2, 2), (3, 1, 1), baselines=baseline(batch), target=targets)[:, 0]
    parts = []
    for image, target in zip(batch.split(1), targets.split(1), strict=True):
        torch.manual_seed(3)
        spread = 0.15 * float(image.max() - image.min())
        parts.append(NoiseTunnel(Saliency(model)).attribute(image, nt_type="smoothgrad", nt_samples=25, stdevs=spread,
                                                            target=target, abs=False))  # fmt: skip
    return torch.cat(parts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", sorted({"grad-cam", *PIXEL_METHODS}))
def test_captums_values(method):
    model, images, targets = _Small(), _images(2, 16), [0, 2]
    expected = _captum(method, model, to_batch(images), torch.tensor(targets)).detach()
    expected = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
    apart = method in set(PIXEL_METHODS) - {"occlusion"}
    found = attribute(model, images, targets, method, channels=apart, seed=3)
    assert np.abs(found).max() > 0
    # Occlusion subtracts scores that are a thousand times larger than their difference.
    tolerance = 1e-3 if method == "occlusion" else 1e-5
    np.testing.assert_allclose(found, expected.numpy(), atol=tolerance * float(expected.abs().max()))


@pytest.mark.filterwarnings("ignore")
def test_captums_values_of_a_real_backbone():
    model, images, targets = _net("resnet10t", 32), _images(2, 32), [0, 2]
    for method in ("grad-cam", "guided-grad-cam"):  # both copy or cut the network, whose ReLUs work in place
        found = attribute(model, images, targets, method, channels=method != "grad-cam")
        expected = _captum(method, _out_of_place(model), to_batch(images), torch.tensor(targets)).detach()
        expected = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
        assert np.abs(found).max() > 0
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5 * float(expected.abs().max()))


def _out_of_place(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def test_integrated_gradients_sum_to_the_difference_of_scores():
    model, images = _Small(nn.Tanh), _images(2, 16)
    batch = to_batch(images)
    with torch.no_grad():
        difference = (model(batch) - model(baseline(batch)))[:, 1].numpy()
    found = attribute(model, images, [1, 1], "integrated-gradients").sum(axis=(1, 2))
    np.testing.assert_allclose(found, difference, atol=1e-3 * np.abs(difference).max())


def test_each_image_is_asked_about_its_own_class():
    images = _images()
    found = attribute(_Toy(), images, [0, 1, 2])
    assert found[0].max() > 0
    assert (found[1] == 0).all()  # no evidence: a null map, not a stretched one
    assert (found[2] == 0).all()  # evidence against only
    np.testing.assert_allclose(found[0], attribute(_Toy(), images[:1], [0])[0], atol=1e-7)


def test_coarse_maps_are_enlarged_bilinearly():
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[:, :, 4:, 0] = 255
    found = attribute(_Toy(shrink=4), images, [0])[0]
    # 2 x 2 maps: red is 0 on the left and 1 on the right; the gradient is 2/4. Between the centres it rises evenly.
    np.testing.assert_allclose(found[0], 0.5 * np.array([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_batches_and_signs(method):
    model, images = _Bent(nn.ReLU()), _images(34)
    together = attribute(model, ImageSource(images), np.arange(34) % 3, method)
    np.testing.assert_allclose(together[33], attribute(model, images[33:], [0], method)[0], atol=1e-7)
    assert attribute(model, images[:0], [], method).shape == (0, 8, 8)
    assert is_signed(method) or together.min() >= 0
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_smoothgrad_is_the_seeds_and_leaves_the_generator_alone():
    model, images = _Small(nn.Tanh), _images(1, 16)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (attribute(model, images, [0], "smoothgrad", seed=seed) for seed in (0, 0, 1))
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(("name", "size"), [("simple_cnn", 32), ("mobilenetv3_small_050", 64), ("convnext_atto", 64)])
def test_backbones_have_maps(name, size):
    found = attribute(_net(name, size), _images(2, size), [0, 2], "hirescam")
    assert found.shape == (2, size, size) and np.isfinite(found).all() and found.std() > 0


def test_what_cannot_work_is_refused():
    images = _images(1, 32)
    with pytest.raises(UserError, match="no method is called 'magic'"):
        attribute(_Toy(), images, [0], "magic")
    with pytest.raises(UserError, match="has no map of a colour channel"):
        attribute(_Toy(), images, [0], channels=True)
    with pytest.raises(UserError, match="bend by ReLU; this one has Hardswish"):
        check_network(_net("mobilenetv3_small_050", 32), "guided-grad-cam")
    with pytest.raises(UserError, match="bend by ReLU; this one has none"):
        attribute(_Toy(), images, [0], "guided-grad-cam")
    with pytest.raises(ValueError, match="1 images, but 2 targets"):
        attribute(_Toy(), images, [0, 0])
