from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fundus_synth.classify.checkpoint import weights_hash
from fundus_synth.classify.evidence import Difference, Interval
from fundus_synth.classify.explain.faithfulness import Measured, judge, measure, read_faithfulness, verdicts
from fundus_synth.classify.explain.faithfulness_cases import Cases
from fundus_synth.classify.explain.randomization import randomized
from fundus_synth.classify.images import to_batch
from fundus_synth.runtime.errors import UserError

_SIDE, _N = 16, 24


class _SeesRed(nn.Module):
    """Class 1 by how much red there is: a convolution that knows three colours, and a head that asks for one."""

    def __init__(self):
        super().__init__()
        self.colors = nn.Conv2d(3, 8, 1, bias=False)
        self.head = nn.Linear(8, 2, bias=False)
        self.colors.weight.data.zero_()
        self.colors.weight.data[:3, :, 0, 0] = torch.eye(3)
        # Hardly anything, but not nothing: shuffled, the head still has maps.
        self.head.weight.data.fill_(0.1)
        self.head.weight.data[1, 0] = 20.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.colors(images).mean(dim=(2, 3)))


def _evidence(model: nn.Module, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """What each pixel gives to its class: the network is linear, so that this is all there is to say."""
    with torch.inference_mode():
        maps = torch.einsum("nchw,kc->nkhw", model.colors(to_batch(images)), model.head.weight)
    return maps[np.arange(len(images)), targets].numpy()


def _against(model: nn.Module, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return -_evidence(model, images, targets)


def _photograph(model: nn.Module, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Red whatever the network: right by chance, and blind."""
    return images[..., 0].astype(np.float32)


def _cases() -> Cases:
    random = np.random.default_rng(0)
    images = random.integers(0, 60, (_N, _SIDE, _SIDE, 3)).astype(np.uint8)
    masks = np.zeros((_N, _SIDE, _SIDE), bool)
    for image, mask, y, x in zip(images, masks, random.integers(0, 12, _N), random.integers(0, 12, _N), strict=True):
        mask[y : y + 4, x : x + 4] = True
        image[mask, 0] = 255
    fields = np.ones(masks.shape, bool)
    # Two eyes a patient.
    patients = np.array([f"p{i // 2}" for i in range(_N)])
    return Cases(images, np.zeros_like(images), fields, np.ones(_N, int), patients, masks)


def _probability(model: nn.Module):
    def told(images: np.ndarray, target: int) -> np.ndarray:
        with torch.inference_mode():
            return torch.softmax(model(to_batch(images)), dim=1)[:, target].numpy()

    return told


@pytest.fixture(scope="module")
def measured() -> dict[str, Measured]:
    model, cases = _SeesRed(), _cases()
    # With so few weights chance decides what a random network looks at: of this seed, at another colour.
    networks, calls = randomized(model, cases.images, seed=2), []
    methods = {"evidence": _evidence, "against": _against, "photograph": _photograph}
    found = {
        name: measure(
            method, model, networks, cases, _probability(model), randomized_images=10, advance=lambda: calls.append(1)
        )
        for name, method in methods.items()
    }
    assert len(calls) == len(methods) * (2 * _N + len(networks))
    return found


def test_true_opposite_and_blind_maps_get_their_verdicts(measured):
    found = verdicts(measured)
    assert {name: one.passes for name, one in found.items()} == {
        "evidence": True,
        "against": False,
        "photograph": False,
    }
    assert "order of the pixels matters" in found["evidence"].why
    assert "not shown to matter" in found["against"].why
    assert "random network" in found["photograph"].why


def test_scores_against_masks_and_against_chance(measured):
    true, turned, random = measured["evidence"].located("pointing")
    assert (true.estimate, true.patients) == (1.0, 12) and turned.low > 0 and random.patients == 5
    blind = measured["photograph"]
    assert blind.located("mass")[2].estimate == 0  # the random network's map is the same
    assert measured["against"].located("pointing")[0].patients == 0  # nothing in it speaks for the class
    summary = blind.summary()
    assert summary["masks"]["mass"]["over_turned"]["low"] > 0
    assert summary["stages"][-1]["rank_correlation"] == pytest.approx(1)
    json.dumps(summary)


@pytest.mark.parametrize(("constant", "passes"), [(4, True), (6, False)])
def test_constant_maps_of_the_random_network_do_not_help_to_pass(measured, constant, passes):
    one = measured["evidence"]
    ranks = np.full_like(one.cascade.rank_correlation, 0.1)
    ranks[-1, :constant] = np.nan
    found = verdicts({"evidence": replace(one, cascade=replace(one.cascade, rank_correlation=ranks))})["evidence"]
    assert found.passes is passes
    assert passes or found.why == "There are too few maps with anything in them to tell."


def test_a_method_whose_random_maps_are_empty_fails():
    model, cases = _SeesRed(), _cases()

    def empty_when_random(network, images, targets):
        return _evidence(network, images, targets) * (network is model)

    found = measure(empty_when_random, model, randomized(model, cases.images), cases, _probability(model), steps=4)
    assert not verdicts({"x": found})["x"].passes


def test_maps_of_the_trained_network_are_made_once():
    model, cases = _SeesRed(), _cases()
    made = []

    def counted(network, images, targets):
        made.append(network is model)
        return _evidence(network, images, targets)

    networks = randomized(model, cases.images)
    measure(counted, model, networks, cases, _probability(model), steps=2, randomized_images=4)
    assert made == [True, *[False] * len(networks)]


def test_without_masks_nothing_is_said_of_them():
    model, cases = _SeesRed(), _cases()
    cases.masks[:] = False
    found = measure(_evidence, model, randomized(model, cases.images), cases, _probability(model), steps=4)
    assert found.summary()["masks"] is None and found.curves.insertion.shape == (_N, 5)


def _difference(estimate: float, low: float, high: float, p: float) -> Difference:
    return Difference(estimate, low, high, 2000, 10, 1, p)


def _interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate, low, high, 2000, 10, 1)


_GOOD, _UNLIKE = _difference(0.2, 0.1, 0.3, 0.001), _interval(0.1, 0.0, 0.2)


@pytest.mark.parametrize(
    ("gain", "adjusted", "alike", "passes", "said"),
    [
        (_GOOD, 0.008, _UNLIKE, True, "+0.200"),
        (_difference(0.1, -0.1, 0.3, 0.3), 0.3, _UNLIKE, False, "not shown"),
        (_GOOD, 0.2, _UNLIKE, False, "not shown"),  # one of many tests
        (_difference(-0.2, -0.3, -0.1, 0.001), 0.001, _UNLIKE, False, "not shown"),
        (_GOOD, 0.008, _interval(0.45, 0.4, 0.5), False, "hardly need"),
        (_GOOD, 0.008, _interval(0.45, 0.4, 0.49), True, "0.45"),
        (_GOOD, 0.008, _interval(np.nan, np.nan, np.nan), False, "too few"),
        (_difference(0.2, np.nan, np.nan, np.nan), np.nan, _UNLIKE, False, "too few"),
        (replace(_GOOD, patients=9), 0.008, _UNLIKE, False, "9 patients are too few"),
    ],
)
def test_a_verdict_wants_both(gain, adjusted, alike, passes, said):
    found = judge(gain, adjusted, alike)
    assert found.passes is passes and said in found.why


def test_verdicts_are_read_back_and_damage_is_told(tmp_path):
    assert read_faithfulness(tmp_path) == {}
    path = tmp_path / "faithfulness.json"
    method = {"passes": False, "why": "Because."}
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "classifier.safetensors").write_bytes(b"weights")
    content = {"kind": "fundus-synth faithfulness", "weights": weights_hash(tmp_path), "methods": {"saliency": method}}
    path.write_text(json.dumps(content))
    found = read_faithfulness(tmp_path)
    assert not found["saliency"].passes and found["saliency"].why == "Because."
    # A training that went on has made another classifier.
    (tmp_path / "checkpoints" / "classifier.safetensors").write_bytes(b"others")
    assert read_faithfulness(tmp_path) == {}
    (tmp_path / "checkpoints" / "classifier.safetensors").write_bytes(b"weights")
    for broken in ({**content, "kind": "other"}, {**content, "methods": {"a": 3}}, {}):
        path.write_text(json.dumps(broken))
        with pytest.raises(UserError, match="not a result of fundus-classify check-explanations"):
            read_faithfulness(tmp_path)
