from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.phantom.camera import Camera, exposed, field_mask, illumination, sample_camera, veil


def _cameras(count: int = 120) -> list[Camera]:
    rng = np.random.default_rng(3)
    return [sample_camera(rng) for _ in range(count)]


def test_sampled_frames_hold_the_circle():
    cameras = _cameras()
    radii = np.array([c.fov_radius * c.aspect for c in cameras])
    cut = radii > 0.5
    assert 0 < cut.mean() < 0.7
    assert (radii[~cut] >= 0.40).all() and (radii[~cut] <= 0.49).all() and (radii[cut] <= 0.58).all()
    for camera in cameras:
        assert abs(camera.offset_x) + camera.fov_radius <= 0.5 + 1e-9
    assert 0 < np.mean([c.notch for c in cameras]) < 1
    assert len({c.name for c in cameras}) == 6


def test_a_device_keeps_its_frame_between_exposures():
    camera = sample_camera(np.random.default_rng(0))
    again = camera.next_exposure(np.random.default_rng(1))
    assert (again.name, again.aspect, again.fov_radius, again.notch) == (
        camera.name, camera.aspect, camera.fov_radius, camera.notch,
    )  # fmt: skip
    assert again.seed != camera.seed and again.cast != camera.cast


def test_standard_frame_keeps_the_light():
    camera = _cameras(1)[0]
    standard = camera.in_standard_frame()
    assert standard.is_standard_frame and Camera.standardized().is_standard_frame
    assert not camera.is_standard_frame
    assert (standard.cast, standard.noise, standard.seed) == (camera.cast, camera.noise, camera.seed)


@pytest.mark.parametrize("size", [64, 255, 512])
def test_field_mask_is_the_inscribed_circle(size):
    mask = field_mask(Camera.standardized(), size)
    assert mask.sum() / 255 == pytest.approx(np.pi / 4 * size**2, rel=0.02)
    assert mask[size // 2, 0] > 0 and mask[0, 0] == 0
    assert np.array_equal(mask >= 128, (mask >= 128)[::-1]) and np.array_equal(mask >= 128, (mask >= 128)[:, ::-1])


def test_a_notch_stands_out_of_the_circle():
    plain = field_mask(Camera(), 256) >= 128
    notched = field_mask(Camera(notch=True, notch_angle=-0.6), 256) >= 128
    extra = notched & ~plain
    rows, columns = np.nonzero(extra)
    assert 20 < extra.sum() < 600 and not (plain & ~notched).any()
    assert np.arctan2(rows.mean() - 127.5, columns.mean() - 127.5) == pytest.approx(-0.6, abs=0.1)


def test_light_falls_off_towards_the_rim():
    light = illumination(Camera(vignette=0.4), 65)
    assert (light[32, 32] > light[32, 0] + 0.2).all()
    assert light[32, 32] == pytest.approx(0, abs=1e-3)


def test_automatic_exposure_spares_what_is_dark_enough():
    dark = np.full((8, 8, 3), np.log(100.0), np.float32)
    bright = dark + np.float32([1.0, 0.2, 0.0])
    assert np.array_equal(exposed(dark), dark)
    assert np.exp(exposed(bright)[..., 0]) == pytest.approx(213, rel=1e-5)
    assert np.diff(exposed(bright)[0, 0]) == pytest.approx(np.diff(bright[0, 0]), abs=1e-5)


def test_stray_light_never_covers_more_than_everything():
    for camera in _cameras(30):
        layer = veil(camera, 0.6, np.array([150.0, 90, 40]), 64)
        assert layer.shape == (64, 64, 4)
        assert layer[..., 3].min() >= 0 and layer[..., 3].max() <= 1
        assert layer[..., :3].min() >= 0 and layer[..., :3].max() <= 255


def test_a_flare_enters_on_its_side():
    layer = veil(Camera(flare=0.8, flare_angle=0.0), 0.0, np.array([150.0, 90, 40]), 64)[..., 3]
    assert layer[32, 60] > 0.5 and layer[32, 3] == 0
