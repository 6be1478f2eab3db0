"""The training of the kinds' network: reproducible examples, one network in torch and in numpy, weights that survive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fundus_synth.data.image_file import read_image
from fundus_synth.preprocess import picture_kind_examples as examples
from fundus_synth.preprocess.picture_kind import KINDS, SIDE, probabilities, two_looks
from fundus_synth.preprocess.picture_kind_training import (
    Examples,
    KindNet,
    bundled_photographs,
    drawn,
    folded,
    save,
    train,
    varied,
)


def tones(n: int = 28) -> Examples:
    """Pictures of one tone, a different one for each kind."""
    kinds = np.arange(n) % len(KINDS)
    copies = np.broadcast_to((30 * kinds + 20)[:, None, None, None], (n, 96, 96, 3)).astype(np.uint8).copy()
    copies[:, ::4] //= 2
    return Examples(copies, kinds)


def test_numpy_computes_what_torch_does():
    torch.manual_seed(1)
    network = KindNet().train()
    copies = np.random.default_rng(1).integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8)
    looks = torch.from_numpy(two_looks(copies)).permute(0, 3, 1, 2)
    with torch.no_grad():
        network(looks * 0.7 + 0.1)  # moves the running averages that are folded
        expected = network.eval()(looks).softmax(1).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-4
    assert probabilities(copies, folded(network)) == pytest.approx(expected, abs=1e-6)


def test_training_lowers_the_loss_and_weights_survive_the_file(tmp_path):
    from safetensors.numpy import load_file

    torch.manual_seed(0)
    pictures, network = tones(), KindNet()

    small = pictures.copies[:, :SIDE, :SIDE]

    def wrong() -> float:
        share = probabilities(small, folded(network))
        return float(-np.log(share[np.arange(len(share)), pictures.kinds]).mean())

    before = wrong()
    train(network, pictures, steps=12, seed=1)
    assert wrong() < before
    save(folded(network), tmp_path / "w.safetensors", {"seed": "1"})
    kept = {name: value.astype(np.float32) for name, value in load_file(tmp_path / "w.safetensors").items()}
    original = probabilities(small, folded(network))
    assert probabilities(small, kept) == pytest.approx(original, abs=0.01)


@pytest.mark.parametrize("kind", KINDS[3:])
def test_drawn_pictures_follow_from_seed_and_number(kind):
    source = [np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)]
    first, again, other, seed = (drawn(kind, *what, source) for what in ((1, 5), (1, 5), (2, 5), (1, 6)))
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, seed)


def test_variation_keeps_grey_pictures_grey_and_the_order():
    pictures = tones()
    made = varied(pictures.copies, pictures.kinds, np.random.default_rng(4))
    again = varied(pictures.copies, pictures.kinds, np.random.default_rng(4))
    assert made.shape == (28, SIDE, SIDE, 3) and np.array_equal(made, again)
    middle = made[:, SIDE // 2 - 12 : SIDE // 2 + 12].mean((1, 2))
    spread = np.ptp(middle, axis=1)
    grey = np.isin(pictures.kinds, [KINDS.index("red_free"), KINDS.index("fluorescein")])
    assert spread[grey].max() < 2 < np.median(spread[~grey])


def test_vessels_of_an_angiogram_shine():
    eye = np.full((200, 200, 3), (150, 80, 40), np.uint8)
    vessels = np.zeros((200, 200), np.uint8)
    vessels[:, 40:46] = 255
    rng = np.random.default_rng(2)
    marked = examples.fluorescein(eye, vessels, rng)[..., 1].astype(float)
    assert marked[:, 42:44].mean() > marked[:, 60:180].mean() + 40
    eye[:, 40:46] //= 2
    unmarked = examples.fluorescein(eye, None, rng)[..., 1].astype(float)
    assert unmarked[30:170, 42:44].mean() > unmarked[30:170, 60:170].mean() + 30


def test_bundled_photographs_are_there():
    pytest.importorskip("skimage")
    assert read_image(bundled_photographs(("astronaut.png",))[0]).shape == (512, 512, 3)
