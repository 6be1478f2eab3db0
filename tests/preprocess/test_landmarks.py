"""Disc and fovea: decoding of hand-made maps, phantoms with known landmarks, real discs, columns and the filter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.landmark_columns import keep, with_landmarks
from fundus_synth.preprocess.landmark_net import GRID, WEIGHTS, Maps
from fundus_synth.preprocess.landmark_training import disc_errors, marked_discs
from fundus_synth.preprocess.landmarks import decoded, find_landmarks, find_landmarks_batch, mirrored
from fundus_synth.runtime.errors import UserError


def maps(disc_peaks, fovea_peaks, radius=0.065, present=(9.0, 9.0), direction=(-1.0, 0.0)) -> Maps:
    """Maps of one eye with Gaussian peaks {(x, y): height of the logit} at fractions of the width."""
    line = torch.arange(GRID) + 0.5

    def heat(peaks):
        total = torch.full((GRID, GRID), -12.0)
        for (x, y), height in peaks.items():
            bump = torch.exp(-((line - GRID * x) ** 2)[None, :] / 8 - ((line - GRID * y) ** 2)[:, None] / 8)
            total = torch.maximum(total, (height + 12) * bump - 12)
        return total[None]

    radii = torch.full((1, GRID, GRID), float(np.log(radius)))
    return Maps(heat(disc_peaks), heat(fovea_peaks), radii, torch.tensor([present]), torch.tensor([direction]))


def test_a_clear_peak_is_found_to_a_fraction_of_a_cell():
    found = decoded(maps({(0.753, 0.461): 8.0}, {(0.432, 0.508): 8.0}))[0]
    np.testing.assert_allclose([found.disc_x, found.disc_y], [0.753, 0.461], atol=0.2 / GRID)
    np.testing.assert_allclose([found.fovea_x, found.fovea_y], [0.432, 0.508], atol=0.2 / GRID)
    assert found.disc_r == pytest.approx(0.065, rel=1e-4)
    assert found.disc_visible and found.fovea_visible
    assert (found.eye, found.centred) == ("right", "macula")


def test_of_two_likely_discs_the_one_at_the_right_distance_from_the_fovea_is_taken():
    found = decoded(maps({(0.75, 0.46): 7.0, (0.52, 0.40): 7.4}, {(0.43, 0.5): 8.0}))[0]
    assert found.disc_x == pytest.approx(0.75, abs=0.02)


def test_what_is_not_in_the_picture_is_not_visible_and_its_columns_are_empty():
    found = decoded(maps({(0.75, 0.46): 8.0}, {(0.43, 0.5): 8.0}, present=(-6.0, 9.0), direction=(0.9, 0.1)))[0]
    assert not found.disc_visible
    columns = found.columns()
    assert (columns["disc_x"], columns["disc_r"]) == ("", "")
    assert columns["fovea_x"] != ""
    assert columns["eye"] == "left"  # by the vessels' direction alone


def test_mirroring_twice_changes_nothing_and_once_the_eye():
    found = decoded(maps({(0.75, 0.46): 8.0}, {(0.43, 0.5): 8.0}))[0]
    assert mirrored(found).eye == "left"
    again = mirrored(mirrored(found, down=True), down=True)
    assert again.disc_x == pytest.approx(found.disc_x) and again.eye == "right"


@pytest.fixture(scope="module")
def phantoms():
    made = list(render_cohort(6, 160, 77, True, ("normal", "diabetes"), 1))
    return [row for row, _, _ in made], [image for _, image, _ in made]


def test_discs_and_foveas_of_phantoms_are_found(phantoms):
    rows, images = phantoms
    found = find_landmarks_batch(images)
    far_disc = [np.hypot(f.disc_x - r["disc_x"], f.disc_y - r["disc_y"]) for f, r in zip(found, rows, strict=True)]
    far_fovea = [np.hypot(f.fovea_x - r["fovea_x"], f.fovea_y - r["fovea_y"]) for f, r in zip(found, rows, strict=True)]
    assert np.median(far_disc) < 0.03 and np.median(far_fovea) < 0.05
    assert np.mean([far <= r["disc_r"] for far, r in zip(far_disc, rows, strict=True)]) >= 0.9
    assert np.mean([f.eye == r["eye"] for f, r in zip(found, rows, strict=True)]) >= 0.9


def test_the_answer_does_not_depend_on_the_batch_nor_much_on_the_size(phantoms):
    _, images = phantoms
    alone, together = find_landmarks(images[3]), find_landmarks_batch(images)[3]
    assert alone.disc_x == pytest.approx(together.disc_x, abs=1e-4)
    large = np.kron(images[3], np.ones((3, 3, 1), np.uint8))
    assert find_landmarks(large).disc_x == pytest.approx(alone.disc_x, abs=0.01)


def test_a_black_picture_shows_no_disc():
    assert not find_landmarks(np.zeros((128, 128, 3), np.uint8)).disc_visible


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000


@pytest.fixture
def dataset(tmp_path, phantoms) -> FundusDataset:
    rows, images = phantoms
    images = [*images[:3], np.zeros((160, 160, 3), np.uint8)]
    with DatasetWriter(tmp_path / "eyes", {"name": "eyes"}) as writer:
        for number, image in enumerate(images):
            row = {"file_name": f"images/{number}.png", "patient_id": str(number), "eye": rows[number]["eye"]}
            known = {"disc_x": 0.123, "disc_y": 0.4, "disc_r": 0.05} if number == 0 else {}
            writer.add({**row, **known}, image, {})
    return FundusDataset.open(tmp_path / "eyes")


def test_columns_are_added_and_known_landmarks_stay(dataset):
    table = with_landmarks(dataset, quiet=True).table
    assert table["disc_x"][0] == 0.123 and table["disc_confidence"][0] == 1.0
    assert table["disc_x"][1:3].notna().all() and pd.isna(table["disc_x"][3])
    assert list(table["eye"]) == list(dataset.table["eye"])
    assert {"fovea_x", "fovea_confidence", "centred", "orientation", "orientation_confidence"} <= set(table.columns)


def test_only_images_with_a_visible_disc_are_kept(dataset, tmp_path):
    kept = keep(dataset, tmp_path / "kept", quiet=True)
    assert list(kept.table["file_name"]) == ["images/0.png", "images/1.png", "images/2.png"]
    assert FundusDataset.open(tmp_path / "kept").table["disc_confidence"].astype(float).min() >= 0.5


def test_wrong_words_and_an_empty_result_are_clear_errors(dataset, tmp_path):
    with pytest.raises(UserError, match="visible or any"):
        keep(dataset, tmp_path / "out", disc="maybe")
    with pytest.raises(UserError, match="macula, disc, neither"):
        keep(dataset, tmp_path / "out", centred="nose")
    with pytest.raises(UserError, match="nothing to keep"):
        keep(dataset.subset([3]), tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_real_discs_that_were_never_trained_on_are_found(real_data):
    held_out = marked_discs(FundusDataset.open(real_data / "diaretdb1"), held_out=True)
    share, far = disc_errors(find_landmarks_batch(list(held_out.images.numpy())), held_out.marks.numpy())
    assert share >= 0.9 and far < 0.03
