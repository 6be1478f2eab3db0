from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fundus_synth.classify.predictions import (
    predict,
    predict_images,
    prediction_table,
    read_predictions,
    seed_predictions,
    write_predictions,
)
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError

CLASSES = ("normal", "anemic")


class _Brightness(nn.Module):
    """Logits (0, mean red of the image)."""

    classes = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, 0].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(red), red], dim=1)


def test_probabilities_by_hand_and_in_order():
    images = np.zeros((7, 4, 4, 3), np.uint8)
    images[:, ..., 0] = np.arange(0, 70, 10)[:, None, None]
    found = predict_images(_Brightness(), images, batch_size=3)
    assert found.shape == (7, 2) and found.dtype == np.float64
    np.testing.assert_allclose(found[:, 1], 1 / (1 + np.exp(-np.arange(0, 70, 10) / 255)), atol=1e-7)


class _LeftHalf(nn.Module):
    """Logits (0, 4 x mean red of the left half)."""

    classes = 2

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = 4 * images[:, 0, :, : images.shape[3] // 2].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(red), red], dim=1)


def test_test_time_augmentation_is_the_mean_with_the_mirror_image():
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    left, right = (predict_images(_LeftHalf(), view) for view in (images, images[:, :, ::-1]))
    found = predict_images(_LeftHalf(), images, batch_size=2, tta=True)
    np.testing.assert_allclose(found, (left + right) / 2, atol=1e-12)
    assert np.abs(found - left).max() > 1e-3


def test_no_images_no_rows():
    assert predict_images(_Brightness(), np.zeros((0, 4, 4, 3), np.uint8)).shape == (0, 2)


def test_camera_files_and_files_with_problems(toy_run, camera_file, tmp_path):
    camera_file(tmp_path / "é 1.png", 160)
    (tmp_path / "text.jpg").write_text("not a photograph")
    (tmp_path / "notes.txt").write_text("ignored")
    table = predict(toy_run, [tmp_path], device="cpu", quiet=True)
    assert list(table) == ["file", "predicted", "p_normal", "p_anemic", "problem"]
    good, bad = table.iloc[1], table.iloc[0]
    assert good["predicted"] in ("normal", "anemic") and good["problem"] == ""
    assert good["p_normal"] + good["p_anemic"] == pytest.approx(1)
    assert bad["predicted"] == "" and np.isnan(bad["p_normal"]) and bad["problem"]


def test_nothing_usable_is_an_error(toy_run, tmp_path):
    (tmp_path / "text.jpg").write_text("not a photograph")
    with pytest.raises(UserError, match="text.jpg"):
        predict(toy_run, [tmp_path / "text.jpg"], device="cpu", quiet=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image file"):
        predict(toy_run, [tmp_path / "empty"], device="cpu", quiet=True)
    with pytest.raises(UserError, match="holds no classifier"):
        predict(tmp_path, [tmp_path], device="cpu", quiet=True)


@pytest.fixture
def table() -> pd.DataFrame:
    rows = {"file_name": ["a.png", "b, ü.png"], "patient_id": ["p-1", "p-2"], "split": ["val", "test"]}
    dataset = FundusDataset(None, {}, pd.DataFrame(rows))
    return prediction_table(dataset, np.array([0, 1]), np.array([[0.25, 0.75], [1 / 3, 2 / 3]]), CLASSES)


def test_one_row_an_image(table):
    assert list(table) == ["file_name", "patient_id", "split", "true", "predicted", "p_normal", "p_anemic"]
    assert table["true"].tolist() == ["normal", "anemic"] and table["predicted"].tolist() == ["anemic", "anemic"]


def test_what_is_written_is_read(table, tmp_path):
    write_predictions(tmp_path / "predictions.csv", table)
    back, classes = read_predictions(tmp_path / "predictions.csv")
    assert classes == CLASSES
    run, again = seed_predictions(table, CLASSES), seed_predictions(back, classes)
    np.testing.assert_array_equal(run.true, again.true)
    np.testing.assert_allclose(run.probabilities, again.probabilities, atol=1e-8)
    assert again.patients.tolist() == ["p-1", "p-2"]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "\x00\x01"])
def test_files_that_are_no_predictions(tmp_path, content):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(UserError, match="p.csv"):
        read_predictions(tmp_path / "p.csv")


def test_a_class_without_a_column_names_its_row(table, tmp_path):
    table.loc[1, "true"] = "cataract"
    write_predictions(tmp_path / "p.csv", table)
    with pytest.raises(UserError, match="row 3.*'cataract'.*normal, anemic"):
        read_predictions(tmp_path / "p.csv")
