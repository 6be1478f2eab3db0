from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fundus_synth.data.phantom.anatomy import sample_eye
from fundus_synth.data.phantom.camera import Camera
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.lesion_kinds import LESION_KINDS
from fundus_synth.data.phantom.render import MASK_KINDS, Phantom, render


def _phantom(seed: int = 0, size: int = 160, camera: Camera | None = None, **eye) -> Phantom:
    return render(sample_eye(np.random.default_rng(seed), **eye), camera or Camera.standardized(), size)


def _frame(seed: int, **wanted) -> Camera:
    rng = np.random.default_rng(seed)
    while True:
        camera = sample_camera(rng)
        if all(getattr(camera, name) == value for name, value in wanted.items()):
            return camera


def test_same_arguments_same_bytes():
    one, two, other = _phantom(grade=4), _phantom(grade=4), _phantom(seed=1, grade=4)
    assert np.array_equal(one.image, two.image) and not np.array_equal(one.image, other.image)
    assert all(np.array_equal(one.masks[kind], two.masks[kind]) for kind in MASK_KINDS)
    assert one.labels == two.labels


@pytest.mark.parametrize("size", [64, 101, 256])
def test_shapes_and_types(size):
    camera = _frame(0)
    phantom = _phantom(size=size, camera=camera)
    shape = (size, round(size * camera.aspect))
    assert phantom.image.shape == (*shape, 3) and phantom.image.dtype == np.uint8
    assert set(phantom.masks) == set(MASK_KINDS)
    for mask in phantom.masks.values():
        assert mask.shape == shape and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}


def test_standardised_image_is_black_outside_the_inscribed_circle():
    phantom = _phantom()
    y, x = np.mgrid[:160, :160] + 0.5
    outside = np.hypot(x - 80, y - 80) > 80.8
    assert (phantom.image[outside] == 0).all() and (phantom.masks["fov"][outside] == 0).all()
    assert (phantom.image[~outside].max(axis=-1) > 0).mean() > 0.98


def test_camera_frame_is_nearly_black_but_noisy_outside():
    phantom = _phantom(camera=_frame(1, notch=False))
    outside = cv2.dilate(phantom.masks["fov"], np.ones((5, 5), np.uint8)) == 0
    assert phantom.image[outside].max() < 12 and phantom.image[outside].std() > 0.3


@pytest.mark.parametrize("seed", range(4))
def test_field_of_a_camera_frame_lies_where_the_labels_say(seed):
    phantom = _phantom(size=200, camera=_frame(seed, notch=False))
    y, x = np.mgrid[: phantom.image.shape[0], : phantom.image.shape[1]] + 0.5
    labels = phantom.labels
    expected = np.hypot(x - labels["fov_x"], y - labels["fov_y"]) <= labels["fov_r"]
    assert (expected != (phantom.masks["fov"] > 0)).mean() < 0.005
    assert (labels["camera_height"], labels["camera_width"]) == phantom.image.shape[:2]


@pytest.mark.parametrize("grade", range(5))
def test_masks_follow_the_grade_and_stay_in_the_field(grade):
    phantom = _phantom(seed=grade, size=256, grade=grade, label="diabetes" if grade else "normal")
    assert all(not (mask[phantom.masks["fov"] == 0]).any() for mask in phantom.masks.values())
    assert np.array_equal(phantom.masks["vessels"], phantom.masks["arteries"] | phantom.masks["veins"])
    assert not (phantom.masks["optic_cup"][phantom.masks["optic_disc"] == 0]).any()
    present = {kind for kind in LESION_KINDS if phantom.masks[kind].any()}
    must = {0: set(), 1: {"microaneurysms"}}.get(grade, {"microaneurysms", "haemorrhages", "hard_exudates"})
    must |= {"neovascularisation"} if grade == 4 else set()
    assert must <= present <= must | ({"cotton_wool_spots"} if grade > 1 else set())


