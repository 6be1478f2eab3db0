from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.classify import augmentation
from fundus_synth.classify.augmentation import add_noise, make_augmentation, percentiles, rescale_intensity, rotate
from fundus_synth.runtime.errors import UserError

ARMS = ["default", "classical:odir", "classical:anemia", "classical:dr", "classical:mild", "randaugment"]


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


def _spots(place: tuple[float, float], n: int, size: int = 96, radius: float = 0.06) -> tuple[torch.Tensor, np.ndarray]:
    """`n` images with a bright disc at a place (fractions of the width), and the discs."""
    line = (torch.arange(size) + 0.5) / size
    inside = (line[None, :] - place[0]) ** 2 + (line[:, None] - place[1]) ** 2 <= radius**2
    return inside.float().expand(n, 3, size, size).clone(), np.array([[*place, radius]] * n)


RIM = [(0.95, 0.5), (0.08, 0.45), (0.5, 0.94), (0.8, 0.8)]


@pytest.mark.parametrize("place", RIM)
def test_study_a_keeps_a_disc_at_the_rim_in_the_field_in_200_draws(place):
    batch, discs = _spots(place, 200)
    augment = make_augmentation("classical:anemia")
    whole = float(batch[0, 0].sum())
    unguarded, guarded = (augment(batch, _generator(), d)[:, 0].sum(dim=(1, 2)) / whole for d in (None, discs))
    # Zoom and shear change the area of what is left: at most by 1.1 ** 2 / cos(30 degrees).
    least = 0.5 / 1.1**2 * 0.9
    assert float(guarded.min()) > least
    assert float((unguarded < least).float().mean()) > 0.1
    assert float((guarded == 1).float().mean()) < 0.05  # hardly any is left untouched


def test_study_a_draws_again_only_for_discs_that_were_lost():
    batch, discs = _spots((0.9, 0.5), 64)
    batch = batch + 0.2 * _batch(64, 96)
    augment = make_augmentation("classical:anemia")
    free, guarded = augment(batch, _generator(3)), augment(batch, _generator(3), discs)
    again = (free != guarded).flatten(1).any(dim=1)
    assert 4 < int(again.sum()) < 60
    assert torch.equal(guarded, augment(batch, _generator(3), discs))
    discs[::2] = np.nan
    some = augment(batch, _generator(3), discs)
    assert torch.equal(some[::2], free[::2])  # unknown discs: as before
    assert torch.equal((some != free).flatten(1).any(dim=1)[1::2], again[1::2])


@pytest.mark.parametrize("absent", [None, np.full((8, 3), np.nan), np.array([[1.2, 0.5, 0.06]] * 8)])
def test_without_discs_in_the_picture_study_a_draws_what_it_always_drew(absent):
    generator, reference = _generator(5), _generator(5)
    make_augmentation("classical:anemia")(_batch(8), generator, absent)
    for shape in ((8,), (8,), (8, 2), (8, 2), (8, 2)):  # angles, shears, zooms, flips, shifts
        torch.rand(shape, generator=reference)
    assert torch.equal(generator.get_state(), reference.get_state())


def test_a_disc_that_cannot_be_kept_leaves_the_image_as_it_is(monkeypatch):
    batch, discs = _spots((0.7, 0.5), 4)
    unmoved = np.eye(2, 3)
    monkeypatch.setattr(augmentation, "disc_survives", lambda matrix, *_: np.array_equal(matrix, unmoved))
    torch.testing.assert_close(make_augmentation("classical:anemia")(batch, _generator(), discs), batch)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_predicted_place_of_a_disc_is_where_the_warp_takes_it(seed):
    size, place = 128, (0.6, 0.45)
    batch, _ = _spots(place, 1, size, radius=0.03)
    linear, shifts = augmentation._study_a_maps(1, _generator(seed))
    shifts = 0.3 * shifts  # so that it stays in the picture
    out = augmentation._warp(batch, linear, shifts)[0, 0].numpy()
    rows, columns = np.mgrid[:size, :size] + 0.5
    seen = np.array([(columns * out).sum(), (rows * out).sum()]) / out.sum() / size
    matrix = augmentation._forward_maps(linear, shifts)[0]
    np.testing.assert_allclose(matrix[:, :2] @ place + matrix[:, 2], seen, atol=0.5 / size)


def test_who_cannot_be_watched_over_is_said_for_study_a_only():
    discs = np.array([[0.7, 0.5, 0.06], [np.nan] * 3, [np.nan] * 3])
    assert "2 of 3" in augmentation.unguarded_discs("classical:anemia", discs)
    assert augmentation.unguarded_discs("classical:anemia", discs[:1]) == ""
    assert augmentation.unguarded_discs("classical", discs) == ""


def test_study_b_turns_by_any_angle():
    """A bright spot to the right of the centre lands in every quarter, and as far from it as it was."""
    spot = torch.zeros(1, 3, 65, 65)
    spot[:, :, 31:34, 51:54] = 1
    out = make_augmentation("classical:dr")(spot.repeat(64, 1, 1, 1), _generator())
    rows, columns = np.mgrid[-32:33, -32:33]
    mass = out[:, 0].numpy()
    x, y = ((mass * at).sum(axis=(1, 2)) / mass.sum(axis=(1, 2)) for at in (columns, rows))
    np.testing.assert_allclose(np.hypot(x, y), 20, atol=0.5)
    quarters = np.bincount(2 * (x > 0) + (y > 0), minlength=4)
    assert (quarters >= 8).all()  # of 64 draws 16 are expected in each


def test_randaugment_changes_geometry_and_colour_and_leaves_torch_s_generator_alone():
    flat, stripes = torch.full((24, 3, 16, 16), 0.4), torch.zeros(24, 3, 16, 16)
    stripes[..., ::4] = 0.9
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    augment = make_augmentation("randaugment")
    for batch in (flat, stripes):
        out = augment(batch, _generator(3))
        changed = (out - batch).abs().flatten(1).amax(dim=1) > 0.02
        assert 6 <= changed.sum() <= 24
    assert torch.equal(torch.rand(1), expected)


def test_mild_keeps_the_eye_in_the_picture_the_surround_black_and_the_hue():
    size = 64
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    disc = ((x - 31.5) ** 2 + (y - 31.5) ** 2 < 24**2).float()
    eye = torch.stack([0.6 * disc, 0.3 * disc, 0.1 * disc])
    out = make_augmentation("classical:mild")(eye.repeat(256, 1, 1, 1), _generator())
    assert (out[:, :, 0, 0] == 0).all() and (out.mean(dim=(1, 2, 3)) > 0.5 * eye.mean()).all()
    # Zoom within a tenth: the areas differ by no more than its square.
    areas = (out[:, 0] > 0.2).float().mean(dim=(1, 2)) / disc.mean()
    assert areas.min() > 0.79 and areas.max() < 1.26 and areas.std() > 0.05
    middle = out[:, :, 28:36, 28:36].mean(dim=(2, 3))
    assert middle[:, 0].std() > 0.03 and (middle[:, 0] > middle[:, 1]).all() and (middle[:, 1] > middle[:, 2]).all()


def test_mild_mirrors_half_of_the_images():
    bar = torch.zeros(1, 3, 64, 64)
    bar[:, :, 20:44, 40:50] = 1
    out = make_augmentation("classical:mild")(bar.repeat(400, 1, 1, 1), _generator())
    left = out[..., :32].sum(dim=(1, 2, 3)) > out[..., 32:].sum(dim=(1, 2, 3))
    assert 160 < int(left.sum()) < 240
