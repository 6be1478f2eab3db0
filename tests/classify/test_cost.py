from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fundus_synth.classify.backbones import Classifier, create_backbone
from fundus_synth.classify.cost import image_times, measure_costs, multiply_adds, parameter_count

_SLOW = pytest.mark.slow  # building a large network takes seconds


@pytest.mark.parametrize(
    ("name", "size", "millions", "parameters"),
    [
        # MACs and parameters of the papers, in millions, for 1000 classes: Sandler et al. 2018, Howard et al. 2019, He et al.
        # 2016 (3.8 before the stride moved to the 3 x 3 convolution, 4.1 since), Xie et al. 2017, Huang et al. 2017, Tan and
        # Le 2019, Simonyan and Zisserman 2015, Szegedy et al. 2016, Touvron et al. 2021.
        ("mobilenetv2_100", 224, 300, 3.5),
        pytest.param("mobilenetv3_large_100", 224, 219, 5.4, marks=_SLOW),
        pytest.param("mobilenetv3_small_100", 224, 56, 2.5, marks=_SLOW),
        pytest.param("resnet18", 224, 1820, 11.7, marks=_SLOW),
        ("resnet50", 224, 4100, 25.6),
        pytest.param("resnext101_32x8d", 224, 16_500, 88.8, marks=_SLOW),
        pytest.param("densenet121", 224, 2870, 8.0, marks=_SLOW),
        pytest.param("efficientnet_b0", 224, 390, 5.3, marks=_SLOW),
        pytest.param("vgg13_bn", 224, 11_300, 133, marks=_SLOW),
        pytest.param("inception_v3", 299, 5730, 23.8, marks=_SLOW),
        pytest.param("deit_tiny_patch16_224", 224, 1260, 5.7, marks=_SLOW),
    ],
)
def test_multiply_adds_and_parameters_are_those_of_the_papers(name, size, millions, parameters):
    with torch.device("meta"):  # shapes are enough
        model = create_backbone(name, 1000, size)
    assert multiply_adds(model) / 1e6 == pytest.approx(millions, rel=0.02)
    assert parameter_count(model) / 1e6 == pytest.approx(parameters, rel=0.02)


def test_multiply_adds_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5), nn.Flatten(),
                            nn.Linear(5 * 16 * 16, 7))  # fmt: skip
    model = Classifier(network, "by hand", 7, 32, ((0.5,) * 3, (0.5,) * 3), {})
    assert multiply_adds(model) == 16 * 16 * 5 * 3 * 9 + 5 * 16 * 16 * 7
    assert parameter_count(model) == 5 * 3 * 9 + 2 * 5 + 5 * 16 * 16 * 7 + 7
    assert model.training


def test_attention_is_counted_on_the_processor_too():
    """Its fused kernels there must not escape the counter."""
    with torch.device("meta"):
        expected = multiply_adds(create_backbone("vit_tiny_patch16_224", 2, 64))
    assert multiply_adds(create_backbone("vit_tiny_patch16_224", 2, 64)) == expected
    tokens, width, layers = 16 + 1, 192, 12
    # Patches; then in each layer queries, keys, values, output and the two of the MLP, and the two products of attention.
    blocks = layers * (tokens * width**2 * 12 + 2 * tokens**2 * width)
    assert expected == 16 * 3 * 16**2 * width + blocks + width * 2


def test_models_take_turns():
    turns: list[str] = []

    class Noting(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.size = name, 8

        def forward(self, images):
            assert images.shape == (1, 3, 8, 8)
            turns.append(self.name)
            return images

    times = image_times({"a": Noting("a"), "b": Noting("b")}, rounds=3)
    changes = [name for name, before in zip(turns, [None, *turns], strict=False) if name != before]
    assert changes == ["a", "b"] + ["a", "b"] * 3  # once to warm up, then three rounds
    assert [len(times[name]) for name in "ab"] == [3, 3] and min(times["a"]) > 0


def test_costs_of_runs(toy_run):
    measured = measure_costs({"one": str(toy_run), "again": str(toy_run)}, rounds=2)
    one, again = measured["costs"]["one"], measured["costs"]["again"]
    assert measured["threads"] == torch.get_num_threads()
    assert one["file_bytes"] == (toy_run / "checkpoints" / "classifier.safetensors").stat().st_size
    assert one["file_bytes"] == pytest.approx(4 * one["parameters"], rel=0.02)
    assert one["relative"] == [1, 1]
    assert again["relative"] == pytest.approx(np.array(again["milliseconds"]) / np.array(one["milliseconds"]))
