from dataclasses import replace

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from torch import nn

from fundus_synth.runtime.training import read_state, run_steps, save_state
from fundus_synth.synth.cycle_training import CycleRecipe, CycleTraining, pace_at, patch_loss, total_loss
from fundus_synth.synth.sampling import to_pixels

TINY = CycleRecipe(batch_size=2, width=4, blocks=1, pool=4, head_start=0)


def eyes(count, seed=0, size=16):
    """Random pictures on a lit circle: uint8 (count, size, size, 3)."""
    random = np.random.default_rng(seed)
    line = np.linspace(-1, 1, size)
    inside = (line[:, None] ** 2 + line**2 <= 0.9)[None, :, :, None]
    return np.where(inside, random.integers(60, 200, (count, size, size, 3)), 0).astype(np.uint8)


def training(recipe=TINY, seed=0):
    return CycleTraining(eyes(5), eyes(7, seed=1), recipe, seed)


class _Saver(Callback):
    def __init__(self, path, resume_from=None, with_optimizers=True):
        self.path, self.state, self.with_optimizers = path, resume_from, with_optimizers

    def on_train_start(self, trainer, module):
        if self.state and self.with_optimizers:
            for optimizer, saved in zip(trainer.optimizers, self.state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)

    def on_train_end(self, trainer, module):
        optimizers = [optimizer.state_dict() for optimizer in trainer.optimizers]
        save_state(self.path, {"networks": module.state_dict(), "optimizers": optimizers})


def run(path, steps, resume_from=None, with_optimizers=True):
    module = training()
    if resume_from:
        module.load_state_dict(resume_from["networks"])
    run_steps(module, steps, _Saver(path, resume_from, with_optimizers), torch.device("cpu"), torch.float32)
    return read_state(path, ("networks", "optimizers"))


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one["networks"].values(), other["networks"].values(), strict=True))


def test_every_patch_is_judged_by_itself():
    """Scores of 0 and 2 average to a perfect 1; as patches they are both wrong by 1."""
    scores = torch.tensor([[[[0.0, 2.0]]]])
    assert patch_loss(scores, real=True) == 1
    assert patch_loss(scores, real=False) == 2
    assert patch_loss(torch.ones(2, 1, 3, 3), real=True) == 0


class _Brighter(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, images, field=None):
        return images + self.by


def test_cycle_and_identity_are_weighted_l1():
    module = training()
    module.generator, module.back = _Brighter(0.1), _Brighter(0.2)
    source, target = module.real_eyes(module.source, "source", 0), module.real_eyes(module.target, "target", 0)
    (to_source, to_target), losses = module.translate_both(source, target)
    assert torch.allclose(to_target, source.images + 0.1) and torch.allclose(to_source, target.images + 0.2)
    assert losses["cycle"].item() == pytest.approx(0.3 + 0.3, rel=1e-4)  # squared it would be 0.18
    assert losses["identity"].item() == pytest.approx(0.1 + 0.2, rel=1e-4)
    total = total_loss(
        {"g_loss": torch.tensor(1.0), "cycle": torch.tensor(2.0), "identity": torch.tensor(3.0)},
        CycleRecipe(cycle=10.0),
    )
    assert total.item() == 1 + 10 * 2 + 5 * 3


def test_discriminators_see_the_pool_and_each_its_own_class():
    module = training()
    source, target = module.real_eyes(module.source, "source", 0), module.real_eyes(module.target, "target", 0)
    to_source, to_target = torch.full_like(source.images, -0.5), torch.full_like(source.images, 0.5)
    module.judge_both(source.images, target.images, to_source, to_target)
    assert module.pool_of_source.images[:2].unique().tolist() == [64]
    assert module.pool_of_target.images[:2].unique().tolist() == [191]
    shown = []
    module.scores = lambda judge, images: shown.append((judge, images)) or torch.ones(1, 1, 2, 2)
    loss = module.judge_both(source.images, target.images, to_source, to_target)
    assert loss.item() == 0.5 * (0 + 1) * 2
    judges, images = zip(*shown, strict=True)
    assert judges == (module.judge_of_source,) * 2 + (module.judge_of_target,) * 2
    assert images[0] is source.images and images[2] is target.images
    assert torch.equal(images[1], to_source) and torch.equal(images[3], to_target)


