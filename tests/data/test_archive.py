from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fundus_synth.data import archive
from fundus_synth.data.archive import opened_source
from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.image_file import encode_image
from fundus_synth.data.readers import read_collection
from fundus_synth.preprocess import pipeline
from fundus_synth.runtime.errors import UserError

IMAGE = encode_image(np.full((8, 8, 3), 90, np.uint8), ".png")


def zipped(path: Path, files: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", **options) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


def of_folder(folder: Path, target: Path, top: str = "") -> Path:
    files = {f"{top}{p.relative_to(folder).as_posix()}": p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return zipped(target, files)


def unpacked(src: Path, scratch: Path) -> dict[str, bytes]:
    with opened_source(src, scratch) as source:
        return {
            p.relative_to(source.folder).as_posix(): p.read_bytes() for p in source.folder.rglob("*") if p.is_file()
        }


def test_a_folder_is_its_own_source(tmp_path):
    with opened_source(tmp_path, tmp_path / "scratch") as source:
        assert (source.folder, source.left_out) == (tmp_path, [])
    assert not (tmp_path / "scratch").exists()


@pytest.fixture(scope="module")
def fakes(tmp_path_factory) -> dict[str, Path]:
    """{layout: the fake collection, in a folder called set}."""
    top = tmp_path_factory.mktemp("fakes")
    layouts = ("folder", "csv", "imagefolder")
    return {layout: write_fake_collection(layout, top / layout / "set", FakeEyes(4, 64)) for layout in layouts}


@pytest.mark.parametrize("layout", ["folder", "csv", "imagefolder"])
@pytest.mark.parametrize("top", ["", "wrapped/"])
def test_reading_an_archive_is_reading_its_folder(fakes, tmp_path, layout, top):
    folder = fakes[layout]
    archive_file = of_folder(folder, tmp_path / "set.zip", top)

    def told(collection, root):
        # What lies a level deeper is found there, and said; everything else is the same.
        rows = [{**row, "path": row["path"].read_bytes()} for row in collection.rows]
        for row in rows:
            row["camera_file"] = row["camera_file"].removeprefix(top)
        return collection.name, rows, [(name.removeprefix(top), reason) for name, reason in collection.ignored]

    with opened_source(archive_file, tmp_path / "out.unpacked") as source:
        found = told(read_collection(source.folder), source.folder)
    expected = told(read_collection(folder), folder)
    if top and layout != "folder":
        expected[1][:] = [{**row, "patient_id": row["patient_id"].replace("set-", "wrapped-")} for row in expected[1]]
        expected = ("wrapped", *expected[1:])
    assert found == expected
    assert not (tmp_path / "out.unpacked").exists()


def test_the_dataset_names_the_archive_and_nothing_is_left_behind(fakes, tmp_path):
    folder = fakes["folder"]
    archive_file = of_folder(folder, tmp_path / "set.zip")
    with zipfile.ZipFile(archive_file, "a") as target:
        target.writestr("photos/more.zip", b"PK")
        target.writestr("__MACOSX/photos/._a.png", b"x")
    result = pipeline.run(archive_file, tmp_path / "out", size=48, workers=0, quiet=True)
    direct = pipeline.run(folder, tmp_path / "direct", size=48, workers=0, quiet=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["direct", "out", "set.zip"]
    assert {**result.dataset.info, "read_from": "set"} == direct.dataset.info
    assert result.dataset.info["read_from"] == "set.zip"
    assert result.dataset.table.equals(direct.dataset.table)
    assert result.ignored == [
        *direct.ignored,
        ("photos/more.zip", "an archive inside; unpack it, or read it by itself"),
    ]
    texts = [p.read_text("utf-8") for p in (tmp_path / "out").iterdir() if p.is_file()]
    assert texts and not any("unpacked" in text for text in texts)


def test_an_error_names_the_file_in_the_archive(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE, "metadata.csv": b"file_name,grade\na.png,9\n"})
    with pytest.raises(UserError) as caught:
        pipeline.run(src, tmp_path / "out", size=48, workers=0, quiet=True)
    assert str(caught.value).startswith(f"{src}/metadata.csv, row 2: grade is '9'")
    assert "unpacked" not in str(caught.value) and sorted(p.name for p in tmp_path.iterdir()) == ["eyes.zip"]


def test_an_interrupted_run_is_continued(tmp_path, monkeypatch):
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE, "b.png": IMAGE, "c.png": IMAGE})
    scratch, written = tmp_path / "out.unpacked", []
    write = archive._write

    def killed_at_the_third(source, entry, target, *rest):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(entry.filename)
        write(source, entry, target, *rest)

    monkeypatch.setattr(archive, "_write", killed_at_the_third)
    with pytest.raises(KeyboardInterrupt), opened_source(src, scratch):
        pass
    monkeypatch.setattr(archive, "_write", write)
    before = {p.name: p.stat().st_mtime_ns for p in (scratch / "eyes").iterdir()}
    assert sorted(before) == ["a.png", "b.png"]
    (scratch / "eyes" / "b.png").write_bytes(IMAGE[:10])
    with opened_source(src, scratch) as source:
        after = {p.name: p.stat().st_mtime_ns for p in source.folder.iterdir()}
        assert after["a.png"] == before["a.png"]
        assert all(p.read_bytes() == IMAGE for p in source.folder.iterdir()) and len(after) == 3
    assert not scratch.exists()


