from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fundus_synth.data.cache import fit_square, image_cache
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE", str(tmp_path / "cache"))


def test_pixels_are_those_of_the_files(small_dataset):
    pixels = image_cache(small_dataset, 16)
    assert pixels.dtype == np.uint8 and pixels.shape == (12, 16, 16, 3) and not pixels.flags.writeable
    for i in range(12):
        np.testing.assert_array_equal(pixels[i], small_dataset.read(i))


def test_shrinking_averages_areas(small_dataset):
    pixels = image_cache(small_dataset, 4)
    blocks = small_dataset.read(3).reshape(4, 4, 4, 4, 3).mean((1, 3))
    assert np.abs(pixels[3] - blocks).max() <= 0.5


def test_no_file_is_decoded_twice(small_dataset, monkeypatch):
    image_cache(small_dataset, 8)
    monkeypatch.setattr(FundusDataset, "read", lambda self, i: pytest.fail("decoded again"))
    image_cache(FundusDataset.open(small_dataset.path), 8)


def test_subset_and_order_have_their_own(small_dataset):
    whole = image_cache(small_dataset, 8)
    np.testing.assert_array_equal(image_cache(small_dataset.subset([5, 2]), 8), whole[[5, 2]])


def test_a_broken_image_leaves_nothing(small_dataset):
    os.truncate(small_dataset.image_path(7), 40)
    with pytest.raises(UserError, match=r"07\.png"):
        image_cache(small_dataset, 8)
    assert list(Path(os.environ["FUNDUS_CACHE"]).iterdir()) == []


def test_circles_stay_circles():
    frame = np.zeros((100, 160, 3), np.uint8)
    cv2.circle(frame, (80, 50), 40, (255, 255, 255), -1)
    square = fit_square(frame, 80)[..., 0] > 127
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 1 and abs(np.ptp(rows) + 1 - 40) <= 1
