"""A dataset on the canonical eye: phantoms whose landmarks and masks are known, one picture without an eye."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import read_image, write_image
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.register_dataset import parse_registration, register_dataset
from fundus_synth.preprocess.registration import DISC, FOVEA, inverted, scaled, warp
from fundus_synth.runtime.errors import UserError

LANDMARKS = ("disc_x", "disc_y", "disc_r", "fovea_x", "fovea_y")
SIDE = 160


@pytest.fixture(scope="module")
def eyes():
    """Two eyes of one patient, with given landmarks: (row, image, masks)."""
    return list(render_cohort(2, SIDE, 5, True, ("normal",), 1))


@pytest.fixture
def dataset(tmp_path, eyes) -> FundusDataset:
    with DatasetWriter(tmp_path / "eyes", {"name": "eyes", "image_size": SIDE}) as writer:
        for row, image, masks in eyes:
            writer.add({**row, "fov_x": 80, "fov_y": 80, "fov_r": 80}, image, {"optic_disc": masks["optic_disc"]})
        row, image, masks = eyes[0]
        upside_down = {name: 1 - row[name] for name in ("disc_x", "disc_y", "fovea_x", "fovea_y")}
        turned = {"optic_disc": masks["optic_disc"][::-1, ::-1]}
        writer.add({**row, **upside_down, "file_name": "images/turned.png"}, image[::-1, ::-1], turned)
        unmarked = {name: value for name, value in eyes[1][0].items() if name not in LANDMARKS}
        writer.add({**unmarked, "file_name": "images/unmarked.png"}, eyes[1][1])
        writer.add({"file_name": "images/black.png"}, np.zeros((SIDE, SIDE, 3), np.uint8))
    return FundusDataset.open(tmp_path / "eyes")


@pytest.fixture
def registered(dataset, tmp_path) -> FundusDataset:
    return register_dataset(dataset, tmp_path / "out", size=128, quiet=True)


def mask(dataset: FundusDataset, index: int, kind: str) -> np.ndarray:
    return read_image(dataset.mask_path(index, kind))[..., 0]


def center(of: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(of)
    return np.array([x.mean() + 0.5, y.mean() + 0.5]) / len(of)


def test_every_eye_becomes_a_right_eye_with_its_landmarks_at_the_fixed_points(registered):
    table = registered.table
    assert (table[["disc_x", "disc_y"]] == DISC).all(axis=None) and (table[["fovea_x", "fovea_y"]] == FOVEA).all(
        axis=None
    )
    assert registered.read(0).shape == (128, 128, 3) and registered.info["image_size"] == 128
    assert list(table["mirrored"]) == [{"left": "true", "right": "false"}[eye] for eye in table["eye"]]
    assert set(table["eye"]) == {"left", "right"}
    for index in range(3):
        disc = mask(registered, index, "optic_disc")
        assert np.hypot(*(center(disc) - DISC)) < 0.25 * table["disc_r"][index]
        assert set(np.unique(disc)) == {0, 255}


def test_what_is_upside_down_is_turned_not_mirrored(registered):
    one, turned = (registered.read(index).astype(int) for index in (0, 2))
    assert registered.table["mirrored"][0] == registered.table["mirrored"][2]
    assert np.abs(one - turned).mean() < 1 and one.mean() > 30


def test_landmarks_are_found_where_they_are_not_given(registered):
    given, found = (registered.table["registration"][index] for index in (1, 3))
    corners = np.array([[0.2, 0.2], [0.8, 0.8]])
    given, found = (corners @ m[:, :2].T + m[:, 2] for m in map(parse_registration, (given, found)))
    assert 0 < np.abs(given - found).max() < 0.1


def test_the_map_can_be_undone(dataset, registered):
    for index in range(3):
        there = parse_registration(registered.table["registration"][index])
        back = inverted(there)
        for name, fixed in (("disc", DISC), ("fovea", FOVEA)):
            place = back[:, :2] @ fixed + back[:, 2]
            np.testing.assert_allclose(
                place, dataset.table.loc[index, [f"{name}_x", f"{name}_y"]].to_numpy(float), atol=1e-8
            )
        again = warp(registered.read(index), inverted(scaled(there, SIDE, 128)), SIDE).astype(int)
        seen = warp(mask(registered, index, "fov"), inverted(scaled(there, SIDE, 128)), SIDE, nearest=True) > 0
        # The same picture, but for what resampling twice blurs.
        assert np.abs(again - dataset.read(index))[seen].mean() < 4 and seen.mean() > 0.4


def test_the_field_s_mask_says_where_the_picture_is(registered):
    field, image = mask(registered, 0, "fov") > 0, registered.read(0)
    assert 0.4 < field.mean() < 1
    assert image[~field].max(initial=0) < 60 and np.mean(image[field].max(axis=1) > 5) > 0.97


def test_the_table_says_nothing_that_no_longer_holds(registered):
    assert not {"fov_x", "fov_y", "fov_r"} & set(registered.table.columns)
    assert "fov_x" in registered.info["registration"] and registered.info["parent_fingerprint"]


def test_what_has_no_landmarks_is_listed_with_the_reason(registered):
    with open(registered.path / "ignored.csv", newline="") as stream:
        assert list(csv.reader(stream))[1:] == [["images/black.png", "the optic disc was not found"]]
    assert "images/black.png" not in list(registered.table["file_name"])


def test_an_unknown_radius_is_a_fifth_of_the_way_from_disc_to_fovea(tmp_path):
    places = {"disc_x": 0.75, "disc_y": 0.5, "fovea_x": 0.45, "fovea_y": 0.5}
    with DatasetWriter(tmp_path / "dark", {"name": "dark", "image_size": SIDE}) as writer:
        writer.add({"file_name": "images/dark.png", **places}, np.zeros((SIDE, SIDE, 3), np.uint8))
    registered = register_dataset(FundusDataset.open(tmp_path / "dark"), tmp_path / "out", quiet=True)
    table = registered.table
    apart = np.hypot(table["disc_x"] - table["fovea_x"], table["disc_y"] - table["fovea_y"])
    assert table["disc_r"][0] == pytest.approx(apart[0] / 5)


def test_the_size_stays_when_none_is_asked_for(dataset, tmp_path):
    assert register_dataset(dataset.subset([0]), tmp_path / "one", quiet=True).read(0).shape == (SIDE, SIDE, 3)


def test_clear_errors_and_nothing_left_behind(dataset, tmp_path):
    with pytest.raises(UserError, match="none of 1 images can be registered"):
        register_dataset(dataset.subset([4]), tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="at least 16"):
        register_dataset(dataset, tmp_path / "out", size=2, quiet=True)
    with pytest.raises(UserError, match="six numbers"):
        parse_registration("1 0 0")
    bad = FundusDataset.open(dataset.path)
    bad.table.loc[0, ["fovea_x", "fovea_y"]] = bad.table.loc[0, ["disc_x", "disc_y"]].to_numpy()
    bad.table.loc[1, "fovea_x"] = 1.5
    with pytest.raises(UserError, match=r"none of 2 .* less than 0.05 of the width apart"):
        register_dataset(bad.subset([0, 1]), tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="none of 1 .* fovea lies outside"):
        register_dataset(bad.subset([1]), tmp_path / "out", quiet=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    with pytest.raises(UserError, match="exists"):
        register_dataset(dataset, tmp_path / "there", quiet=True)
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_a_mask_that_does_not_fit_is_refused(dataset, tmp_path):
    write_image(dataset.mask_path(0, "optic_disc"), np.zeros((10, 20), np.uint8))
    with pytest.raises(UserError, match="20 x 10 pixels, its image 160 x 160"):
        register_dataset(dataset, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out.partial").exists()
