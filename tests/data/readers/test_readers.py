from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import READERS, ReaderOptions, read_collection
from fundus_synth.data.readers.base import list_files, list_images, listed_once
from fundus_synth.runtime.errors import UserError

IMAGE = np.full((8, 8, 3), 90, np.uint8)
ODIR = (
    "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,Left-Diagnostic Keywords,Right-Diagnostic Keywords,"
    "N,D,G,C,A,H,M,O\n7,57,Female,7_left.jpg,7_right.jpg,normal fundus,cataract,0,0,0,1,0,0,0,0\n"
)


def images(folder, *names):
    for name in names:
        write_image(folder / name, IMAGE)


def odir(folder):
    images(folder, "7_left.jpg", "7_right.jpg")
    (folder / "full_df.csv").write_text(ODIR, "utf-8")


def table(folder, *names):
    images(folder, *names)
    (folder / "t.csv").write_text("image,label\n" + "".join(f"{name},amd\n" for name in names))


def test_the_most_particular_reader_comes_first():
    assert list(READERS)[-2:] == ["csv", "folder"]


@pytest.mark.parametrize("format", ["auto", "odir"])
def test_a_collection_some_levels_down_is_found(tmp_path, format):
    odir(tmp_path / "archive" / "ODIR-5K" / "ODIR-5K")
    images(tmp_path, "archive/preview.png")
    found = read_collection(tmp_path, format)
    assert found.info["format"] == "odir"
    assert found.info["recognised"] == "full_df.csv in archive/ODIR-5K/ODIR-5K"
    assert [row["camera_file"] for row in found.rows] == ["7_left.jpg", "7_right.jpg"]
    assert found.ignored == [("archive/preview.png", "outside archive/ODIR-5K/ODIR-5K, which was read")]


def test_a_table_some_levels_down_speaks_for_all_pictures_or_not_at_all(tmp_path):
    table(tmp_path / "archive" / "set", "pics/a.png", "pics/b.png")
    found = read_collection(tmp_path)
    assert (found.info["format"], found.info["recognised"]) == ("csv", "t.csv in archive/set")
    images(tmp_path, "archive/other/c.png")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder" and len(found.rows) == 3
    assert [row["camera_file"] for row in read_collection(tmp_path, "csv").rows] == ["pics/a.png", "pics/b.png"]


def test_two_collections_in_one_folder_are_not_guessed_at(tmp_path):
    odir(tmp_path / "one")
    odir(tmp_path / "two")
    with pytest.raises(UserError, match="holds several collections: odir in one, odir in two. Read them one by one"):
        read_collection(tmp_path)


def test_class_folders_with_a_list_each_stay_class_folders(tmp_path):
    table(tmp_path / "amd", "a.png")
    table(tmp_path / "normal", "b.png")
    found = read_collection(tmp_path)
    assert found.info["format"] == "folder" and [row["label"] for row in found.rows] == ["amd", "normal"]


def test_archives_inside_are_listed(tmp_path):
    images(tmp_path, "amd/a.png")
    (tmp_path / "amd" / "more.zip").write_bytes(b"PK")
    table(tmp_path / "set", "b.png")
    (tmp_path / "set" / "more.tar.gz").write_bytes(b"")
    hint = "an archive inside; unpack it, or read it by itself"
    assert dict(read_collection(tmp_path).ignored)["amd/more.zip"] == hint
    assert dict(read_collection(tmp_path / "set").ignored) == {"more.tar.gz": hint}


@pytest.mark.parametrize(
    ("make", "format", "message"),
    [
        (lambda p: None, "auto", "is empty"),
        (lambda p: (p / "a.txt").write_text("x"), "auto", "no images found"),
        (lambda p: (p / "a.zip").write_text("x"), "auto", r"no images found.*Unpack a\.zip first"),
        (lambda p: (p / "a.txt").write_text("x"), "aptos2", "--format aptos2 is not known. Use auto, odir, .*folder"),
        (lambda p: (p / "t.csv").write_text("a,b\n1,2\n"), "csv", "no image column among a, b"),
        (lambda p: (p / "t.csv").write_bytes(b"\xff\xfe\x00"), "csv", "not UTF-8"),
        (lambda p: (p / "t.csv").write_text("file_name\n"), "csv", "has no rows"),
        (lambda p: (p / "t.csv").write_text("file_name\n\n\n"), "csv", "has no rows"),
        (lambda p: (p / "t.xlsx").write_text("text"), "csv", r"t\.xlsx: cannot be read as an Excel sheet"),
        (lambda p: (p / "a.txt").write_text("x"), "csv", "has 0 tables; expected one"),
    ],
)
def test_bad_sources(tmp_path, make, format, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path, format)


@pytest.mark.parametrize(
    ("name", "message"),
    [("none", "no such folder"), ("a.rar", "is an archive, not a folder"), ("a.zip", "is an archive"),
     ("a.txt", "is not a folder or a table")],
)  # fmt: skip
def test_sources_that_are_no_folder(tmp_path, name, message):
    if name != "none":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        read_collection(tmp_path / name)


def test_a_table_of_the_users_is_used_without_saying_csv(tmp_path):
    images(tmp_path / "src", "amd/a.png")
    (tmp_path / "t.csv").write_text("image,label\namd/a.png,normal\n")
    found = read_collection(tmp_path / "src", options=ReaderOptions(table=tmp_path / "t.csv"))
    assert [row["label"] for row in found.rows] == ["normal"]


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b.png", "B", "masks", ".h", "__MACOSX", "c d", "ä.jpg"]), min_size=1, max_size=4),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(names=NAMES, start=st.sampled_from([".", "a", "masks"]))
def test_listing_agrees_with_pathlib_also_when_remembered(tmp_path_factory, names, start):
    root = tmp_path_factory.mktemp("tree")
    for parts in names:
        path = root.joinpath(*parts)
        if not path.exists() and not any(p.is_file() for p in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    below = [p.relative_to(root) for p in sorted(root.rglob("*")) if p.is_file()]
    seen = [p for p in below if not any(part.startswith(".") or part == "__MACOSX" for part in p.parts)]
    pictures = [p for p in seen if p.suffix in (".png", ".jpg") and "masks" not in p.parts[:-1]]
    here = os.getcwd()
    os.chdir(root)
    try:
        for folder in (root, type(root)(".")):
            assert list_files(folder) == [folder / p for p in seen]
            assert list_images(folder) == [folder / p for p in pictures]
            with listed_once():
                list_files(folder), list_images(folder)
                sub = folder / start
                if sub.is_dir() and start != "masks":
                    assert list_files(sub) == [folder / p for p in seen if (folder / p).is_relative_to(sub)]
                    assert list_images(sub) == [folder / p for p in pictures if (folder / p).is_relative_to(sub)]
    finally:
        os.chdir(here)
        shutil.rmtree(root)


def test_a_folder_is_gone_through_again_in_the_next_reading(tmp_path):
    images(tmp_path, "a.png")
    assert len(read_collection(tmp_path).rows) == 1
    images(tmp_path, "b.png")
    assert len(read_collection(tmp_path).rows) == 2


def test_a_folder_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        list_files(tmp_path)
