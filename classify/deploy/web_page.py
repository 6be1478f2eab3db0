"""A folder that reads photographs in a browser, on the phone itself: the page, a model file and onnxruntime-web.

The scripts in page/ do what Python does with a camera file (see examine.js); nothing is loaded from elsewhere, and nothing is
sent. Any web server can hand out the folder. Taking photographs and working without a network need https, or localhost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ...preprocess.picture_kind import WEIGHTS
from ...runtime.errors import UserError
from ...runtime.files import appearing_folder, refuse_existing, sha256_bytes, without_nan
from .model_file import ModelFile, open_model

SOURCES = Path(__file__).parent / "page"
MODEL, FACTS, KINDS, VERSION, WORKER = (
    "model.onnx", "model.json", "picture_kind.safetensors", "version.js", "service-worker.js",
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        folder: where it lies.
        sizes: bytes of the page's own files, of the model and of the runtime.
    """

    folder: Path
    sizes: dict[str, int]

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"page": str(self.folder), "bytes": self.sizes}

    def lines(self) -> list[str]:
        """The same for people."""
        parts = ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in self.sizes.items())
        return [f"{self.folder}: {parts}", f"Look at it with: fundus-classify serve {self.folder}"]


def write_page(model: Path | str, out: Path | str, runtime: dict[str, bytes]) -> Page:
    """Write the page of a model file.

    Args:
        model: *.onnx of `export`.
        out: the folder, new or empty.
        runtime: of `web_runtime.runtime_files`.

    Raises:
        UserError: no model file, or one of pictures with corrected illumination, which the page does not make; or a folder with
            something in it.
    """
    out, opened = Path(out), open_model(model)
    refuse_page(out, opened.illumination, model)
    content = Path(model).read_bytes()
    parts = {
        "page": {path.name: path.read_bytes() for path in sorted(SOURCES.iterdir()) if path.is_file()},
        "model": {MODEL: content, FACTS: _facts(opened, content), KINDS: WEIGHTS.read_bytes()},
        "runtime": {f"runtime/{name}": data for name, data in runtime.items()},
    }
    files = {name: data for part in parts.values() for name, data in part.items()}
    with appearing_folder(out) as folder:
        for name, data in {**files, VERSION: _version(files)}.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
    return Page(out, {part: sum(map(len, found.values())) for part, found in parts.items()})


def refuse_page(out: Path | str, illumination: str, model: Path | str) -> None:
    """Raise UserError where no page can be written: the folder holds something, or the page cannot make such pictures.

    Args:
        out: the folder.
        illumination: of the pictures that the model was trained on.
        model: the model file, or the run that it is to be made of.
    """
    refuse_existing(out)
    if illumination != "none":
        raise UserError(
            f"is a model of pictures with illumination {illumination}, which the page cannot make", path=model,
            hint="Train on a dataset with --illumination none.",
        )  # fmt: skip


def _facts(model: ModelFile, content: bytes) -> bytes:
    facts = {"model": model.facts, "sha256": sha256_bytes(content)}
    return json.dumps(without_nan(facts), ensure_ascii=False, allow_nan=False).encode("utf-8")


def _version(files: dict[str, bytes]) -> bytes:
    """What the service worker keeps. Its text differs whenever a file does, and so browsers notice a new page."""
    names = [name for name in files if name != WORKER]
    digest = sha256_bytes("".join(f"{name} {sha256_bytes(files[name])}\n" for name in sorted(files)).encode())
    return f"self.PAGE = {json.dumps({'version': digest[:16], 'files': names})};\n".encode()
