import shutil

import numpy as np
import pytest

from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.judging import dataset_features as module
from fundus_synth.synth.judging.dataset_features import dataset_features


class Means:
    """Means of the channels; remembers how many images it was asked for."""

    name, version, size, dimensions, feature_names = "means", "1", 64, 3, None
    standardized, in_processes = False, False

    def __init__(self):
        self.asked = 0

    def features(self, images):
        self.asked += len(images)
        return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def dataset(tmp_path) -> FundusDataset:
    """70 random images of 80 x 60 pixels, the last the same as the first."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (69, 80, 60, 3), dtype=np.uint8)
    with DatasetWriter(tmp_path / "set", {"name": "set"}) as writer:
        for i, image in enumerate([*images, images[0]]):
            writer.add({"file_name": f"images/{i}.png"}, image)
    return FundusDataset.open(tmp_path / "set")


def test_features_of_every_image_in_the_table_s_order(dataset):
    expected = Means().features(np.stack([fit_square(dataset.read(i), 64) for i in range(70)]))
    space = Means()
    found = dataset_features(space, dataset, 64)
    assert found.dtype == np.float32 and np.array_equal(found, expected) and space.asked == 69
    turned = dataset.subset(np.arange(70)[::-1])
    assert np.array_equal(dataset_features(space, turned, 64), expected[::-1]) and space.asked == 69


def test_they_are_kept_by_content_and_size_not_by_path(dataset, tmp_path):
    dataset_features(Means(), dataset, 64)
    shutil.move(dataset.path, tmp_path / "moved")
    space = Means()
    dataset_features(space, FundusDataset.open(tmp_path / "moved"), 64)
    assert space.asked == 0
    dataset_features(space, FundusDataset.open(tmp_path / "moved"), 65)
    assert space.asked == 69


def test_what_was_measured_before_an_interruption_is_kept(dataset, monkeypatch):
    monkeypatch.setattr(module, "_KEEP_EVERY", 32)
    (dataset.path / "images" / "40.png").write_bytes(b"no image")
    table = dataset.table.assign(sha256="")
    broken = FundusDataset(dataset.path, dataset.info, table)
    with pytest.raises(UserError, match="40.png"):
        dataset_features(Means(), broken, 64)
    space = Means()
    dataset_features(space, broken.subset(np.arange(32)), 64)
    assert space.asked == 0


def test_a_file_that_was_changed_is_named(dataset):
    (dataset.path / "images" / "3.png").write_bytes((dataset.path / "images" / "4.png").read_bytes())
    with pytest.raises(UserError, match=r"images/3.png: is not the image that metadata.csv was written for"):
        dataset_features(Means(), dataset, 64)
