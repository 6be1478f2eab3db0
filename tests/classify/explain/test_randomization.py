from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.explain.randomization import (
    cascade,
    layer_names,
    randomized,
    rank_correlation,
    structure,
)
from fundus_synth.classify.images import to_batch


class _Odd(nn.Module):
    """Registered in another order than it is called, with a part that is never called and one called twice."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 2)
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.idle = nn.Linear(3, 3)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.again(self.again(self.second(self.first(images))))
        return self.head(maps.mean(dim=(2, 3)))


def _images(n: int = 6, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3)).astype(np.uint8)


def _model() -> nn.Module:
    torch.manual_seed(0)
    return _Odd().eval()


def _changed(one: nn.Module, other: nn.Module) -> set[str]:
    pairs = zip(one.named_parameters(), other.named_parameters(), strict=True)
    return {name.rsplit(".", 1)[0] for (name, a), (_, b) in pairs if not torch.equal(a, b)}


def test_layers_come_in_the_order_in_which_an_image_reaches_them():
    names = layer_names(_model(), to_batch(_images(1)))
    assert names == ["idle", "first", "second.0", "second.1", "again", "head"]


def test_layers_are_randomised_from_the_last_one_down_and_stay_so():
    model = _model()
    before = copy.deepcopy(model.state_dict())
    made = randomized(model, _images())
    assert [name for name, _ in made] == ["head", "again", "second.1", "second.0", "first", "idle"]
    # Weights of batch normalisation are all 1 here, and shuffling them changes nothing.
    lower, expected = [], {"head": {"head"}, "again": {"head", "again"}}
    for name, network in made:
        lower = [*lower, name]
        assert _changed(model, network) == set(lower) - {"second.1"}
        assert name not in expected or _changed(model, network) == expected[name]
        assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, values in made[-1][1].named_parameters():
        np.testing.assert_array_equal(np.sort(values.detach().flatten()), np.sort(before[name].flatten()))


def test_statistics_are_measured_anew_only_behind_what_is_random():
    model, images = _model(), _images()
    networks = dict(randomized(model, images))
    kept, anew = networks["again"].second[1], networks["second.1"].second[1]
    assert torch.equal(kept.running_mean, model.second[1].running_mean)
    seen = model.second[0](model.first(to_batch(images)))
    np.testing.assert_allclose(anew.running_mean, seen.mean(dim=(0, 2, 3)).detach(), atol=1e-5)
    assert anew.momentum == model.second[1].momentum


def test_a_random_network_still_tells_photographs_apart():
    torch.manual_seed(0)
    model = create_backbone("mobilenetv3_small_050", 2, 64).eval()
    images = _images(8, 64)
    images[4:] //= 4
    made = randomized(model, images)
    assert len(made) == 6
    with torch.inference_mode():
        spread = [network(to_batch(images)).std(dim=0).max().item() for _, network in made]
    assert np.isfinite(spread).all() and min(spread) > 1e-3


def test_rank_correlation_is_spearmans_inside_the_field():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 12, 12))
    field = random.random((12, 12)) < 0.7
    expected = spearmanr(np.abs(one[field]), np.abs(other[field])).statistic
    assert rank_correlation(one, other, field) == pytest.approx(expected)
    assert rank_correlation(one, -np.exp(np.abs(one)), field) == pytest.approx(1)
    assert np.isnan(rank_correlation(one, np.full((12, 12), 3.0), field))
    assert np.isnan(rank_correlation(np.zeros((12, 12)), one, field))


def test_structure_is_1_for_the_same_map_at_any_scale():
    one = np.random.default_rng(0).random((16, 16))
    field = np.ones((16, 16), bool)
    assert structure(one, 5 * one, field) == pytest.approx(1)
    assert structure(one, one[::-1], field) < 0.5
    assert np.isfinite(structure(one, 0 * one, field))


def test_cascade_tells_a_method_that_ignores_the_network_from_one_that_does_not():
    model, images = _model(), _images()
    fields = np.ones(images.shape[:3], bool)
    networks, calls = randomized(model, images), []

    def edges(network: nn.Module) -> np.ndarray:
        return np.abs(np.diff(images.astype(float).sum(axis=3), axis=2, append=0))

    def weights(network: nn.Module) -> np.ndarray:
        with torch.inference_mode():
            return network.first(to_batch(images))[:, 0].numpy()

    blind = cascade(edges, networks, edges(model), fields, lambda: calls.append(1))
    np.testing.assert_allclose(blind.rank_correlation, 1)
    np.testing.assert_allclose(blind.structural_similarity, 1)
    assert len(calls) == 6 and blind.stages[0] == "head" and blind.rank_correlation.shape == (6, 6)
    assert np.abs(blind.other_image).max() < 0.3
    np.testing.assert_array_equal(blind.last, edges(model))
    seeing = cascade(weights, networks, weights(model), fields)
    np.testing.assert_allclose(seeing.rank_correlation[:4], 1)  # its layer is the last but one to go
    assert seeing.rank_correlation[4:].mean() < 0.9
