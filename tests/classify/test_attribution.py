from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.explain.attribution import color_scale, grad_cam, overlay


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


def _images(n: int = 3, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def test_map_by_hand():
    images = _images()
    red, green = images[..., 0] / 255, images[..., 1] / 255
    # The mean over 64 places passes 1/64 of each head weight back to every place.
    expected = np.maximum(2 * red / 64 - green / 64, 0)
    found = grad_cam(_Toy(), images, [0, 0, 0])
    assert found.shape == (3, 8, 8) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_each_image_is_asked_about_its_own_class():
    images = _images()
    found = grad_cam(_Toy(), images, [0, 1, 2])
    assert found[0].max() > 0
    assert (found[1] == 0).all()  # no evidence: a null map, not a stretched one
    assert (found[2] == 0).all()  # evidence against only
    np.testing.assert_allclose(found[0], grad_cam(_Toy(), images[:1], [0])[0], atol=1e-7)


def test_coarse_maps_are_enlarged_bilinearly():
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[:, :, 4:, 0] = 255
    found = grad_cam(_Toy(shrink=4), images, [0])[0]
    assert found.shape == (8, 8)
    # 2 x 2 maps: red is 0 on the left and 1 on the right; the gradient is 2/4. Between the centres it rises evenly.
    np.testing.assert_allclose(found[0], 0.5 * np.array([0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]), atol=1e-6)


def test_more_images_than_a_batch_and_none():
    images = _images(70)
    together = grad_cam(_Toy(), images, np.zeros(70, dtype=int))
    np.testing.assert_allclose(together[65], grad_cam(_Toy(), images[65:66], [0])[0], atol=1e-7)
    assert grad_cam(_Toy(), images[:0], []).shape == (0, 8, 8)


@pytest.mark.parametrize("name", ["simple_cnn", "mobilenetv3_small_050"])
def test_backbones_give_maps_and_keep_their_gradients_clean(name):
    torch.manual_seed(0)
    model = create_backbone(name, 2, 64)
    found = grad_cam(model, _images(2, 64), [0, 1])
    assert found.shape == (2, 64, 64) and np.isfinite(found).all() and found.min() >= 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_overlay_of_nothing_is_the_photograph():
    image = _images(1)[0]
    np.testing.assert_array_equal(overlay(image, np.zeros((8, 8)), 1.0), image)
    np.testing.assert_array_equal(overlay(image, np.zeros((8, 8)), 0.0), image)


def test_one_scale_keeps_weak_maps_weak():
    grey = np.full((4, 4, 3), 128, np.uint8)
    maps = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.05)])
    strong, weak = (overlay(grey, one, color_scale(maps)) for one in maps)
    change = [np.abs(shown.astype(int) - 128).mean() for shown in (strong, weak)]
    assert change[0] > 40 and change[1] < 8
    # Full strength: 70 % of the last colour, (0, 255, 128), over 30 % of the photograph.
    np.testing.assert_allclose(strong[0, 0], [0.3 * 128, 0.7 * 255 + 0.3 * 128, 128], atol=1)
    assert color_scale(np.zeros((0, 4, 4))) == 0
