"""Pictures turned by known maps are put right to the pixel, with all that lies on them."""

from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import read_image
from fundus_synth.preprocess.upright_dataset import upright_dataset
from fundus_synth.runtime.errors import UserError

SPOILT = {
    "ok": lambda p: p, "mirrored": np.fliplr, "upside_down": lambda p: np.rot90(p, 2),
    "turned_clockwise": lambda p: np.rot90(p, -1), "turned_counterclockwise": np.rot90,
}  # fmt: skip
PLACES = {"disc_x": 0.78, "disc_y": 0.48, "fovea_x": 0.45, "fovea_y": 0.52}
# Where each way of spoiling takes a place, (x, y) from the upper left corner.
MOVED = {
    "ok": lambda x, y: (x, y), "mirrored": lambda x, y: (1 - x, y), "upside_down": lambda x, y: (1 - x, 1 - y),
    "turned_clockwise": lambda x, y: (1 - y, x), "turned_counterclockwise": lambda x, y: (y, 1 - x),
}  # fmt: skip
FIELD = np.pad(np.full((50, 64), 255, np.uint8), ((14, 0), (0, 0)))


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (64, 64, 3)).astype(np.uint8)


@pytest.fixture
def dataset(tmp_path) -> FundusDataset:
    """A right eye in each orientation, with given landmarks and a mask of its field, and a picture of noise."""
    with DatasetWriter(tmp_path / "turned", {"name": "turned"}) as writer:
        for number, (state, spoil) in enumerate(SPOILT.items()):
            disc = MOVED[state](PLACES["disc_x"], PLACES["disc_y"])
            fovea = MOVED[state](PLACES["fovea_x"], PLACES["fovea_y"])
            row = {"file_name": f"images/{state}.png", "eye": "right", "patient_id": state, "disc_r": 0.06,
                   **dict(zip(PLACES, (*disc, *fovea), strict=True))}  # fmt: skip
            writer.add(row, spoil(picture(number)), {"fov": np.ascontiguousarray(spoil(FIELD))})
        writer.add({"file_name": "images/noise.png"}, np.zeros((64, 64, 3), np.uint8))
    return FundusDataset.open(tmp_path / "turned")


def test_image_masks_and_landmarks_are_put_right_together(dataset, tmp_path):
    result = upright_dataset(dataset, tmp_path / "out", quiet=True)
    table = result.dataset.table.set_index("file_name")
    for number, state in enumerate(SPOILT):
        index = list(table.index).index(f"images/{state}.png")
        np.testing.assert_array_equal(result.dataset.read(index), picture(number))
        np.testing.assert_array_equal(read_image(result.dataset.mask_path(index, "fov"))[..., 0], FIELD)
        row = table.loc[f"images/{state}.png"]
        assert {name: pytest.approx(row[name]) for name in PLACES} == PLACES
        assert row["orientation"] == "ok" and row["orientation_undone"] == ("" if state == "ok" else state)


def test_what_was_done_is_counted_and_what_cannot_be_told_is_left(dataset, tmp_path):
    result = upright_dataset(dataset, tmp_path / "out", quiet=True)
    assert result.states == {**dict.fromkeys(SPOILT, 1), "unknown": 1} and result.corrected == 4
    assert result.summary()["unknown"] == 1 and result.summary()["images"] == 6
    assert "4 put right" in result.lines()[0] and "1 whose orientation cannot be told" in result.lines()[1]
    for name in ("noise", "ok"):
        one, other = (d.path / "images" / f"{name}.png" for d in (dataset, result.dataset))
        assert one.read_bytes() == other.read_bytes()
    assert list(result.dataset.table["sha256"]) == [result.dataset.image_digests[i] for i in range(6)]


def test_a_second_time_there_is_nothing_to_do(dataset, tmp_path):
    once = upright_dataset(dataset, tmp_path / "once", quiet=True)
    twice = upright_dataset(once.dataset, tmp_path / "twice", quiet=True)
    assert twice.corrected == 0 and twice.states == {"ok": 5, "unknown": 1}
    assert list(twice.dataset.table["orientation_undone"]) == list(once.dataset.table["orientation_undone"])


def test_an_existing_folder_is_refused(dataset, tmp_path):
    with pytest.raises(UserError, match="exists"):
        upright_dataset(dataset, dataset.path, quiet=True)
