from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fundus_synth.classify import offline_copies as module
from fundus_synth.classify.augmentation import classical_dr
from fundus_synth.classify.images import ImageSource, to_batch
from fundus_synth.classify.offline_copies import offline_copies
from fundus_synth.classify.train import train
from fundus_synth.cli.classify import classify
from fundus_synth.runtime.errors import UserError


@pytest.fixture
def eyes() -> ImageSource:
    random = np.random.default_rng(0)
    return ImageSource(random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))


def test_each_copy_is_the_augmentation_of_its_image_alone(eyes, tmp_path):
    copies = offline_copies(eyes, "classical:dr", 3, 7, tmp_path / "a.npy", quiet=True)
    assert len(copies) == 15
    generator = torch.Generator().manual_seed(module._number(7, 2))
    expected = classical_dr(to_batch(np.repeat(eyes.take([2]), 3, axis=0)), generator)
    expected = (expected.permute(0, 2, 3, 1) * 255).round().numpy().astype(np.uint8)
    np.testing.assert_array_equal(copies.take([2, 7, 12]), expected)
    assert len({image.tobytes() for image in copies.take(np.arange(15))}) == 15
    fewer = ImageSource(eyes.take([0, 1, 2]))
    again = offline_copies(fewer, "classical:dr", 3, 7, tmp_path / "b.npy", quiet=True)
    np.testing.assert_array_equal(again.take([2, 5, 8]), expected)
    other = offline_copies(eyes, "classical:dr", 3, 8, tmp_path / "c.npy", quiet=True)
    assert (other.take([2]) != expected[:1]).any()


def test_they_are_made_once_and_never_by_half(eyes, tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    monkeypatch.setattr(module, "make_augmentation", lambda name: lambda batch, *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        offline_copies(eyes, "classical:dr", 2, 0, path, quiet=True)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    first = offline_copies(eyes, "classical:dr", 2, 0, path, quiet=True).take(np.arange(10))
    monkeypatch.setattr(module, "_write", lambda *_: 1 / 0)
    np.testing.assert_array_equal(
        offline_copies(eyes, "classical:dr", 2, 0, path, quiet=True).take(np.arange(10)), first
    )


def test_training_on_copies_sees_every_image_and_copy(toy_path, tmp_path, monkeypatch):
    seen = {}

    def fit(images, labels, classes, options, **more):
        seen.update(images=images, labels=labels, options=options)
        raise KeyboardInterrupt

    monkeypatch.setattr("fundus_synth.classify.train.fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train(toy_path, size=32, epochs=2, augment="classical:odir", offline=2, out=tmp_path / "run", quiet=True)
    n = len(seen["labels"]) // 3
    assert len(seen["images"]) == len(seen["labels"]) == 3 * n
    np.testing.assert_array_equal(seen["labels"][:n], seen["labels"][2 * n :])
    assert seen["options"].augment == "default" and seen["options"].steps == 2 * -(-3 * n // 32)
    originals, copies = seen["images"].take(np.arange(n)), seen["images"].take(np.arange(n, 2 * n))
    assert originals.shape == copies.shape and (originals != copies).any(axis=(1, 2, 3)).mean() > 0.5


def test_the_command_and_what_cannot_be(toy_path, tmp_path):
    words = ["train", "--data", str(toy_path), "--size", "32", "--steps", "2", "--device", "cpu", "--quiet"]
    done = CliRunner().invoke(
        classify, [*words, "--augment", "classical:dr", "--offline", "2", "--out", str(tmp_path / "run"), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["metrics"]["test"]
    assert "offline: 2" in (tmp_path / "run" / "config.yaml").read_text()
    assert not list((tmp_path / "run" / "checkpoints").glob("*.npy"))
    with pytest.raises(UserError, match="the images themselves"):
        train(toy_path, offline=2, out=tmp_path / "other", quiet=True)
    assert not (tmp_path / "other").exists()
