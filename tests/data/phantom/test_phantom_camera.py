from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fundus_synth.data.phantom.anatomy import Eye, sample_eye
from fundus_synth.data.phantom.camera import Camera, View, exposed, field_mask, illumination, veil
from fundus_synth.data.phantom.camera_models import (
    CAMERA_MODELS,
    camera_names,
    check_cameras,
    next_exposure,
    sample_camera,
)
from fundus_synth.data.phantom.cohort import render_cohort, sample_patients
from fundus_synth.data.phantom.render import render
from fundus_synth.runtime.errors import UserError


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
    again = next_exposure(camera, np.random.default_rng(1))
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


def test_the_mixed_devices_are_what_they_were():
    """Values drawn before there were named models: eyes that were simulated then come out the same."""
    first = sample_camera(np.random.default_rng(3))
    assert (first.name, first.seed, first.aspect, first.notch) == ("phantom-camera-e", 183930185, 1.333, False)
    assert (first.fov_radius, first.offset_x) == pytest.approx((0.3182759385260231, -0.004012383585811572), rel=1e-9)
    assert first.cast == pytest.approx((-0.20066818906822317, -0.4518786492029175, -1.1010371618131751), rel=1e-9)
    assert first.blur == pytest.approx(0.0020973626073112583, rel=1e-9)
    assert (first.zoom, first.aim, str(first.artefacts)) == (1.0, 0.0, "")


def test_named_models_have_the_sizes_of_real_files():
    sizes = {(m.width, m.height) for m in CAMERA_MODELS.values()}
    assert {(2240, 1488), (2588, 1958), (1504, 1000)} <= sizes
    for name, model in CAMERA_MODELS.items():
        assert sample_camera(np.random.default_rng(0), name).aspect * model.height == pytest.approx(model.width)


@pytest.mark.parametrize("name", CAMERA_MODELS)
def test_a_model_keeps_its_habits_between_exposures(name):
    rng = np.random.default_rng(5)
    camera = sample_camera(rng, name)
    again = next_exposure(camera, rng)
    for habit in ("name", "aspect", "fov_radius", "notch", "notch_angle", "zoom", "aim"):
        assert getattr(camera, habit) == getattr(again, habit)
    for habit in ("dust", "dust_seed", "fringe", "stamp_corner"):
        assert getattr(camera.artefacts, habit) == getattr(again.artefacts, habit)
    assert camera.seed != again.seed and camera.cast != again.cast
    assert sample_camera(np.random.default_rng(5), name) == camera


def test_models_differ_in_colour_and_sharpness():
    def means(name: str) -> np.ndarray:
        cameras = [sample_camera(np.random.default_rng(i), name) for i in range(60)]
        return np.mean([[c.cast[2], np.log(c.blur), np.log(c.noise)] for c in cameras], axis=0)

    sharp, yellow, phone = means("tabletop-2240"), means("tabletop-2588"), means("phone")
    assert sharp[0] - yellow[0] > 0.4
    assert (phone[1:] - sharp[1:] > 0.7).all()


def test_cameras_are_given_as_a_name_names_with_commas_or_a_list():
    assert check_cameras("phone") == check_cameras(["phone"]) == ("phone",)
    assert check_cameras("mixed, phone") == check_cameras(["mixed", "phone"]) == ("mixed", "phone")


@pytest.mark.parametrize(
    ("cameras", "said"), [("polaroid", "polaroid;"), ("phone,polaroid", "polaroid;"), ("", "none"), ([], "none")]
)
def test_unknown_cameras_are_named(cameras, said):
    with pytest.raises(UserError, match=f"no camera .?{said}.*mixed, tabletop-2240"):
        check_cameras(cameras)
    with pytest.raises(UserError, match="no camera"):
        sample_patients(2, 0, cameras=cameras)