def test_a_step_trains_all_four_networks_and_keeps_averages():
    module = training()
    networks = ("generator", "back", "judge_of_source", "judge_of_target", "average", "average_back")
    before = {name: [p.clone() for p in getattr(module, name).parameters()] for name in networks}
    run_steps(module, range(2), Callback(), torch.device("cpu"), torch.float32)
    for name in networks:
        now = getattr(module, name).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(before[name], now, strict=True)), name
    assert module.steps_done == 2 and module.figures.keys() == {"g_loss", "d_loss", "cycle", "identity"}
    assert module.kept == {"generator": module.average, "back": module.average_back}
    assert not any(p.requires_grad for network in module.kept.values() for p in network.parameters())
    assert all(p.requires_grad for p in module.judge_of_source.parameters())
    made = module.pictures(9)
    assert made.shape == (9, 16, 16, 3) and made.dtype == np.uint8
    assert np.array_equal(made[0], made[5]), "the source has five eyes"


def test_discriminators_have_a_head_start():
    module = training(replace(TINY, head_start=2))
    before = {
        name: [p.clone() for p in getattr(module, name).parameters()] for name in ("generator", "judge_of_target")
    }

    def changed(name):
        return any(not torch.equal(a, b) for a, b in zip(before[name], getattr(module, name).parameters(), strict=True))

    run_steps(module, range(2), Callback(), torch.device("cpu"), torch.float32)
    assert changed("judge_of_target") and not changed("generator")
    assert module.figures.keys() == {"g_loss", "d_loss", "cycle", "identity"} and module.figures["cycle"] == 0
    run_steps(module, range(2, 3), Callback(), torch.device("cpu"), torch.float32)
    assert changed("generator")


def test_the_first_steps_change_little():
    """Adam's first steps are as large as its later ones; they must not undo that the generators begin as the identity."""
    module = training()
    run_steps(module, range(2), Callback(), torch.device("cpu"), torch.float32)
    seen = module.source.batch(torch.arange(5), torch.device("cpu"))
    change = (module.generator(seen) - seen).abs().mean().item() * 127.5
    assert 0 < change < 1.5  # undamped: 3.8


def test_a_resumed_run_ends_with_the_same_bytes(tmp_path):
    whole = run(tmp_path / "whole.pt", range(8))
    half = run(tmp_path / "half.pt", range(4))
    assert half["networks"]["pool_of_target.filled"] == 4  # full, so the second half swaps
    assert same(whole, run(tmp_path / "resumed.pt", range(4, 8), half))
    assert not same(whole, run(tmp_path / "other.pt", range(4, 8), half, with_optimizers=False))


def test_the_learning_rate_depends_on_the_step_alone():
    recipe = CycleRecipe(constant_steps=100, decay_steps=200)
    assert [pace_at(step, recipe) for step in (0, 100, 150, 200)] == [1, 1, 0.75, 0.5]
    assert pace_at(290, recipe) == pytest.approx(0.1) == pace_at(100_000, recipe)
    module = training(replace(TINY, constant_steps=0, decay_steps=4))
    module.pace.fill_(0.5)
    run_steps(module, range(2, 3), Callback(), torch.device("cpu"), torch.float32)
    rates = [group["lr"] for optimizer in module.trainer.optimizers for group in optimizer.param_groups]
    assert rates == [0.5 * 0.5 * 4e-4, 4 * 0.5 * 0.5 * 4e-4], "generators, discriminators"


def test_real_eyes_are_black_outside_their_fields_and_only_mirrored():
    noisy = eyes(6)
    noisy[:, 0, :] = 9  # compression noise in the surround
    module = CycleTraining(noisy, eyes(6), replace(TINY, batch_size=6), 0)
    seen = module.real_eyes(module.source, "source", 0)
    assert (seen.images[:, :, 0] == -1).all()
    pixels = ((seen.images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    known = {eye.tobytes(): "as it is" for eye in eyes(6)} | {eye[:, ::-1].tobytes(): "mirrored" for eye in eyes(6)}
    assert {known[eye.tobytes()] for eye in pixels} == {"as it is", "mirrored"}


def test_it_learns_to_translate_and_back():
    """Eyes, and the same kind of eyes with bright stripes, unpaired: stripes must come, and go again on the way back."""
    plain, striped = eyes(12) // 2, eyes(12, seed=1) // 2
    striped[:, ::4] = np.where(striped[:, ::4] > 0, striped[:, ::4] + 100, 0)
    module = CycleTraining(
        plain, striped, replace(TINY, policy=(), average_images=8, learning_rate=2e-3, judging_rate=1.0), 0
    )
    run_steps(module, range(60), Callback(), torch.device("cpu"), torch.float32)

    def height(images):
        lit = np.where(plain > 0, images, np.nan)
        return np.nanmean(lit[:, ::4]) - np.nanmean(lit[:, 2::4])

    made = module.pictures(12)
    again = to_pixels(module.average_back(torch.from_numpy(made).permute(0, 3, 1, 2) / 127.5 - 1))
    assert abs(height(plain)) < 3
    assert height(made) > 40
    assert height(again) < height(made) / 2
