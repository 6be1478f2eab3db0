import numpy as np
import pytest
import torch
from torch import nn

from fundus_synth.runtime.training import update_average
from fundus_synth.synth.adversarial import PLAIN, AdversarialTraining, Recipe
from fundus_synth.synth.generator_training import batch_indices, seed_of
from fundus_synth.synth.image_store import ImageStore, field_of_view
from fundus_synth.synth.networks.dcgan import Discriminator, Generator


def test_average_follows_the_closed_form():
    average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(1.0)
        for value in (2.0, 4.0, 8.0):
            network.weight.fill_(value)
            update_average(average, network, 0.9)
    expected = 0.9**3 * 1 + 0.1 * (0.9**2 * 2 + 0.9 * 4 + 8)
    assert average.weight.item() == pytest.approx(expected, rel=1e-6)


def test_average_copies_counters():
    average, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    network(torch.randn(4, 2, 3, 3))
    update_average(average, network, 0.5)
    assert average.num_batches_tracked == 1
    assert torch.allclose(average.running_mean, 0.5 * network.running_mean)


def training_with(recipe):
    return AdversarialTraining(
        Generator(16, 4, 2), Discriminator(16, 2), ImageStore(np.zeros((8, 16, 16, 3), dtype=np.uint8)), recipe, seed=0
    )


def test_decay_has_the_recipe_s_half_life_and_starts_short():
    training = training_with(Recipe(batch_size=50, average_images=1000))
    assert training.average_decay(0) == pytest.approx(0.1)
    assert training.average_decay(10_000) ** (1000 / 50) == pytest.approx(0.5)
    assert training_with(PLAIN).average_decay(10_000) == 0


def test_the_average_stays_in_evaluation_mode():
    training = training_with(PLAIN)
    training.eval()
    training.train()
    assert training.generator.training and not training.average.training


def test_every_image_is_seen_once_a_pass():
    seen = torch.cat([batch_indices(step, 4, 10, seed=3) for step in range(5)])
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert not torch.equal(batch_indices(0, 10, 10, seed=3), batch_indices(0, 10, 10, seed=4))


def test_batches_larger_than_the_set_repeat_it():
    counts = torch.bincount(batch_indices(1, 32, 8, seed=0), minlength=8)
    assert counts.tolist() == [4] * 8


def test_seeds_depend_on_everything():
    seeds = {seed_of(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert all(0 <= s < 2**48 for s in seeds)


def test_real_images_are_scaled_and_only_mirrored():
    stored = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    pixels = torch.from_numpy(stored).permute(0, 3, 1, 2)
    training = AdversarialTraining(
        Generator(16, 4, 2), Discriminator(16, 2), ImageStore(stored), Recipe(batch_size=6, mirror=True), seed=0
    )
    training.begin_step(0)
    real = ((training.real_batch(0) + 1) * 127.5).round().to(torch.uint8)
    known = {bytes(p.flatten().tolist()): "as it is" for p in pixels}
    known |= {bytes(p.flip(2).flatten().tolist()): "mirrored" for p in pixels}
    assert {known[bytes(image.flatten().tolist())] for image in real} == {"as it is", "mirrored"}


def test_field_of_view_is_where_images_are_lit():
    images = torch.zeros(40, 8, 8, 3, dtype=torch.uint8)
    images[:, 2:6, 1:6, 1] = 90
    images[0] = 255  # one badly cropped photograph does not widen it
    expected = torch.zeros(1, 1, 8, 8)
    expected[..., 2:6, 1:6] = 1
    assert torch.equal(field_of_view(images), expected)
    expected[..., 2:6, 6] = 1
    assert torch.equal(field_of_view(images, mirror=True), expected)