@pytest.mark.parametrize("name", camera_names())
def test_the_recorded_circle_is_the_rendered_rim(name):
    """A white flash in every model: what is lit in the picture is the circle in the labels, to a pixel."""
    camera = sample_camera(np.random.default_rng(8), name)
    camera = replace(camera, cast=(1.0, 1.0, 1.0), vignette=0.0, tilt_x=0.0, tilt_y=0.0, notch=False)
    camera = replace(camera, artefacts=replace(camera.artefacts, stamp="", exposure=1.0, lashes=0.0, glare=0.0))
    phantom = render(Eye("right", 3), camera, 240)
    lit = phantom.image.max(axis=2) > 100
    x, y, radius = (phantom.labels[f"fov_{part}"] for part in "xyr")
    rows, columns = np.nonzero(lit)
    far = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    assert far.max() < radius + 1
    height, width = lit.shape
    all_rows, all_columns = np.mgrid[:height, :width] + 0.5
    inner = np.hypot(all_columns - x, all_rows - y) < radius - 1
    assert lit[inner].mean() > 0.99


def test_a_small_field_is_a_magnified_part_of_the_same_eye():
    eye = sample_eye(np.random.default_rng(1))
    whole = render(eye, Camera(), 180)
    part = render(eye, Camera(zoom=1.8), 100)
    inner = whole.masks["vessels"][40:140, 40:140]
    assert np.array_equal(inner & part.masks["fov"], part.masks["vessels"]) and part.masks["vessels"].any()
    assert part.labels["disc_r"] == pytest.approx(1.8 * whole.labels["disc_r"])
    assert part.labels["fovea_x"] - 0.5 == pytest.approx(1.8 * (whole.labels["fovea_x"] - 0.5))


def test_aiming_at_the_disc_brings_it_to_the_middle_and_stays_on_the_eye():
    eye = Eye("right", 2, disc_x=0.2, disc_y=-0.05)
    aimed = render(eye, Camera(zoom=2.0, aim=1.0), 200)
    rows, columns = np.nonzero(aimed.masks["optic_disc"])
    assert (aimed.labels["disc_x"], aimed.labels["disc_y"]) == pytest.approx((0.5, 0.5), abs=0.01)
    assert (columns.mean() / 200, rows.mean() / 200) == pytest.approx((0.5, 0.5), abs=0.02)
    view = View.of(Camera(zoom=2.0, aim=1.0), np.array([0.45, 0.0]), 100)
    assert (view.full, view.left, view.top, view.centre) == (200, 100, 50, (0.25, 0.0))


def test_another_camera_photographs_the_same_people():
    mixed, phone = sample_patients(4, 6), sample_patients(4, 6, cameras="phone")
    both = sample_patients(12, 6, cameras=["phone", "tabletop-2240"])
    assert [p.eyes for p in mixed] == [p.eyes for p in phone]
    assert {c.name for p in phone for c in p.cameras} == {"phone"}
    assert all(len({c.name for c in p.cameras}) == 1 for p in both)
    assert {p.cameras[0].name for p in both} == {"phone", "tabletop-2240"}
    assert all(c.name.startswith("phantom-camera-") for p in mixed for c in p.cameras)


def test_rows_name_the_camera_and_its_artefacts():
    rows = [row for row, _, _ in render_cohort(1, 64, 0, False, ("normal",), cameras="tabletop-1504")]
    for row in rows:
        assert row["camera"] == "tabletop-1504" and row["camera_width"] == round(64 * 1.504)
        assert "dust=9" in row["artefacts"] and "stamp=" in row["artefacts"]
    standard = [row for row, _, _ in render_cohort(1, 64, 0, True, ("normal",), cameras="tabletop-1504")]
    assert all("dust=9" in row["artefacts"] and "stamp" not in row["artefacts"] for row in standard)
    mixed = [row for row, _, _ in render_cohort(1, 64, 0, False, ("normal",))]
    assert all(row["artefacts"] == "" for row in mixed)
