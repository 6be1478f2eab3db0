"""Bad input: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset

RUN = ("fundus-preprocess", "run")


def refused(done, *parts: str) -> None:
    """Exit code 2, a single line, and these parts in it."""
    lines = [line for line in done.err.splitlines() if line.startswith("error:")]
    assert done.code == 2 and len(lines) == 1 and "Traceback" not in done.err, done.err
    for part in parts:
        assert part in lines[0]


@pytest.fixture
def broken(eyes, tmp_path):
    """A copy of the dataset whose first row can be changed."""
    shutil.copytree(eyes, tmp_path / "broken")

    def change(**values):
        path = tmp_path / "broken" / "metadata.csv"
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name, value in values.items():
            table.loc[0, name] = value
        table.to_csv(path, index=False)
        return tmp_path / "broken"

    return change


def train(call, data, label="anemic"):
    return call("fundus-synth", "train", "--data", data, "--class", label, "--steps", 1, "--out", "out", "--quiet")


def test_no_such_class(call, eyes, tmp_path):
    refused(train(call, eyes, "anaemia"), "anaemia", "normal (20)", "anemic (20)", "diabetes (20)")
    assert not (tmp_path / "out").exists()


def test_output_that_nobody_reads_any_more_ends_it_without_a_word():
    code = "from fundus_synth.cli.show import show; show(False, {}, *['a line of a long table'] * 10_000)"
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


def test_class_with_fewer_than_eight_images(call, eyes, tmp_path):
    dataset = FundusDataset.open(eyes)
    labels = dataset.table["label"].copy()
    labels[np.flatnonzero(labels == "anemic")[5:]] = "other"
    shutil.copytree(eyes, tmp_path / "few")
    FundusDataset(tmp_path / "few", {}, dataset.table.assign(label=labels, split="")).save_table()
    refused(train(call, tmp_path / "few"), "anemic", "5", "8")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"file_name": "images/gone.png"}, ["metadata.csv, row 2", "images/gone.png"]),
        ({"grade": "9"}, ["metadata.csv, row 2", "grade is '9'", "0 to 4"]),
        ({"hemoglobin_g_dl": "132"}, ["metadata.csv, row 2", "g/L", "13.2 g/dL"]),
        ({"sex": "m"}, ["metadata.csv, row 2", "female or male"]),
    ],
)
def test_bad_rows(call, broken, tmp_path, values, parts):
    data = broken(**values)
    refused(train(call, data), *parts)
    refused(call("fundus-preprocess", "split", data), *parts)
    refused(call("fundus-classify", "train", "--data", data, "--steps", 1, "--out", "out"), *parts)
    assert not (tmp_path / "out").exists()


def test_patient_in_two_splits(call, broken, eyes):
    table = FundusDataset.open(eyes).table
    here = table["split"][0]
    data = broken(split="test" if here != "test" else "train")
    refused(train(call, data), table["patient_id"][0], "one split")


def test_empty_and_missing_folders(call, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(call(*RUN, "empty", "out"), "empty", "is empty")
    refused(call(*RUN, "nowhere", "out"), "nowhere", "no such folder")
    refused(train(call, "empty"), "empty", "is empty")
    assert not (tmp_path / "out").exists()


def test_unreadable_files_are_set_aside_and_the_rest_goes_on(call, camera_frames, tmp_path):
    """Truncated, text and empty files are rejected by name; grey, 16-bit, CMYK, RGBA and turned ones are read."""
    src = tmp_path / "camera"
    src.mkdir()
    good = sorted((camera_frames / "images").iterdir())[0]
    image = Image.open(good)
    shutil.copy(good, src / "ein Auge – 眼 (1).png")
    image.convert("L").save(src / "grey.png")
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(src / "deep.png")
    image.convert("CMYK").save(src / "cmyk.jpg", quality=95)
    image.convert("RGBA").save(src / "rgba.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(src / "turned.jpg", exif=exif, quality=95)
    image.save(src / "short.jpg")
    os.truncate(src / "short.jpg", os.path.getsize(src / "short.jpg") // 2)
    (src / "text.jpg").write_text("not a picture")
    (src / "zero.jpg").touch()
    (src / "notes.txt").write_text("about the camera")
    Image.new("RGB", (128, 128)).save(src / "black.png")
    done = call(*RUN, "camera", "out", "--size", 64, "--workers", 1, "--quiet")
    assert done.code == 0, done.err
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv").set_index("camera_file")["reason"]
    assert set(rejected.index) == {"short.jpg", "text.jpg", "zero.jpg", "black.png"}
    assert "truncated" in rejected["short.jpg"] and "empty" in rejected["zero.jpg"] and "text" in rejected["text.jpg"]
    assert (tmp_path / "out" / "ignored.csv").read_text().splitlines()[1:] == ["notes.txt,not an image"]
    kept = FundusDataset.open(tmp_path / "out")
    assert set(kept.table["camera_file"]) == {
        "ein Auge – 眼 (1).png",
        "grey.png",
        "deep.png",
        "cmyk.jpg",
        "rgba.png",
        "turned.jpg",
    }
    rows = {row["camera_file"]: i for i, row in kept.table.iterrows()}
    upright, turned = kept.read(rows["ein Auge – 眼 (1).png"]).astype(int), kept.read(rows["turned.jpg"]).astype(int)
    assert np.abs(np.rot90(upright, -1) - turned).mean() < 6


def test_nothing_readable_at_all(call, tmp_path):
    (tmp_path / "camera").mkdir()
    (tmp_path / "camera" / "a.jpg").write_text("not a picture")
    refused(call(*RUN, "camera", "out", "--quiet"), "camera")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial"))


def test_existing_output_is_not_overwritten(call, camera_frames, eyes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    refused(call(*RUN, camera_frames, "out", "--quiet"), "out", "already exists")
    refused(train(call, eyes), "out", "already exists")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95junk", b"PK\x03\x04" + bytes(64), os.urandom(200)])
def test_a_checkpoint_that_is_not_ours(call, eyes, tmp_path, content):
    folder = tmp_path / "foreign"
    folder.mkdir()
    refused(call("fundus-synth", "generate", "foreign", "--count", 1, "--out", "made"), "foreign")
    (folder / "generator.safetensors").write_bytes(content)
    (folder / "generator.json").write_text("{}")
    refused(call("fundus-synth", "generate", "foreign", "--count", 1, "--out", "made"), "foreign")
    (folder / "classifier.safetensors").write_bytes(content)
    (folder / "classifier.json").write_text('{"kind": "something else"}')
    refused(call("fundus-classify", "predict", "foreign", eyes / "images"), "foreign")
    refused(call("fundus-classify", "evaluate", "foreign", "--data", eyes), "foreign")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--arms", "default,magic"], "magic"),
        (["--arms", "gan:lots"], "gan:lots"),
        (["--arms", "default,default"], "twice"),
        (["--classes", "normal,unicorn"], "unicorn"),
        (["--classes", "normal"], "two classes"),
        (["--target", "height"], "height"),
        (["--backbone", "resnet19"], "resnet18"),
        (["--device", "abacus"], "abacus"),
        (["--precision", "8"], "precision"),
        (["--ratios", "1,2,3"], "ratios"),
        (["--ratios", "a,b,c"], "ratios"),
    ],
)
def test_bad_options_of_a_comparison(call, camera_frames, tmp_path, words, part):
    done = call("fundus-classify", "compare-augmentations", "--data", camera_frames, "--epochs", 1, "--seeds", 1,
                "--out", "out", "--quiet", *words)  # fmt: skip
    refused(done, part)
    assert not (tmp_path / "out").exists()
