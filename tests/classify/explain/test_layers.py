from __future__ import annotations

import pytest
import torch
from torch import nn

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.explain.class_activation import activations_and_gradients
from fundus_synth.classify.explain.layers import as_maps, default_layer, find_layer, layer_name
from fundus_synth.runtime.errors import UserError


def _net(name: str, size: int = 64, head: str = "linear"):
    torch.manual_seed(0)
    return create_backbone(name, 3, size, head=head).eval()


@pytest.mark.parametrize(
    ("name", "head", "layer"),
    [("mobilenetv3_small_050", "linear", "blocks.3"), ("mobilenetv3_small_050", "cbam", "backbone.blocks.3"),
     ("resnet10t", "dense", "layer3"), ("vit_tiny_patch16_224", "linear", "blocks.11.norm1")],
)  # fmt: skip
def test_default_layers(name, head, layer):
    model = _net(name, head=head)
    assert default_layer(model) is model.network.get_submodule(layer)
    assert find_layer(model, layer) is default_layer(model) and find_layer(model) is default_layer(model)
    assert layer_name(model) == layer_name(model, layer) == layer


def test_swin_looks_at_a_stage_with_a_useful_map():
    with torch.device("meta"):
        model = create_backbone("swin_tiny_patch4_window7_224", 2, 128)
    assert default_layer(model) is model.network.layers[3]  # 4 x 4 at a reduction of 32
    with torch.device("meta"):
        model = create_backbone("swin_tiny_patch4_window7_224", 2, 64)
    assert default_layer(model) is model.network.layers[2]


def test_tokens_become_a_grid_without_the_class_token():
    class Network(nn.Module):
        num_prefix_tokens = 1

    class Model(nn.Module):
        network = Network()

    tokens = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)
    maps = as_maps(tokens, Model())
    assert maps.shape == (2, 3, 3, 3)
    assert torch.equal(maps[0, :, 0, 0], tokens[0, 1]) and torch.equal(maps[1, :, 2, 1], tokens[1, 8])
    with pytest.raises(UserError, match="neither a square map"):
        as_maps(tokens, nn.Identity())  # ten are not a square
    with pytest.raises(UserError, match="neither a square map"):
        as_maps(tokens[:, 0], Model())


def test_maps_with_channels_last_are_turned():
    maps = torch.rand(2, 5, 4, 4)
    assert torch.equal(as_maps(maps, nn.Identity()), maps)
    assert torch.equal(as_maps(maps.permute(0, 2, 3, 1), nn.Identity()), maps)


def test_patches_of_a_transformer_reach_the_score():
    model = _net("vit_tiny_patch16_224")
    images, targets = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    activations, gradients = activations_and_gradients(model, images, targets, default_layer(model))
    assert activations.shape == gradients.shape == (2, 192, 4, 4)
    assert (gradients.abs().amax(dim=1) > 0).all()
    # Behind the last block only the class token does.
    _, behind = activations_and_gradients(model, images, targets, model.network.blocks[-1])
    assert (behind == 0).all()


def test_other_layers_are_refused():
    model = _net("mobilenetv3_small_050")
    with pytest.raises(UserError, match=r"has no layer 'block\.4'.*blocks\.4"):
        find_layer(model, "block.4")
    with pytest.raises(UserError, match="has no layer ''"):
        find_layer(model, "")
    images, targets = torch.rand(1, 3, 64, 64), torch.tensor([0])
    with pytest.raises(UserError, match="neither a square map"):
        activations_and_gradients(model, images, targets, model.network.classifier)
    with pytest.raises(UserError, match="runs 0 times"):
        activations_and_gradients(model, images, targets, nn.Identity())
    assert not model.network.blocks[4]._forward_hooks
