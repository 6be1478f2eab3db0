from __future__ import annotations

import sys
import threading
import uuid
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.data.storage import RemoteFolder, is_url, listing, without_password
from fundus_synth.preprocess.pipeline import run
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


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """A folder and its URL on a web server."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "web" / "eyes"
    folder.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/eyes"
        server.shutdown()


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


def test_a_protocol_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match="s3://bucket/eyes: cannot be opened .*s3fs.*pip") as caught:
        RemoteFolder("s3://bucket/eyes")
    assert "\n" not in str(caught.value)


def test_passwords_are_not_said():
    assert without_password("ftp://me:secret@host/eyes") == "ftp://me@host/eyes"
    assert without_password("s3://bucket/a:b@c") == "s3://bucket/a:b@c"
    with pytest.raises(UserError, match="ftp://me@127.0.0.1:1/eyes: cannot be opened .*Refused") as caught:
        RemoteFolder("ftp://me:secret@127.0.0.1:1/eyes")
    assert "secret" not in str(caught.value)


def test_a_web_server_is_read_and_not_written(web, tmp_path):
    folder, url = web
    for name in ("labels.csv", "x/b/one eye.jpg", "x/50%#é.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    remote = RemoteFolder(url)
    assert list(remote.sizes()) == ["labels.csv", "x/50%#é.png", "x/b/one eye.jpg"]
    for name in remote.sizes():
        remote.fetch(name, tmp_path / "got")
        assert (tmp_path / "got").read_text() == name
    assert RemoteFolder(url + "/none").sizes() == {}
    with pytest.raises(UserError, match="no such file"):
        remote.fetch("two.png", tmp_path / "two.png")
    with pytest.raises(UserError, match="cannot be written"):
        remote.refuse_web()
    with pytest.raises(UserError, match="cannot be listed"):
        RemoteFolder("http://127.0.0.1:1/eyes").sizes()


def test_from_a_web_server_comes_the_same_dataset(web, tmp_path):
    folder, url = web
    write_phantom_dataset(tmp_path / "phantoms", 1, 96, standardized=False, quiet=True, workers=1)
    for path in (tmp_path / "phantoms" / "images").iterdir():
        path.rename(folder / path.name.replace("_", " "))
    here = run(folder, tmp_path / "here", size=48, workers=0, quiet=True).dataset
    there = run(url, tmp_path / "there", size=48, workers=1, quiet=True).dataset
    assert len(here) > 1 and here.table.equals(there.table)


def test_a_folder_that_another_process_made_meanwhile_is_used(tmp_path, monkeypatch):
    remote, file = RemoteFolder(f"file://{tmp_path}/eyes"), tmp_path / "file"
    file.write_bytes(b"1")
    (tmp_path / "eyes" / "x").mkdir(parents=True)

    def late(self, path, exist_ok=False):
        raise OSError("550 File exists.")

    monkeypatch.setattr(type(remote._files), "makedirs", late)
    remote.store(file, "x/two.png")
    assert remote.sizes() == {"x/two.png": 1}
    with pytest.raises(JobError, match="File exists"):
        remote.store(file, "y/two.png")


def test_memory_and_web_servers_are_refused_where_they_would_lose_images(web, tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        run(tmp_path, web[1], quiet=True)
    for src, out in (("memory://eyes", tmp_path / "out"), (tmp_path, "memory://eyes")):
        with pytest.raises(UserError, match="memory of one process"):
            run(src, out, workers=1, quiet=True)


def test_in_one_process_memory_is_a_place(tmp_path):
    url = f"memory://{uuid.uuid4().hex}/out"
    write_phantom_dataset(tmp_path / "phantoms", 1, 96, standardized=False, quiet=True, workers=1)
    result = run(tmp_path / "phantoms", url, size=48, workers=0, quiet=True)
    assert len(result.dataset) == sum(name.startswith("images/") for name in RemoteFolder(url).sizes()) > 1


def test_a_storage_that_fails_is_a_job_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JobError, match="start again to continue"):
        RemoteFolder(f"file://{tmp_path}").store(tmp_path / "file", "file/below.png")
