from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.image_file import write_image
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.preprocess.camera_file import low_quality, rejected_quality
from fundus_synth.preprocess.pipeline import run
from fundus_synth.preprocess.review import failure_tile


def test_the_circle_is_drawn_where_the_field_is(tmp_path):
    y, x = np.mgrid[:240, :480]
    lit = np.hypot(x - 239.5, y - 119.5) < 100
    write_image(tmp_path / "eye.png", np.where(lit[..., None], (150, 80, 40), 0).astype(np.uint8))
    red, green, blue = failure_tile(tmp_path / "eye.png").astype(int).transpose(2, 0, 1)
    rows, columns = np.nonzero((green > red + 40) & (green > blue + 40))
    assert len(rows) > 100 and abs(np.hypot(rows - 119.5, columns - 119.5) - 50).max() < 2.5


def test_dark_files_are_lightened_and_unreadable_ones_are_grey(tmp_path):
    write_image(tmp_path / "dark.png", np.full((50, 50, 3), 4, np.uint8))
    assert failure_tile(tmp_path / "dark.png")[120, 120].min() > 40
    (tmp_path / "text.jpg").write_text("no picture")
    assert (failure_tile(tmp_path / "text.jpg") == 90).all()


def test_quality_is_read_back_from_its_reason():
    assert rejected_quality(low_quality(0.3127, 0.4, "too dark")) == pytest.approx(0.313)
    assert rejected_quality("is empty (0 bytes)") is None


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    write_phantom_dataset(folder / "camera", 3, size=160, seed=3, standardized=False, workers=1, quiet=True)
    (folder / "camera/images/broken.png").write_text("text")
    table = pd.read_csv(folder / "camera/metadata.csv", dtype=str)
    broken = table.iloc[:1].assign(file_name="images/broken.png")
    pd.concat([table, broken]).to_csv(folder / "camera/metadata.csv", index=False)
    return folder / "camera"


def test_pages_lie_beside_the_dataset(photographs, tmp_path):
    whole = run(photographs, tmp_path / "all", size=96, workers=0, quiet=True)
    assert [page.name for page in whole.pages] == ["all-rejected.html"]
    assert "broken.png: is not an image" in whole.pages[0].read_text()
    scores = whole.dataset.table["quality"].sort_values()
    assert scores.between(0, 1).all()
    limit = float(scores.iloc[2:4].mean())
    strict = run(photographs, tmp_path / "good", size=96, min_quality=limit, workers=0, quiet=True)
    assert [page.name for page in strict.pages] == ["good-rejected.html", "good-quality.html"]
    assert len(strict.dataset) == len(scores) - 3 and len(strict.rejected) == 4
    assert f"{len(scores) - 3} images kept, 3 dropped" in strict.pages[1].read_text()
    assert not list((tmp_path / "good").glob("*.html"))
