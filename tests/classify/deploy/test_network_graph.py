from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.calibration import scale_temperature
from fundus_synth.classify.deploy.network_graph import DeployedNetwork, area_shares, masked, shrunk
from fundus_synth.classify.heads import HEADS
from fundus_synth.classify.predictions import predict_images
from fundus_synth.classify.tasks import task_of
from fundus_synth.data.cache import fit_square
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.runtime.errors import UserError


def _images(count: int, side: int) -> np.ndarray:
    images = np.random.default_rng(side).integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    images[:, whole_field(side) == 0] = 0
    return images


_SHARP = [(512, 128), (512, 256), (256, 128), (100, 50), (64, 64), (384, 128), (512, 224), (512, 192), (256, 192)]


@pytest.mark.parametrize(("side", "size"), _SHARP)
def test_shrinking_gives_the_levels_that_prediction_gives(side, size):
    """Means half-way between two levels included, of which (256, 192) has many."""
    image = _images(1, side)
    found = shrunk(torch.from_numpy(image).float(), size)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, fit_square(image[0], size))


@pytest.mark.parametrize(("side", "size"), [(300, 224), (67, 64), (509, 331)])
def test_means_that_no_float_holds_differ_in_few_pixels_by_one_level(side, size):
    image = _images(1, side)
    found = shrunk(torch.from_numpy(image).float(), size)[0].permute(1, 2, 0).numpy()
    difference = np.abs(found - fit_square(image[0], size))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.002


@given(st.integers(1, 300), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_every_input_pixel_counts_as_much(side, size):
    side, size = max(side, size), min(side, size)
    shares = area_shares(side, size).double().numpy()
    assert shares.min() >= 0
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert np.allclose(shares.sum(axis=0), size / side, atol=1e-4)


@pytest.mark.parametrize("side", [32, 33, 224, 512])
def test_the_circle_is_that_of_standardised_images(side):
    white = torch.full((1, side, side, 3), 255, dtype=torch.uint8)
    assert np.array_equal(masked(white)[0, :, :, 1].numpy(), whole_field(side))


@pytest.mark.parametrize("name", ["simple_cnn", "test_resnet", "test_vit"])
@pytest.mark.parametrize("target", ["label", "multilabel", "hemoglobin"])
def test_it_tells_what_the_classifier_tells_at_the_temperature(name, target):
    torch.manual_seed(0)
    classes = 1 if target == "hemoglobin" else 3
    size = 160 if name == "test_vit" else 64
    model = create_backbone(name, classes, size).eval()
    images = _images(3, 2 * size)
    small = np.stack([fit_square(image, size) for image in images])
    told = predict_images(model, small, task=task_of(target))
    if target == "label":
        told = scale_temperature(np.log(told), 1.7)
    elif target == "multilabel":
        odds = (told / (1 - told)) ** (1 / 1.7)
        told = odds / (1 + odds)
    network = DeployedNetwork(model, target, 1.7).eval()
    with torch.inference_mode():
        found = dict(zip(network.outputs, network(torch.from_numpy(images)), strict=True))
    assert np.abs(found["value" if classes == 1 else "probabilities"].numpy() - told).max() < 1e-5
    assert ("maps" in found) == (name == "test_resnet")
    assert found["features"].shape == (3, network.last.in_features)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_can_be_exported(head):
    torch.manual_seed(0)
    model = create_backbone("test_resnet", 4, 64, head=head).eval()
    images = _images(2, 64)
    told = predict_images(model, images)
    network = DeployedNetwork(model, "grade", 1.0).eval()
    with torch.inference_mode():
        found = dict(zip(network.outputs, network(torch.from_numpy(images)), strict=True))
    assert np.abs(found["probabilities"].numpy() - told).max() < 1e-5
    assert found["features"].shape[1] == network.last.in_features
    # dense has a layer between the mean and the logits, cbam weighs places, the ordered heads are not linear.
    assert ("maps" in found) == (head == "linear")


def test_maps_average_to_the_logits_without_their_bias():
    torch.manual_seed(0)
    network = DeployedNetwork(create_backbone("test_resnet", 3, 64).eval(), "label", 1.0).eval()
    with torch.inference_mode():
        _, features, maps = network(torch.from_numpy(_images(2, 64)))
        logits = network.last(features)
    assert torch.allclose(maps.mean(dim=(2, 3)) + network.last.bias, logits, atol=1e-5)


def test_a_network_without_one_linear_layer_at_its_end_is_refused():
    model = create_backbone("test_resnet", 3, 64).eval()
    model.network.fc = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(UserError, match="does not end in one linear layer"):
        DeployedNetwork(model, "label", 1.0)
