from __future__ import annotations

import pytest
import torch

from fundus_synth.classify.simple_cnn import SimpleCNN, plan_for


def test_at_512_it_is_study_e():
    with torch.device("meta"):  # half a billion parameters that need no memory
        network = SimpleCNN(8, 512)
    shapes = []
    for layer in [*network.features, *network.pool]:
        layer.register_forward_hook(lambda module, _, out: shapes.append((type(module).__name__, tuple(out.shape[1:]))))
    assert network(torch.zeros(1, 3, 512, 512, device="meta")).shape == (1, 8)
    sides = [shape for name, shape in shapes if name in ("Conv2d", "MaxPool2d")]
    assert [side[1] for side in sides] == [500, 500, 125, 120, 120, 30]
    assert [side[0] for side in sides] == [12, 36, 36, 72, 144, 144]
    dense = [layer.out_features for layer in network.dense if isinstance(layer, torch.nn.Linear)]
    assert dense == [4096, 512, 64]
    assert network.features[0].kernel_size == (13, 13) and network.features[8].kernel_size == (6, 6)


@pytest.mark.parametrize("size", [32, 33, 48, 64, 96, 100, 128, 224, 256, 384, 512])
def test_every_size_fits_its_plan(size):
    plan = plan_for(size)
    with torch.device("meta"):
        network = SimpleCNN(2, size)
    out = network.pool(network.features(torch.zeros(1, 3, size, size, device="meta")))
    assert out.shape == (1, plan.flat)
    assert plan.map_sizes[-1] >= 3
    assert plan.first_kernel % 2 == 1 and plan.first_kernel >= 5


def test_small_inputs_are_cheap():
    parameters = sum(p.numel() for p in SimpleCNN(2, 64).parameters())
    assert parameters < 1.2e6
