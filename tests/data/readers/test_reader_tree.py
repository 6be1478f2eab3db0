from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.readers import READERS, read_collection
from fundus_synth.data.readers.tree import by_stem, find_files, first_lines, join_by_split, split_of, stem_key
from fundus_synth.runtime.errors import UserError

MINE = ("messidor", "messidor2", "idrid", "rfmid")


@pytest.fixture(scope="module")
def fakes(tmp_path_factory):
    out = tmp_path_factory.mktemp("fakes")
    return {name: write_fake_collection(name, out / name, FakeEyes(count=4, size=48)) for name in MINE}


@pytest.mark.parametrize("name", MINE)
def test_no_other_reader_takes_it(fakes, name):
    taken = {other for other in (*MINE, "odir", "aptos", "eyepacs", "sankara") if READERS[other].detect(fakes[name])}
    assert taken == {name}


def test_two_collections_in_one_folder_are_not_one(fakes, tmp_path):
    for name in ("messidor", "rfmid"):
        shutil.copytree(fakes[name], tmp_path / "all" / name)
    assert not any(READERS[name].detect(tmp_path / "all") for name in MINE)
    with pytest.raises(UserError, match="holds several collections"):
        read_collection(tmp_path / "all")
    assert read_collection(tmp_path / "all", "rfmid").root == tmp_path / "all" / "rfmid"


def test_real_folders_of_others_are_not_taken(real_data):
    for folder in ("odir_as_downloaded", "eyepacs", "diaretdb1", "drive", "camera_frames", "tables"):
        assert [name for name in ("messidor", "messidor2", "idrid") if READERS[name].detect(real_data / folder)] == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("IMAGES/20051020_43808_0100_PP.TIF", "20051020_43808_0100_pp"),
        (r"C:\eyes\IM1.JPG ", "im1"),
        ("IDRiD_001", "idrid_001"),
        ("v1.2", "v1.2"),
        ("", ""),
    ],
)
def test_stem_key(name, key):
    assert stem_key(name) == key


@given(st.text("abcXYZ019_-. ", min_size=1).filter(lambda s: s.strip() == s and s.strip(".")))
def test_stem_key_forgets_suffix_and_case_only(stem):
    assert stem_key(f"{stem}.png") == stem_key(f"folder/{stem.upper()}.JPG") == stem.casefold()


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("a. Training Set/1.png", "train"),
        ("b. Testing Set/1.png", "test"),
        ("Evaluation_Set/Evaluation_Set/Validation/1.png", "val"),
        ("train/test/1.png", "test"),
        ("latest/interval/trainees/values/1.png", ""),
        ("RFMiD_Training_Preprocessed/1.png", "train"),
        ("test.png", ""),
    ],
)
def test_split_of(path, split):
    root = Path("/somewhere/testing")  # what lies above the collection says nothing
    assert split_of(root / path, root) == split


def test_by_stem_keeps_the_first():
    paths = [Path("a/1.png"), Path("b/1.JPG"), Path("b/2.png")]
    assert by_stem(paths) == ({"1": paths[0], "2": paths[2]}, [paths[1]])


def test_find_files_looks_at_whole_names(tmp_path):
    for name in ("x/Labels.CSV", "x/labels.csv.bak", "__MACOSX/labels.csv", "old_labels.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_files(tmp_path, r"labels\.csv") == [tmp_path / "x" / "Labels.CSV"]


def test_first_lines(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfID,x\r\n\xff1,2\n")
    assert first_lines(tmp_path / "t.csv") == ["ID,x", "�1,2"]
    assert first_lines(tmp_path / "t.csv", 3)[2] == ""


def test_join_by_split_leaves_nothing_unsaid(tmp_path):
    names = ("train/1.png", "train/x/1.jpg", "train/2.png", "test/1.png", "3.png")
    pictures = [tmp_path / name for name in names]
    matched, ignored = join_by_split({"train": {"1": {"a": 1}, "9": {}}, "val": {}}, pictures, tmp_path)
    assert matched == [("train", pictures[0], {"a": 1})]
    assert dict(ignored) == {
        "train/9": "no picture",
        "train/2.png": "no row in the table of its set",
        "train/x/1.jpg": "the same name again in another file",
        "test/1.png": "its set has no table",
        "3.png": "its set has no table",
    }
