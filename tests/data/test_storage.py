from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from fundus_synth.data.storage import RemoteFolder, is_url, listing
from fundus_synth.runtime.errors import JobError, UserError


@pytest.fixture
def remote(tmp_path):
    """A folder in memory with a table and two "pictures"."""
    folder = RemoteFolder(f"memory://{uuid.uuid4().hex}/eyes/")
    for name, content in {"labels.csv": b"a,b\n", "x/one.jpg": b"12345", "two.png": b"1"}.items():
        path = tmp_path / "file"
        path.write_bytes(content)
        folder.store(path, name)
    return folder


def test_urls_and_paths_are_told_apart():
    assert is_url("s3://bucket/eyes") and is_url("memory://x")
    assert not is_url("/data/eyes") and not is_url("C:\\eyes") and not is_url(Path("s3:/bucket"))


def test_what_is_stored_is_found_and_fetched(remote, tmp_path):
    assert remote.name == "eyes"
    assert remote.sizes() == {"labels.csv": 4, "two.png": 1, "x/one.jpg": 5}
    remote.fetch("x/one.jpg", tmp_path / "new" / "one.jpg")
    assert (tmp_path / "new" / "one.jpg").read_bytes() == b"12345"


def test_a_listing_has_real_tables_and_holes_for_pictures(remote):
    with listing(remote) as folder:
        assert folder.name == "eyes"
        assert (folder / "labels.csv").read_bytes() == b"a,b\n"
        assert (folder / "x" / "one.jpg").read_bytes() == b"\0" * 5
    assert not folder.exists()


def test_what_is_not_there_is_a_clear_error(remote, tmp_path):
    assert RemoteFolder("memory://nobody/wrote/here").sizes() == {}
    with pytest.raises(UserError, match="no such folder"), listing(RemoteFolder("memory://nobody/wrote/here")):
        pass
    with pytest.raises(UserError, match="three.png: cannot be read"):
        remote.fetch("three.png", tmp_path / "three.png")
    with pytest.raises(UserError, match="nosuchprotocol"):
        RemoteFolder("nosuchprotocol://bucket/eyes")


def test_a_storage_that_fails_is_a_job_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JobError, match="start again to continue"):
        RemoteFolder(f"file://{tmp_path}").store(tmp_path / "file", "file/below.png")
