from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import tarfile

import onnx
import pytest

from fundus_synth.classify.deploy import web_runtime
from fundus_synth.classify.deploy.model_file import KEY, open_model
from fundus_synth.classify.deploy.web_page import SOURCES, write_page
from fundus_synth.classify.deploy.web_runtime import NPM, PACKAGE, VERSION, runtime_files
from fundus_synth.runtime.errors import UserError

CONTENT = {"ort.wasm.bundle.min.mjs": b"export default 1;", "ort-wasm-simd-threaded.wasm": b"\0asm"}


@pytest.fixture
def pinned(monkeypatch):
    """As if `CONTENT` were what the package holds."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(web_runtime, "_FILES", digests)


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "unpacked" / "package" / "dist"
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return tmp_path / "unpacked"


def _archive(path, content: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A program called npm that notes its arguments, and packs the archive that the test made."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "npm"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {folder}/arguments\ntest -f {folder}/archive || {{ echo "no network" >&2; exit 1; }}\n'
        f'while [ "$1" != --pack-destination ]; do shift; done\ncp {folder}/archive "$2/{PACKAGE}-{VERSION}.tgz"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_the_page_holds_all_that_it_names(tmp_path, toy_model, pinned, package):
    page = write_page(toy_model, tmp_path / "page", runtime_files(package))
    names = {path.relative_to(page.folder).as_posix() for path in page.folder.rglob("*") if path.is_file()}
    assert names >= {f"runtime/{name}" for name in CONTENT} | {path.name for path in SOURCES.iterdir()}
    version = json.loads((page.folder / "version.js").read_text().removeprefix("self.PAGE = ").rstrip(";\n"))
    assert set(version["files"]) == names - {"version.js", "service-worker.js"}
    assert page.sizes["model"] > toy_model.stat().st_size and page.sizes["runtime"] == sum(map(len, CONTENT.values()))


def test_scripts_and_markup_refer_to_nothing_that_is_missing_or_elsewhere(tmp_path, toy_model, pinned, package):
    folder = write_page(toy_model, tmp_path / "page", runtime_files(package)).folder
    for path in SOURCES.iterdir():
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r'(?:from|load\(|import\() ?"([^"]+)"|(?:src|href)="([^"]+)"', text):
            assert (folder / "".join(name)).is_file(), (path.name, name)
        addresses = set(re.findall(r"https?://[^\s\"']+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_nothing_from_outside_is_ever_markup():
    scripts = "".join(path.read_text(encoding="utf-8") for path in SOURCES.glob("*.js"))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", scripts)
    assert not re.search(
        r"<(script(?! type=\"module\" src)|style)|\son\w+=|\sstyle=", (SOURCES / "index.html").read_text()
    )


def test_facts_are_those_of_the_model_file(tmp_path, toy_model, pinned, package):
    folder = write_page(toy_model, tmp_path / "page", runtime_files(package)).folder
    facts = json.loads((folder / "model.json").read_text(), parse_constant=pytest.fail)
    assert facts["model"] == open_model(toy_model).facts
    assert facts["sha256"] == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert (folder / "model.onnx").read_bytes() == toy_model.read_bytes()


def test_the_version_changes_with_any_file_and_only_then(tmp_path, toy_model, pinned, package, monkeypatch):
    def version(number: int) -> str:
        return (write_page(toy_model, tmp_path / str(number), runtime_files(package)).folder / "version.js").read_text()

    first = version(1)
    assert version(2) == first
    sources = tmp_path / "sources"
    sources.mkdir()
    for path in SOURCES.iterdir():
        (sources / path.name).write_bytes(path.read_bytes() + (b"\n" if path.name == "style.css" else b""))
    monkeypatch.setattr("fundus_synth.classify.deploy.web_page.SOURCES", sources)
    assert version(3) != first


def test_refused_without_leaving_anything(tmp_path, toy_model, pinned, package):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="not empty"):
        write_page(toy_model, tmp_path / "full", runtime_files(package))
    (tmp_path / "other.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="is not used"):
        write_page(tmp_path / "other.onnx", tmp_path / "page", runtime_files(package))
    model = onnx.load(toy_model)
    (entry,) = (entry for entry in model.metadata_props if entry.key == KEY)
    entry.value = json.dumps(json.loads(entry.value) | {"illumination": "graham"})
    onnx.save(model, tmp_path / "graham.onnx")
    with pytest.raises(UserError, match="illumination graham"):
        write_page(tmp_path / "graham.onnx", tmp_path / "page", runtime_files(package))
    assert not (tmp_path / "page").exists()


def test_the_folder_may_be_the_one_that_the_user_is_in(tmp_path, toy_model, pinned, package, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_page(toy_model, ".", runtime_files(package))
    assert (tmp_path / "here" / "index.html").is_file()


def test_a_runtime_of_another_version_is_refused(tmp_path, pinned, package):
    assert (
        runtime_files(package)
        == CONTENT
        == runtime_files(package / "package")
        == runtime_files(package / "package" / "dist")
    )
    next(package.rglob("*.wasm")).write_bytes(b"\0asn")
    with pytest.raises(UserError, match=f"is not that of {PACKAGE} {VERSION}"):
        runtime_files(package)
    with pytest.raises(UserError, match="does not hold"):
        runtime_files(tmp_path / "nowhere")
    with pytest.raises(UserError, match="--runtime npm"):
        runtime_files(None)


def test_npm_is_asked_for_one_version_and_runs_no_scripts(pinned, npm):
    _archive(npm / "archive", CONTENT | {"ort.min.js": b"not wanted"})
    assert runtime_files(NPM) == CONTENT
    arguments = (npm / "arguments").read_text().split()
    assert arguments[:3] == ["pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts"]


def test_what_npm_brings_is_checked(pinned, npm, monkeypatch):
    with pytest.raises(UserError, match="no network"):
        runtime_files(NPM)
    _archive(npm / "archive", CONTENT | {"ort-wasm-simd-threaded.wasm": b"changed"})
    with pytest.raises(UserError, match="is not that of"):
        runtime_files(NPM)
    _archive(npm / "archive", {"ort.min.js": b"another package"})
    with pytest.raises(UserError, match="npm's archive is not that of"):
        runtime_files(NPM)
    whole = (npm / "archive").read_bytes()
    for content in (b"no archive", whole[:-20], b""):
        (npm / "archive").write_bytes(content)
        with pytest.raises(UserError, match="npm's archive is not that of"):
            runtime_files(NPM)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="npm was not found"):
        runtime_files(NPM)
