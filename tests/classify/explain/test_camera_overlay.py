from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.explain.camera_overlay import camera_files, camera_map, read_camera
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import write_image
from fundus_synth.preprocess.orientation import upright
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.errors import UserError


def _frame(width: int = 500, height: int = 400) -> np.ndarray:
    frame = np.zeros((height, width, 3), np.uint8)
    cv2.circle(frame, (270, 190), 150, (150, 70, 40), -1)
    return frame


def _row(fov, frame: np.ndarray, **more: object) -> dict:
    return {"fov_x": fov.x, "fov_y": fov.y, "fov_r": fov.radius, "camera_width": frame.shape[1],
            "camera_height": frame.shape[0], **more}  # fmt: skip


def _center(values: np.ndarray) -> np.ndarray:
    """Centre of mass (x, y)."""
    y, x = np.mgrid[: values.shape[0], : values.shape[1]]
    return np.array([(x * values).sum(), (y * values).sum()]) / values.sum()


@pytest.mark.parametrize("turn", ["", "mirrored", "upside_down", "turned_clockwise", "turned_counterclockwise"])
@pytest.mark.parametrize("shrink", [1, 2])
def test_what_the_crop_moved_comes_back(turn, shrink):
    frame = _frame()
    frame[100:110, 300:310] = 255  # a white spot, left and above of nothing else
    made = standardize(frame, 128)
    spot = (upright(made.image, turn) if turn else made.image).astype(float).min(axis=2)
    found = camera_map(spot, _row(made.fov, frame, orientation_undone=turn), 400 // shrink, 500 // shrink)
    assert found.shape == (400 // shrink, 500 // shrink) and found.dtype == np.float32
    expected = (np.array([304.5, 104.5]) + 0.5) / shrink - 0.5
    np.testing.assert_allclose(_center(np.where(found > 60, found, 0)), expected, atol=0.6)


def test_a_map_covers_its_crop_and_nothing_else():
    row = {"fov_x": 60.0, "fov_y": 50.0, "fov_r": 20.0, "camera_width": 100, "camera_height": 80}
    found = camera_map(np.ones((8, 8)), row, 80, 100)
    # The outer half of the outermost cells fades: there OpenCV blends with what is outside.
    inside = np.zeros((80, 100), bool)
    inside[30:70, 40:80] = True
    assert (found[33:67, 43:77] > 0.999).all() and found[28:72, 38:82].max() <= 1 and (found[~inside][::1] < 0.5).all()
    assert (found[:27] == 0).all() and (found[:, 83:] == 0).all()


def _dataset(tmp_path, **columns: object) -> FundusDataset:
    table = pd.DataFrame({"file_name": ["images/a.png", "images/b.png"], **columns})
    return FundusDataset(tmp_path, {}, table)


def test_camera_files_are_found_or_missed(tmp_path):
    crop = {
        "camera_width": [500, 500],
        "camera_height": [400, 400],
        "fov_x": [9.0] * 2,
        "fov_y": [9.0] * 2,
        "fov_r": [5.0] * 2,
    }
    dataset = _dataset(tmp_path, camera_file=["sub/a.jpg", "b.jpg"], **crop)
    with pytest.raises(UserError, match="no such folder"):
        camera_files(dataset, tmp_path / "none", np.array([0]))
    with pytest.raises(UserError, match="holds none of the camera files, e.g. sub/a.jpg"):
        camera_files(dataset, tmp_path, np.array([0, 1]))
    write_image(tmp_path / "sub" / "a.jpg", _frame())
    assert camera_files(dataset, tmp_path, np.array([0, 1])) == {0: tmp_path / "sub" / "a.jpg"}
    with pytest.raises(UserError, match="does not say where in its camera file"):
        camera_files(_dataset(tmp_path, camera_file=["sub/a.jpg", "b.jpg"]), tmp_path, np.array([0]))


def test_camera_files_are_shrunk_and_checked(tmp_path):
    write_image(tmp_path / "wide.png", np.full((90, 3200, 3), 7, np.uint8))
    assert read_camera(tmp_path / "wide.png", {"camera_width": 3200, "camera_height": 90}).shape == (45, 1600, 3)
    with pytest.raises(UserError, match="is 3200 x 90 pixels, but metadata.csv says 3200 x 91"):
        read_camera(tmp_path / "wide.png", {"camera_width": 3200, "camera_height": 91})
