"""A folder of camera files -> a dataset folder of standardised images.

Killed at any moment and started again, it continues; the result does not depend on that, nor on the number of workers.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import unicodedata
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..data.readers import Collection, ReaderOptions, read_collection
from ..data.splits import NO_PATIENTS
from ..runtime.errors import UserError, counts
from ..runtime.files import refuse_existing, sha256_bytes, write_text
from ..runtime.progress import Progress
from ..version import __version__
from .camera_file import Recipe, Task, process
from .illumination import check_illumination
from .workers import map_in_order

_UNSURE = 0.7
# What a collection says of itself that stays true of images made from it.
_CARRIED = ("version", "licence", "source", "description", "label_kind", "format")


@dataclass(frozen=True)
class PreprocessResult:
    """What became of a collection.

    Attributes:
        dataset: the dataset folder made.
        rejected: (camera file, reason) of files that could not be used; also in its rejected.csv.
        ignored: (file, reason) of what the reader left out of the collection; also in its ignored.csv.
    """

    dataset: FundusDataset
    rejected: list[tuple[str, str]]
    ignored: list[tuple[str, str]]

    @property
    def unsure(self) -> int:
        """Images whose field of view is not certain (fov_confidence below 0.7)."""
        return int((self.dataset.table["fov_confidence"] < _UNSURE).sum())

    def summary(self) -> dict:
        """Plain numbers, for --json."""
        return {
            "dataset": str(self.dataset.path),
            "images": len(self.dataset),
            "classes": self.dataset.class_counts(),
            "unsure_fields_of_view": self.unsure,
            "rejected": len(self.rejected),
            "ignored": len(self.ignored),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        path, classes = self.dataset.path, self.dataset.class_counts()
        found = f"{path}: {len(self.dataset)} images, read as {self.dataset.info['format']}"
        lines = [found + (f": {counts(classes)}" if classes else "")]
        if not self.dataset.patients:
            lines.append(NO_PATIENTS)
        if self.unsure:
            lines.append(f"{self.unsure} with an uncertain field of view (fov_confidence < {_UNSURE}, see fov_reason)")
        if self.rejected:
            lines.append(f"{len(self.rejected)} files rejected, reasons in {path / 'rejected.csv'}")
        if self.ignored:
            first, reason = self.ignored[0]
            lines.append(f"{len(self.ignored)} left out, e.g. {first}: {reason}; all in {path / 'ignored.csv'}")
        return lines


def run(
    src: Path | str, out: Path | str, *, format: str = "auto", size: int = 512, illumination: str = "none",
    workers: int | None = None, quiet: bool = False, reader_options: ReaderOptions | None = None,
) -> PreprocessResult:  # fmt: skip
    """Standardise every camera file of the collection in `src` and write the dataset folder `out`.

    Args:
        format: name of a reader, or "auto".
        size: side of the images made, pixels.
        illumination: "none", "graham" or "clahe".
        workers: processes; None = one a core.

    Raises:
        UserError: `out` is there already or lies inside `src`, the collection cannot be read, or no file is usable.
        JobError: a worker was killed.
    """
    src, out = Path(src), Path(out)
    check_illumination(illumination)
    refuse_existing(out)
    if out.resolve().is_relative_to(src.resolve()):
        raise UserError("lies inside the folder that is read", path=out, hint="Name a folder outside it.")
    collection = read_collection(src, format, reader_options)
    tasks = _tasks(collection)
    with DatasetWriter(out, _info(collection, size, illumination), resume=True) as writer:
        _sweep(writer.folder)
        rejected = _standardize_all(tasks, writer, Recipe(writer.folder, size, illumination), workers, quiet)
        if not writer.done:
            shutil.rmtree(writer.folder)
            first, reason = rejected[0]
            raise UserError(f"none of {len(tasks)} files is usable; the first, {first}: {reason}", path=src)
        for name, files in (("rejected.csv", rejected), ("ignored.csv", collection.ignored)):
            if files:
                write_text(writer.folder / name, _csv([("camera_file", "reason"), *files]))
    return PreprocessResult(FundusDataset.open(out), rejected, collection.ignored)


def _standardize_all(
    tasks: list[Task], writer: DatasetWriter, recipe: Recipe, workers: int | None, quiet: bool
) -> list[tuple[str, str]]:
    """Do what is not done; returns the rejected files with their reasons."""
    rejected = []
    left = [task for task in tasks if task.file_name not in writer.done]
    start = len(tasks) - len(left)
    with Progress(len(tasks), "standardising", quiet=quiet, start=start) as progress:
        for task, outcome in zip(left, map_in_order(partial(process, recipe=recipe), left, workers), strict=True):
            if outcome.row is None:
                rejected.append((task.row["camera_file"], outcome.reason))
            else:
                writer.add(outcome.row)
            progress.advance(1, rejected=len(rejected))
    return rejected


def _tasks(collection: Collection) -> list[Task]:
    """The files in the collection's order, each with its own file name."""
    masks = collection.root / "masks"
    kinds = sorted(p.name for p in masks.iterdir() if p.is_dir()) if masks.is_dir() else []
    tasks, taken = [], set()
    for row in collection.rows:
        camera_file = PurePosixPath(row["camera_file"])
        file_name = f"images/{_free_stem(camera_file, taken)}.png"
        below = camera_file.relative_to("images") if camera_file.parts[0] == "images" else camera_file
        found = {kind: path for kind in kinds if (path := masks / kind / below.with_suffix(".png")).is_file()}
        tasks.append(Task(row["path"], file_name, found, {k: v for k, v in row.items() if k != "path"}))
    return tasks


def _free_stem(camera_file: PurePosixPath, taken: set[str]) -> str:
    """The file's own stem; with its folders before it, then with a number, when that is taken."""
    stem = _safe(camera_file.stem)
    candidates = [stem, _safe("-".join([*camera_file.parts[:-1], camera_file.stem]))]
    number = 2
    # Names that differ only in case are one file on some systems.
    while (candidate := candidates.pop(0)).casefold() in taken:
        if not candidates:
            candidates.append(f"{stem}-{number}")
            number += 1
    taken.add(candidate.casefold())
    return candidate


def _safe(name: str) -> str:
    """The name with letters of any script and spaces kept; what some file system refuses becomes "_"."""
    return re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", unicodedata.normalize("NFC", name)).strip(". ") or "image"


def _info(collection: Collection, size: int, illumination: str) -> dict:
    """dataset.json. The digest tells a continued run that it still reads the same files and rows."""
    seen = [[*sorted((k, str(v)) for k, v in row.items() if k != "path"), row["path"].stat().st_size]
            for row in collection.rows]  # fmt: skip
    carried = {key: collection.info[key] for key in _CARRIED if key in collection.info}
    return {
        "name": collection.name,
        **carried,
        "classes": sorted({row["label"] for row in collection.rows if row.get("label")}),
        "image_size": size,
        "illumination": illumination,
        "camera_files": len(collection.rows),
        "camera_files_sha256": sha256_bytes(json.dumps(seen).encode()),
        "made_by": f"fundus-synth {__version__} preprocess run",
    }


def _sweep(folder: Path) -> None:
    """Remove what a killed run had open: atomic writes leave their temporary file when nobody is there to remove it."""
    for path in folder.rglob(".partial-*"):
        path.unlink()


def _csv(rows: list[tuple[str, str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
