"""onnxruntime-web for the page: two files of one pinned version, from a folder of the user's or, when asked for, from npm."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from pathlib import Path

from ...runtime.errors import UserError

NPM = "npm"
"""What to give instead of a folder to have npm download the runtime."""
PACKAGE, VERSION = "onnxruntime-web", "1.30.0"

# The smallest of its builds: WebAssembly alone. SHA-256 of each file.
_FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_PLACES = (".", "dist", "package/dist", f"node_modules/{PACKAGE}/dist")
_SECONDS = 600


def runtime_files(source: Path | str | None) -> dict[str, bytes]:
    """The files of the runtime by name, each checked to be that of `VERSION`.

    Args:
        source: a folder that holds them, an unpacked package, or one with node_modules; or `NPM`. Nothing is downloaded unless
            that is given.

    Raises:
        UserError: no source, a file is missing or is of another version, or npm is missing or fails.
    """
    if source is None:
        raise UserError(
            f"a page needs {PACKAGE} {VERSION}", hint=f"Give its folder, or have npm download it: --runtime {NPM}."
        )
    return _fetched() if str(source) == NPM else _found(Path(source))


def _found(folder: Path) -> dict[str, bytes]:
    for place in _PLACES:
        paths = {name: folder / place / name for name in _FILES}
        if all(path.is_file() for path in paths.values()):
            return {name: _checked(name, path.read_bytes(), path) for name, path in paths.items()}
    raise UserError(
        f"does not hold {' and '.join(_FILES)}", path=folder,
        hint=f"Unpack {PACKAGE} {VERSION} there, or use --runtime {NPM} to have npm download it.",
    )  # fmt: skip


def _fetched() -> dict[str, bytes]:
    npm = shutil.which("npm")
    if npm is None:
        raise UserError("npm was not found", hint=f"Name a folder that holds {PACKAGE} {VERSION}: --runtime FOLDER.")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent", "--pack-destination", folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"npm did not download {PACKAGE} {VERSION} in {_SECONDS // 60} minutes") from error
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1][:160]
            raise UserError(f"npm could not download {PACKAGE} {VERSION} ({why})")
        return _unpacked(archives[0])


def _unpacked(archive: Path) -> dict[str, bytes]:
    """The files alone, read and never extracted to a path that the archive names."""
    try:
        with tarfile.open(archive) as members:
            found = {name: members.extractfile(f"package/dist/{name}").read() for name in _FILES}
    except (
        tarfile.TarError,
        OSError,
        EOFError,
        zlib.error,
        KeyError,
        AttributeError,
    ) as error:  # AttributeError: no plain file
        raise UserError(f"npm's archive is not that of {PACKAGE} {VERSION} ({error})") from error
    return {name: _checked(name, content, archive) for name, content in found.items()}


def _checked(name: str, content: bytes, path: Path) -> bytes:
    if hashlib.sha256(content).hexdigest() != _FILES[name]:
        raise UserError(f"{name} is not that of {PACKAGE} {VERSION}", path=path)
    return content
