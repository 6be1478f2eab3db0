"""The training of the landmark network: marks that move with their picture, the loss's parts, self-labels that agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fundus_synth.preprocess.landmark_augmentation import augmented
from fundus_synth.preprocess.landmark_net import GRID, INPUT, LandmarkNet, Maps, network_from, normalized
from fundus_synth.preprocess.landmark_training import Examples, _agreed, loss, save, train
from fundus_synth.preprocess.landmarks import Landmarks

NAN = float("nan")


def test_marks_move_with_the_picture():
    side, n = 160, 24
    random = torch.Generator().manual_seed(3)
    marks = torch.rand(n, 5, generator=random) * 0.2 + 0.4
    pictures = torch.full((n, side, side, 3), 40, dtype=torch.uint8)
    for picture, mark in zip(pictures, marks, strict=True):
        x, y = (int(value * side) for value in mark[:2])
        picture[y - 4 : y + 5, x - 4 : x + 5] = 255
        mark[:2] = torch.tensor([x + 0.5, y + 0.5]) / side
    changed, moved, _ = augmented(pictures, marks, random)
    assert changed.shape == (n, 3, INPUT, INPUT) and 0 <= changed.min() and changed.max() <= 1
    far = []
    for picture, mark in zip(changed, moved, strict=True):
        brightest = int(torch.nn.functional.avg_pool2d(picture.sum(0)[None], 7, 1, 3).argmax())
        far.append(np.hypot(brightest % INPUT + 0.5 - INPUT * mark[0], brightest // INPUT + 0.5 - INPUT * mark[1]))
    # Planted spots outshine the square in a few pictures; in most it must be where its mark says.
    assert np.median(far) < 2


def test_the_same_generator_gives_the_same_pictures():
    images, marks = torch.randint(0, 255, (4, 160, 160, 3), dtype=torch.uint8), torch.rand(4, 5)
    first, second = (augmented(images, marks, torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def answer(disc=(0.75, 0.46), fovea=(0.43, 0.5), n=1) -> Maps:
    line = (torch.arange(GRID) + 0.5) / GRID
    heat = [-300 * ((line - x).square()[None, :] + (line - y).square()[:, None]) for x, y in (disc, fovea)]
    way = torch.nn.functional.normalize(torch.tensor([[fovea[0] - disc[0], fovea[1] - disc[1]]]), dim=1)
    return Maps(heat[0][None], heat[1][None], torch.full((1, GRID, GRID), -2.7), torch.full((1, 2), 8.0), way)


def loss_of(maps: Maps, marks: list[float], side: float = NAN) -> float:
    return loss(maps, torch.tensor([marks]), torch.tensor([side]), torch.eye(2)[None]).item()


def test_the_right_answer_costs_less_than_a_wrong_one():
    truth = [0.75, 0.46, float(np.exp(-2.7)), 0.43, 0.5]
    right = loss_of(answer(), truth)
    assert right < loss_of(answer(disc=(0.6, 0.46)), truth) and right < loss_of(answer(fovea=(0.5, 0.5)), truth)
    assert right < loss_of(replace_maps(answer(), log_radius=-2.0), truth)
    assert right < loss_of(replace_maps(answer(), present=-8.0), truth)


def replace_maps(maps: Maps, **values: float) -> Maps:
    return maps._replace(**{name: torch.full_like(getattr(maps, name), value) for name, value in values.items()})


def test_unknown_marks_cost_nothing_and_a_known_eye_judges_the_direction():
    unknown = [NAN] * 5
    assert loss_of(answer(), unknown) == 0
    # In a right eye the disc lies to the right of the fovea, as in this answer.
    assert 0 < loss_of(answer(), unknown, side=1.0) < loss_of(answer(), unknown, side=-1.0)


def test_exposure_does_not_reach_the_network():
    batch = torch.rand(2, 3, 64, 64) * 0.5 + 0.2
    assert torch.allclose(normalized(batch)[:, :3], normalized(batch * 1.4)[:, :3], atol=0.2)
    assert normalized(batch).shape == (2, 4, 64, 64)


def test_training_lowers_the_loss_and_weights_survive_the_file(tmp_path):
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    images = torch.full((8, 160, 160, 3), 60, dtype=torch.uint8)
    images[:, 60:80, 100:120] = 250
    examples = Examples(images, torch.tensor([[110 / 160, 70 / 160, 0.06, 0.4, 0.5]]).repeat(8, 1), torch.ones(8))

    def now() -> float:
        pictures, moved, forward = augmented(images, examples.marks, torch.Generator().manual_seed(9))
        network.train()  # so few steps hardly move the running averages of the batch norm
        with torch.no_grad():
            return loss(network(pictures), moved, examples.side, forward).item()

    network = LandmarkNet().to(memory_format=torch.channels_last)
    before = now()
    train(network, {"phantoms": examples}, steps=8, peak_rate=3e-3, seed=1)
    assert now() < before
    save(network, tmp_path / "w.safetensors", {"seed": "1"})
    batch = torch.rand(1, 3, INPUT, INPUT, generator=random)
    with torch.no_grad():
        kept, original = network_from(tmp_path / "w.safetensors")(batch), network.eval()(batch)
    assert torch.allclose(kept.disc, original.disc, atol=0.1)


ONE = Landmarks(0.75, 0.46, 0.066, 0.43, 0.5, 0.9, 0.9, "right", 1.0, "macula")


@pytest.mark.parametrize(
    "other, side",
    [
        (replace(ONE, disc_x=0.85), 1.0), (replace(ONE, fovea_y=0.7), 1.0), (replace(ONE, fovea_confidence=0.3), 1.0),
        (replace(ONE, disc_r=0.2), 1.0), (ONE, -1.0),
    ],
    ids=["disc moved", "fovea moved", "unsure", "too near for such a disc", "wrong eye"],
)  # fmt: skip
def test_answers_that_disagree_mark_nothing(other, side):
    assert _agreed((ONE, ONE), 1.0) == pytest.approx([0.75, 0.46, 0.066, 0.43, 0.5])
    assert _agreed((ONE, other), side) is None