def test_another_archive_begins_anew(tmp_path):
    scratch = tmp_path / "out.unpacked"
    first = zipped(tmp_path / "one.zip", {"a.png": IMAGE})
    with pytest.raises(KeyboardInterrupt), opened_source(first, scratch):
        raise KeyboardInterrupt
    assert (scratch / "one" / "a.png").is_file()
    second = zipped(tmp_path / "two.zip", {"b.png": IMAGE})
    with opened_source(second, scratch) as source:
        assert [p.name for p in scratch.iterdir() if p.is_dir()] == ["two"] and source.folder.name == "two"


def test_a_folder_of_the_users_is_never_removed(tmp_path):
    (tmp_path / "out.unpacked").mkdir()
    (tmp_path / "out.unpacked" / "mine.txt").write_text("mine")
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE})
    with (
        pytest.raises(UserError, match="is there already. Move it away"),
        opened_source(src, tmp_path / "out.unpacked"),
    ):
        pass
    assert (tmp_path / "out.unpacked" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "c:x.png", "..\\x.png", "\\x.png"]
)
def test_entries_that_leave_the_folder_are_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    src = zipped(tmp_path / "in" / "eyes.zip", {"a.png": IMAGE, name: IMAGE})
    with pytest.raises(UserError, match="would be written outside the folder"), opened_source(src, tmp_path / "s"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_links_and_archives_are_left_out_and_hidden_files_too(tmp_path):
    src = zipped(
        tmp_path / "eyes.zip", {"a.png": IMAGE, ".DS_Store": b"x", "__MACOSX/._a.png": b"x", "n/Old.ZIP": b"PK"}
    )
    link = zipfile.ZipInfo("link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(src, "a") as target:
        target.writestr(link, "/etc/passwd")
    with opened_source(src, tmp_path / "s") as source:
        assert [p.name for p in source.folder.rglob("*")] == ["a.png"]
        assert source.left_out == [
            ("n/Old.ZIP", "an archive inside; unpack it, or read it by itself"), ("link.png", "a link, not a file")
        ]  # fmt: skip


def test_names_in_utf8_with_and_without_the_flag_and_in_code_page_437(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {"глаз.png": IMAGE})
    content = src.read_bytes()
    assert unpacked(src, tmp_path / "s").keys() == {"глаз.png"}
    # Bit 11 of the flags says UTF-8; many programs forget it.
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(signature) + offset
        flags = int.from_bytes(content[start : start + 2], "little")
        assert flags & 0x800
        content = content[:start] + (flags & ~0x800).to_bytes(2, "little") + content[start + 2 :]
    src.write_bytes(content)
    assert unpacked(src, tmp_path / "s").keys() == {"глаз.png"}
    src.write_bytes(zipped(tmp_path / "old.zip", {"K_e.png": IMAGE}).read_bytes().replace(b"K_e.png", b"K\x84e.png"))
    assert unpacked(src, tmp_path / "s").keys() == {"Käe.png"}


def test_a_file_added_again_replaces_the_first(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {"t.csv": b"old"})
    with zipfile.ZipFile(src, "a") as target, pytest.warns(UserWarning, match="Duplicate name"):
        target.writestr("t.csv", b"new")
    assert unpacked(src, tmp_path / "s") == {"t.csv": b"new"}


def _flip(content: bytes) -> bytes:
    middle = content.index(IMAGE) + len(IMAGE) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[: len(c) // 2], "is not a .zip file or is damaged"),
        (lambda c: b"text", "is not a .zip file or is damaged"),
        (lambda c: b"", "is not a .zip file or is damaged"),
        (_flip, r"is damaged \(Bad CRC-32 for file 'a.png'\). Download it again"),
        (lambda c: c.replace(b"PK\x03\x04", b"XX\x03\x04"), "is damaged"),
    ],
)
def test_damaged_archives(tmp_path, spoil, message):
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE})
    src.write_bytes(spoil(src.read_bytes()))
    with pytest.raises(UserError, match=message), opened_source(src, tmp_path / "s"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["eyes.zip"]


def test_encrypted_archive(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE})
    content = bytearray(src.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    src.write_bytes(content)
    with (
        pytest.raises(UserError, match="is encrypted. Unpack it with its password"),
        opened_source(src, tmp_path / "s"),
    ):
        pass


def test_unknown_compression(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {"a.png": IMAGE})
    content = bytearray(src.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + offset] = 9  # Deflate64, which Windows makes of large files
    src.write_bytes(content)
    with pytest.raises(UserError, match="compression that is not read.*Unpack it"), opened_source(src, tmp_path / "s"):
        pass


def test_an_archive_of_nothing(tmp_path):
    src = zipped(tmp_path / "eyes.zip", {".DS_Store": b"x", "empty/": b""})
    with pytest.raises(UserError, match="holds no files"), opened_source(src, tmp_path / "s"):
        pass


def test_bombs_and_full_disks_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    src = zipped(tmp_path / "eyes.zip", {"a.tif": bytes(2_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert unpacked(src, tmp_path / "s")["a.tif"] == bytes(2_000_000)

    def refused(message):
        with pytest.raises(UserError, match=message), opened_source(src, tmp_path / "s"):
            pass
        assert [p.name for p in tmp_path.iterdir()] == ["eyes.zip"]

    for limit, value, message in (
        ("_RATIO_MATTERS_FROM", 10**6, r"would swell from 0\.0 to 2 MB"),
        ("MAX_BYTES", 10**6, "holds 1 files of"),
        ("MAX_FILES", 0, "expected at most 0 files"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archive, limit, value)
            refused(message)
    usage = archive.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage)
    refused(r"needs 0\.0 GB to unpack")


PARTS = st.sampled_from(["a", "b", "..", ".", "", "C:", "x.png", "\\", "..\\..", "/", "é", "~", "nul\0l", "a b"])


@settings(max_examples=150, deadline=None)
@given(names=st.lists(st.lists(PARTS, min_size=1, max_size=5).map("/".join), min_size=1, max_size=4))
@example(names=["a", "a/b"])
@example(names=["a/b", "a"])
@example(names=["x" * 300])
def test_nothing_is_ever_written_outside(tmp_path_factory, names):
    top = tmp_path_factory.mktemp("zip")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        for name in dict.fromkeys(names):
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as written, not as zipfile would tidy it
            target.writestr(entry, IMAGE)
    src = top / "eyes.zip"
    src.write_bytes(stream.getvalue())
    scratch = top / "deep" / "er" / "s"
    try:
        with opened_source(src, scratch) as source:
            inside = [p for p in top.rglob("*") if p.is_file() and p != src]
            assert all(p.is_relative_to(source.folder) or p.parent == scratch for p in inside)
            assert not any(p.is_symlink() for p in inside)
    except UserError:
        pass
    assert [p for p in top.rglob("*") if p.is_file()] == [src]
    assert not os.path.lexists(scratch)
