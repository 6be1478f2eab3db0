from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import read_image
from fundus_synth.preprocess import pipeline
from fundus_synth.preprocess.camera_file import process
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file

# The frames here are plain discs, which are rightly taken for no retina.
run = partial(pipeline.run, all_kinds=True)


def _tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _save(image: np.ndarray, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


@pytest.fixture
def eyes(tmp_path, frame):
    """Two class folders with 12 camera frames each."""
    for label in ("normal", "cataract"):
        for i in range(12):
            x, y = 130 + i, 100 - i
            _save(frame(200, 260, x, y, 85 + i, seed=i), tmp_path / "eyes" / label / f"{label}_{i:02d}.png")
    return tmp_path / "eyes"


def test_dataset_of_standardised_images(eyes, tmp_path):
    result = run(eyes, tmp_path / "out", size=64, workers=0, quiet=True)
    dataset = FundusDataset.open(tmp_path / "out")
    assert dataset.class_counts() == {"normal": 12, "cataract": 12}
    assert list(dataset.table["camera_file"]) == sorted(dataset.table["camera_file"])
    for index, row in dataset.table.iterrows():
        image = read_image(eyes / row["camera_file"])
        expected = standardize(image, 64)
        assert np.array_equal(dataset.read(index), expected.image)
        assert (row["fov_x"], row["fov_y"], row["fov_r"]) == (expected.fov.x, expected.fov.y, expected.fov.radius)
        assert (row["camera_width"], row["camera_height"]) == (260, 200)
        assert row["fov_confidence"] > 0.9
        assert row["sha256"] == sha256_file(dataset.image_path(index))
    assert dataset.info["image_size"] == 64 and dataset.info["camera_files"] == 24
    assert not (tmp_path / "out" / "rejected.csv").exists()
    assert result.summary()["images"] == 24 and result.rejected == []
    assert "24 images" in result.lines()[0]


def test_cut_circles_have_a_mask_and_whole_ones_do_not(tmp_path, frame):
    _save(frame(200, 260, 130, 100, 90), tmp_path / "eyes" / "whole.png")
    _save(frame(200, 260, 130, 100, 120), tmp_path / "eyes" / "cut.png")
    dataset = run(tmp_path / "eyes", tmp_path / "out", size=64, workers=0, quiet=True).dataset
    assert _names(tmp_path / "out/masks/fov") == ["cut.png"]
    mask = read_image(tmp_path / "out/masks/fov/cut.png")[..., 0]
    cut = list(dataset.table["file_name"]).index("images/cut.png")
    assert not dataset.read(cut)[mask == 0].any()
    assert not mask[:4].any() and mask[8, 32] == 255


def test_every_kind_of_file(tmp_path, frame):
    src = tmp_path / "eyes"
    eye = frame(200, 260, 140, 100, 90)
    grey = eye[..., 0]
    _save(eye, src / "good.jpg", quality=95)
    _save(grey, src / "grey.png")
    _save(grey.astype(np.uint16) * 257, src / "sixteen.png")
    _save(np.dstack([eye, np.full(grey.shape, 255, np.uint8)]), src / "rgba.png")
    Image.fromarray(eye).convert("CMYK").save(src / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(eye).copy()).save(src / "turned.jpg", quality=95, exif=exif)
    _save(eye, src / "глаз 左眼 no 1.png")
    whole = (src / "good.jpg").read_bytes()
    (src / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (src / "text.jpg").write_text("not an image")
    (src / "empty.jpg").write_bytes(b"")
    _save(np.random.default_rng(0).integers(0, 256, (200, 260, 3)).astype(np.uint8), src / "noise.png")
    result = run(src, tmp_path / "out", size=64, workers=0, quiet=True)
    table = result.dataset.table.set_index("camera_file")
    assert set(table.index) == {
        "good.jpg", "grey.png", "sixteen.png", "rgba.png", "cmyk.jpg", "turned.jpg", "глаз 左眼 no 1.png"
    }  # fmt: skip
    assert table.loc["глаз 左眼 no 1.png", "file_name"] == "images/глаз 左眼 no 1.png"
    assert np.allclose(table["fov_r"], 90, atol=1) and np.allclose(table["fov_x"], 140, atol=1)
    assert (table["camera_width"] == 260).all()
    with open(tmp_path / "out" / "rejected.csv", newline="", encoding="utf-8") as stream:
        rejected = {row["camera_file"]: row["reason"] for row in csv.DictReader(stream)}
    assert set(rejected) == {"truncated.jpg", "text.jpg", "empty.jpg", "noise.png"} == {f for f, _ in result.rejected}
    for name, word in (("truncated", "truncated"), ("text", "text"), ("empty", "empty")):
        assert word in rejected[f"{name}.jpg"]
    assert "field of view" in rejected["noise.png"]
    assert not any(str(tmp_path) in reason for reason in rejected.values())


def test_nothing_usable_is_one_error_and_leaves_nothing(tmp_path):
    (tmp_path / "eyes").mkdir()
    (tmp_path / "eyes" / "a.jpg").write_text("text")
    with pytest.raises(UserError, match=r"none of 1 files is usable.*a\.jpg"):
        run(tmp_path / "eyes", tmp_path / "out", size=64, workers=0, quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["eyes"]


def test_finished_or_nested_out_is_refused(eyes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "note.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        run(eyes, tmp_path / "out", size=64, workers=0, quiet=True)
    with pytest.raises(UserError, match="inside"):
        run(eyes, eyes / "out", size=64, workers=0, quiet=True)
    with pytest.raises(UserError, match="graham"):
        run(eyes, tmp_path / "other", illumination="retinex", workers=0, quiet=True)
    assert (tmp_path / "out" / "note.txt").read_text() == "mine"


def test_same_stem_in_two_folders(tmp_path, frame):
    for name in ("a/eye.png", "b/eye.png", "b/eye.jpg", "c/EYE.png"):
        _save(frame(100, 120, 60, 50, 45), tmp_path / "eyes" / name)
    dataset = run(tmp_path / "eyes", tmp_path / "out", size=48, workers=0, quiet=True).dataset
    assert list(dataset.table["camera_file"]) == ["a/eye.png", "b/eye.jpg", "b/eye.png", "c/EYE.png"]
    assert list(dataset.table["file_name"]) == [
        "images/eye.png", "images/b-eye.png", "images/eye-2.png", "images/c-EYE.png"
    ]  # fmt: skip


def test_labels_masks_and_landmarks_of_a_dataset_folder_come_along(tmp_path, frame):
    src = tmp_path / "set"
    _save(frame(200, 260, 140, 100, 90), src / "images" / "one.png")
    vessels = np.zeros((200, 260), np.uint8)
    vessels[90:110, 130:150] = 255
    _save(vessels, src / "masks" / "vessels" / "one.png")
    header, row = "file_name,patient_id,grade,note,disc_x,disc_y,disc_r", "images/one.png,p-1,2,kept,0.5,0.4,0.05"
    (src / "metadata.csv").write_text(f"{header}\n{row}\n")
    dataset = run(src, tmp_path / "out", size=90, workers=0, quiet=True).dataset
    row = dataset.table.iloc[0]
    assert (row["patient_id"], row["grade"], row["note"]) == ("p-1", 2, "kept")
    # The circle's square is 50..230 x 10..190, so half of the camera file's 180 pixels a pixel here.
    assert (row["disc_x"], row["disc_y"]) == pytest.approx(((130 - 50) / 180, (104 - 10) / 180), abs=1e-6)
    assert row["disc_r"] == pytest.approx(13 / 180, abs=1e-6)
    mask = read_image(tmp_path / "out/masks/vessels/one.png")[..., 0]
    expected = np.zeros((90, 90), np.uint8)
    expected[40:50, 40:50] = 255
    assert np.array_equal(mask, expected)


def test_what_was_recognised_noted_and_left_out_is_said_and_kept(tmp_path, frame):
    src = tmp_path / "eyes"
    for name in ("amd/one.png", "two.png"):
        _save(frame(100, 120, 60, 50, 45), src / name)
    for name in ("a.txt", "b.txt", "c.zip"):
        (src / name).write_text("x")
    result = run(src, tmp_path / "out", size=48, workers=0, quiet=True)
    found, note, *_, left_out = result.lines()
    assert found.endswith("out: 2 images, read as folder (1 class folder): amd (1)")
    assert note == "NOTE: 1 pictures lie in no class folder and have no label."
    assert f"3 left out: not an image (2), {result.ignored[2][1]} (1); all in" in left_out
    info = FundusDataset.open(tmp_path / "out").info
    assert (info["read_from"], info["format"], info["recognised"]) == ("eyes", "folder", "1 class folder")
    assert info["notes"] == result.summary()["notes"] == [note.removeprefix("NOTE: ")]


def test_a_mask_of_another_size_rejects_its_image(tmp_path, frame):
    for name in ("one", "two"):
        _save(frame(200, 260, 140, 100, 90), tmp_path / "set/images" / f"{name}.png")
    _save(np.zeros((20, 26), np.uint8), tmp_path / "set/masks/vessels/one.png")
    result = run(tmp_path / "set", tmp_path / "out", size=64, workers=0, quiet=True)
    assert result.rejected == [
        ("images/one.png", "mask vessels/one.png: the mask is 26 x 20 pixels, its image 260 x 200")
    ]


def test_any_number_of_workers_makes_the_same_bytes(eyes, tmp_path):
    (eyes / "broken.png").write_text("text")
    for workers in range(3):
        run(eyes, tmp_path / str(workers), size=48, workers=workers, quiet=True)
    assert _tree(tmp_path / "0") == _tree(tmp_path / "1") == _tree(tmp_path / "2")


# Says each step and waits for leave to take it: the kill falls where the test wants it, however loaded the machine is.
_RUN = """
import sys
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.preprocess.camera_file import process
from fundus_synth.preprocess.pipeline import run
add = DatasetWriter.add
def gated(self, row, *rest):
    add(self, row, *rest)
    print(row["file_name"], flush=True)
    sys.stdin.readline()
DatasetWriter.add = gated
if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], size=48, workers=2, all_kinds=True, quiet=True)
"""


def test_killed_and_started_again_makes_the_same_bytes(eyes, tmp_path, monkeypatch):
    (eyes / "cataract" / "broken.png").write_text("text")
    partial = _killed_after(14, eyes, tmp_path)
    # What else a kill leaves behind: half a line in the journal, and an atomic write's temporary file.
    with open(partial / "rows.jsonl", "a") as journal:
        journal.write('{"file_name": "images/norm')
    (partial / "images" / ".partial-x.png").write_bytes(b"half")
    (partial / "images" / "cataract_03.png").unlink()
    done = []
    monkeypatch.setattr(
        "fundus_synth.preprocess.pipeline.process", lambda t, recipe: done.append(t) or process(t, recipe)
    )
    run(eyes, tmp_path / "killed", size=48, workers=0, quiet=True)
    # The rejected file and the 14 that were finished are not done again; the one that was lost is.
    assert len(done) == 25 - 1 - 14 + 1 and "broken.png" not in {task.path.name for task in done}
    run(eyes, tmp_path / "whole", size=48, workers=0, quiet=True)
    assert _tree(tmp_path / "killed") == _tree(tmp_path / "whole")


def _killed_after(images: int, eyes: Path, tmp_path: Path) -> Path:
    """The partial folder of a run that was killed when it had added this many images."""
    (tmp_path / "script.py").write_text(_RUN)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", eyes, tmp_path / "killed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    for image in range(images):
        assert process.stdout.readline(), "ended early"
        if image < images - 1:
            process.stdin.write(b"\n")
            process.stdin.flush()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    partial = tmp_path / "killed.partial"
    assert partial.is_dir() and not (tmp_path / "killed").exists()
    return partial


def test_a_partial_run_with_other_options_is_not_continued(eyes, tmp_path):
    partial = tmp_path / "out.partial"
    (partial / "images").mkdir(parents=True)
    (partial / "dataset.json").write_text("{}")
    (partial / "images" / "stray.png").write_bytes(b"")
    run(eyes, tmp_path / "out", size=48, workers=0, quiet=True)
    assert "stray.png" not in _names(tmp_path / "out/images")


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())