@pytest.mark.parametrize("side", ["left", "right"])
def test_disc_and_fovea_lie_where_the_labels_say(side):
    phantom = _phantom(seed=7, size=256, camera=_frame(5), side=side)
    labels, width = phantom.labels, phantom.image.shape[1]
    for kind, name in (("optic_disc", "disc"), ("fovea", "fovea")):
        rows, columns = np.nonzero(phantom.masks[kind])
        assert (columns.mean() + 0.5) / width == pytest.approx(labels[f"{name}_x"], abs=0.004)
        assert (rows.mean() + 0.5) / width == pytest.approx(labels[f"{name}_y"], abs=0.004)
    area = (phantom.masks["optic_disc"] > 0).sum()
    assert np.sqrt(area / np.pi) / width == pytest.approx(labels["disc_r"], rel=0.08)
    assert (labels["disc_x"] > labels["fovea_x"]) == (side == "right")
    assert labels["eye"] == side


def test_structures_look_as_named():
    for seed in range(5):
        phantom = _phantom(seed=seed, size=256)
        green, masks = phantom.image[..., 1].astype(float), {k: m > 0 for k, m in phantom.masks.items()}
        near = cv2.dilate(phantom.masks["vessels"], np.ones((9, 9), np.uint8)) > 0
        beside = near & ~masks["vessels"] & ~masks["optic_disc"]
        within = ~masks["optic_disc"]
        assert green[masks["veins"] & within].mean() < green[beside].mean() - 3
        veins_only, arteries_only = masks["veins"] & ~masks["arteries"], masks["arteries"] & ~masks["veins"]
        assert green[veins_only & within].mean() < green[arteries_only & within].mean()
        assert green[masks["optic_disc"] & ~masks["vessels"]].mean() > 1.2 * green[beside].mean()
        assert not (masks["vessels"] & masks["fovea"]).any()
        assert 0.04 < masks["vessels"].sum() / masks["fov"].sum() < 0.20


def test_pallor_is_monotone_in_haemoglobin():
    eye = sample_eye(np.random.default_rng(11), hemoglobin=15.0)
    camera = replace(Camera.standardized(), noise=0.0)
    contrast, background, disc = [], [], []
    for hemoglobin in (15.0, 12.0, 9.0, 6.0):
        phantom = render(replace(eye, hemoglobin=hemoglobin), camera, 192)
        image, masks = phantom.image.astype(float), {k: m > 0 for k, m in phantom.masks.items()}
        bare = masks["fov"] & ~masks["vessels"] & ~masks["optic_disc"]
        redness = image[..., 0] / (image.sum(axis=-1) + 1)
        contrast.append(redness[masks["vessels"] & ~masks["optic_disc"]].mean())
        background.append(redness[bare].mean())
        disc.append(redness[masks["optic_disc"]].mean())
    for series in (contrast, background, disc):
        assert (np.diff(series) < -1e-3).all()


@pytest.mark.parametrize("size", [128, 512])
def test_other_sizes_show_the_same_anatomy(size):
    eye = sample_eye(np.random.default_rng(2), grade=2)
    camera = _frame(2)
    here, there = render(eye, camera, 256), render(eye, camera, size)
    shape = here.image.shape[1::-1]
    for kind, least in (("fov", 0.98), ("optic_disc", 0.95), ("vessels", 0.70), ("hard_exudates", 0.45)):
        one, two = here.masks[kind] > 0, cv2.resize(there.masks[kind], shape, interpolation=cv2.INTER_AREA) > 127
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > least, kind
    grey = cv2.resize(there.image, shape, interpolation=cv2.INTER_AREA)
    assert np.corrcoef(here.image.ravel(), grey.ravel())[0, 1] > 0.98
    for name in ("disc_x", "disc_y", "fovea_x", "fovea_y", "disc_r"):
        assert here.labels[name] == pytest.approx(there.labels[name], abs=0.01)
