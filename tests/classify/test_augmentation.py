from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify.augmentation import add_noise, make_augmentation, percentiles, rescale_intensity, rotate
from fundus_synth.runtime.errors import UserError

ARMS = ["default", "classical:odir", "classical:anemia"]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _batch(n: int = 4, size: int = 32, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=_generator(seed))


@pytest.mark.parametrize("name", ARMS)
def test_shape_range_and_determinism(name):
    augment, batch = make_augmentation(name), _batch(16)
    kept = batch.clone()
    one, again, other = (augment(batch, _generator(seed)) for seed in (1, 1, 2))
    assert one.shape == batch.shape and one.dtype == torch.float32
    assert one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, again) and torch.equal(batch, kept)
    assert name == "default" or not torch.equal(one, other)


@pytest.mark.parametrize("name", ARMS[1:])
def test_every_image_has_its_own_parameters(name):
    batch = _batch(1).repeat(8, 1, 1, 1)
    out = make_augmentation(name)(batch, _generator())
    distinct = {tuple(image.flatten()[::97].tolist()) for image in out}
    assert len(distinct) >= 6


def test_classical_is_study_e_and_unknown_names_are_refused():
    assert make_augmentation("classical") is make_augmentation("classical:odir")
    with pytest.raises(UserError, match="classical:anemia"):
        make_augmentation("mixup")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), percent=st.floats(0, 100), n=st.integers(1, 200))
def test_percentiles_are_numpys(seed, percent, n):
    values = np.random.default_rng(seed).random((3, n)).astype(np.float32)
    expected = np.percentile(values, percent, axis=1)
    np.testing.assert_allclose(percentiles(torch.from_numpy(values), percent), expected, atol=1e-5)


def test_rescaling_moves_the_percentiles_to_0_and_1():
    batch = 0.2 + 0.5 * _batch(3, 64)
    out = rescale_intensity(batch, 0.2, 99.8)
    for image, before in zip(out.numpy(), batch.numpy(), strict=True):
        low, high = np.percentile(before, [0.2, 99.8])
        np.testing.assert_allclose(image, np.clip((before - low) / (high - low), 0, 1), atol=1e-4)
        assert image.min() == 0 and image.max() == 1


def test_rescaling_leaves_a_uniform_image_alone():
    flat = torch.full((1, 3, 8, 8), 0.3)
    assert torch.equal(rescale_intensity(flat, 0.2, 99.8), flat)


def test_rotation_by_a_right_angle_is_exact():
    batch = _batch(3, 17)
    out = rotate(batch, torch.tensor([0.0, 90.0, 180.0]))
    for image, turned, quarter in zip(batch, out, (0, 1, 2), strict=True):
        torch.testing.assert_close(turned, torch.rot90(image, quarter, dims=(1, 2)), atol=1e-5, rtol=0)


def test_rotation_by_30_degrees_moves_a_spot_where_it_should():
    size, radius = 129, 40
    batch = torch.zeros(1, 3, size, size)
    batch[:, :, 64, 64 + radius] = 1  # right of the centre
    out = rotate(batch, torch.tensor([30.0]))[0, 0]
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    y, x = float((rows * out).sum() / out.sum()), float((columns * out).sum() / out.sum())
    assert x == pytest.approx(64 + radius * np.cos(np.pi / 6), abs=0.5)
    assert y == pytest.approx(64 - radius * np.sin(np.pi / 6), abs=0.5)  # upwards


def test_noise_has_the_study_s_variance():
    grey = torch.full((4, 3, 64, 64), 0.5)
    noise = add_noise(grey, 0.01, _generator()) - grey
    assert float(noise.var()) == pytest.approx(0.01, rel=0.03)
    assert float(noise.mean()) == pytest.approx(0, abs=0.002)


def test_study_e_never_flips():
    """A left half that is brighter stays on the left for rotations within 45 degrees."""
    batch = torch.zeros(64, 3, 32, 32)
    batch[:, :, :, :16] = 1
    out = make_augmentation("classical:odir")(batch, _generator())
    assert (out[..., :16].mean(dim=(1, 2, 3)) > out[..., 16:].mean(dim=(1, 2, 3))).all()


def test_study_a_flips_and_shifts():
    batch = torch.zeros(200, 3, 32, 32)
    batch[:, :, :, :16] = 1
    out = make_augmentation("classical:anemia")(batch, _generator())
    moved = (out[..., :16].mean(dim=(1, 2, 3)) < out[..., 16:].mean(dim=(1, 2, 3))).float().mean()
    assert 0.3 < moved < 0.7


def test_study_a_shifts_within_its_limits():
    """A spot in the centre stays within the shifts; they are exact when nothing else moves the centre."""
    batch = torch.zeros(300, 3, 65, 65)
    batch[:, :, 31:34, 31:34] = 1
    out = make_augmentation("classical:anemia")(batch, _generator())[:, 0]
    weight = out.sum(dim=(1, 2)).clamp_min(1e-6)
    x = (out.sum(dim=1) * torch.arange(65)).sum(dim=1) / weight - 32
    reach = float(x[weight > 1].abs().max())
    assert 0.2 * 65 < reach < 32
