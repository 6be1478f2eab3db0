"""landmarks, keep, upright, register, and the options of run that shape its images."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset


@pytest.fixture(scope="module")
def standardized(tmp_path_factory):
    from fundus_synth.data.phantom.cohort import write_phantom_dataset

    folder = tmp_path_factory.mktemp("eyes") / "eyes"
    write_phantom_dataset(folder, 4, size=128, seed=5, classes=("normal",), workers=1, quiet=True)
    table = FundusDataset.open(folder)
    table.table = table.table.drop(columns=["disc_x", "disc_y", "disc_r", "fovea_x", "fovea_y"])
    table.save_table()
    return folder


@pytest.fixture
def eyes(standardized, tmp_path):
    shutil.copytree(standardized, tmp_path / "eyes")
    return tmp_path / "eyes"


def test_landmarks_keep_register(call, eyes, tmp_path):
    done = call("fundus-preprocess", "landmarks", "eyes", "--quiet", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["disc visible"] == 4
    table = FundusDataset.open(eyes).table
    right = table["eye"] == "right"
    assert (table["disc_x"][right] > table["fovea_x"][right]).all()
    done = call("fundus-preprocess", "keep", "eyes", "kept", "--disc", "visible", "--quiet")
    assert done.code == 0 and "4 of 4" in done.out, done.err
    done = call("fundus-preprocess", "register", "eyes", "registered", "--size", 96, "--quiet")
    assert done.code == 0, done.err
    moved = FundusDataset.open(tmp_path / "registered")
    assert moved.table["disc_x"].nunique() == moved.table["fovea_x"].nunique() == 1 and moved.read(0).shape == (
        96,
        96,
        3,
    )
    done = call("fundus-preprocess", "keep", "eyes", "none", "--centred", "nose")
    assert done.code == 2 and "nose" in done.err


def test_upright(call, eyes, tmp_path):
    for path in (eyes / "images").iterdir():
        Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    done = call("fundus-preprocess", "upright", "eyes", "turned", "--quiet", "--json")
    assert done.code == 0, done.err
    assert len(FundusDataset.open(tmp_path / "turned")) == 4


def test_run_with_a_preset_and_jpeg(call, camera_frames, tmp_path):
    words = ("run", camera_frames, "eyes", "--preset", "anemia", "--output-format", "jpg", "--quiet", "--workers", 1)
    done = call("fundus-preprocess", *words, "--json")
    assert done.code == 0, done.err
    eyes = FundusDataset.open(tmp_path / "eyes")
    assert eyes.table["file_name"].str.endswith(".jpg").all() and eyes.read(0).shape == (224, 224, 3)
    assert np.isfinite(eyes.table["quality"]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--preset", "amd"), "anemia, dr, odir"),
        (("--output-format", "bmp"), "png, jpg, webp"),
        (("--illumination", "retinex"), "gray-world"),
        (("--min-quality", "2"), "min-quality"),
    ],
)
def test_bad_options(call, camera_frames, words, message):
    done = call("fundus-preprocess", "run", camera_frames, "eyes", *words)
    assert done.code == 2 and message in done.err
