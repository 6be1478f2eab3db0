"""Scores of the discriminator that a run has saved."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import read_json, write_json
from fundus_synth.synth.checkpoint import DESCRIPTION
from fundus_synth.synth.networks import dcgan
from fundus_synth.synth.privacy.discriminator_scores import discriminator_of, scores
from fundus_synth.synth.train import train
from fundus_synth.synth.training_state import read_training


def images(count: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_scores_are_those_of_the_network_that_was_saved(tiny_run):
    saved = read_training(tiny_run.path)["networks"]
    network = dcgan.Discriminator(16, 32)
    network.load_state_dict({k[14:]: v for k, v in saved.items() if k.startswith("discriminator.")})
    pixels = images(21)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(pixels / 127.5 - 1).float().permute(0, 3, 1, 2)).numpy()
    found = scores(discriminator_of(tiny_run.path), pixels)
    assert found.shape == (21,)
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("model", ["light", "cyclegan"])
def test_every_model_has_one(model, tiny_dataset, tiny_options, tmp_path):
    options = {**tiny_options, "model": model, "size": 32 if model == "cyclegan" else 16}
    if model == "cyclegan":
        tiny_dataset = with_enough_normal_eyes(tiny_dataset)
    run = train(tiny_dataset, "anemic", steps=1, hold_back=0.0, out=tmp_path / "run", **options)
    pixels = images(6, options["size"])
    found = scores(discriminator_of(run.path), pixels)
    assert found.shape == (6,) and np.isfinite(found).all() and np.ptp(found) > 0
    # An image's score is its own, whatever is asked beside it.
    assert np.allclose(scores(discriminator_of(run.path), pixels[3:]), found[3:], atol=1e-4)


def with_enough_normal_eyes(dataset):
    """The same images, 8 of them normal and 9 anemic, so that there are eyes to translate."""
    labels = ["normal" if row < 8 else "anemic" for row in range(len(dataset))]
    return FundusDataset(dataset.path, dataset.info, dataset.table.assign(split="train", label=labels))


def test_no_images_have_no_scores(tiny_run):
    assert scores(discriminator_of(tiny_run.path), images(0)).shape == (0,)


def test_a_run_without_its_state_has_lost_it(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    for state in (tmp_path / "run" / "checkpoints").glob("*.pt"):
        state.unlink()
    assert discriminator_of(tmp_path / "run") is None


def test_a_state_of_other_networks_is_refused(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / DESCRIPTION
    said = read_json(path)
    write_json(path, {**said, "architecture": {**said["architecture"], "width": 16}})
    with pytest.raises(UserError, match="state is not of the networks"):
        discriminator_of(tmp_path / "run")
