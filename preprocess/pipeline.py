"""A folder of camera files -> a dataset folder of standardised images.

Killed at any moment and started again, it continues; the result does not depend on that, nor on the number of workers.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ..data.archive import Source, opened_source
from ..data.cache import cache_folder
from ..data.dataset import FundusDataset
from ..data.dataset_writer import DatasetWriter
from ..data.readers import Collection, ReaderOptions, read_collection
from ..data.readers.base import ARCHIVES
from ..data.schema import read_table
from ..data.splits import NO_PATIENTS
from ..data.storage import RemoteFolder, is_memory, is_url, listing, without_password
from ..runtime.errors import UserError, counts
from ..runtime.files import read_json, refuse_existing, sha256_bytes, write_text
from ..runtime.progress import Progress
from ..version import __version__
from .camera_file import Outcome, Recipe, Task, check_output_format, process
from .field_of_view import UNSURE
from .illumination import check_illumination
from .remote_file import Places, process_remote
from .review import files_of, write_review
from .spread import Spread
from .tasks import columns_of, tasks_of

_REASONS_SHOWN = 3
# What a collection says of itself that stays true of images made from it.
_CARRIED = ("version", "licence", "source", "description", "label_kind", "format", "recognised", "notes")


@dataclass(frozen=True)
class PreprocessResult:
    """What became of a collection.

    Attributes:
        dataset: the dataset folder made; for one at a URL its tables only.
        rejected: (camera file, reason) of files that could not be used; also in its rejected.csv.
        ignored: (file, reason) of what the reader left out of the collection; also in its ignored.csv.
        place: path or URL of the dataset folder.
        pages: pages to look at, see `review`; none for collections at a URL.
    """

    dataset: FundusDataset
    rejected: list[tuple[str, str]]
    ignored: list[tuple[str, str]]
    place: str
    pages: list[Path]

    @property
    def unsure(self) -> int:
        """Images whose field of view is not certain (fov_confidence below 0.7)."""
        return int((self.dataset.table["fov_confidence"] < UNSURE).sum())

    @property
    def other_kinds(self) -> dict[str, int]:
        """{kind: images} of what is taken for something else than a colour fundus photograph, and kept."""
        kinds = self.dataset.column("picture_kind")
        return {str(k): int(n) for k, n in kinds[~kinds.isin(("", "fundus"))].value_counts().items()}

    @property
    def notes(self) -> list[str]:
        """What its reader says that a user of this collection must know."""
        return list(self.dataset.info.get("notes", []))

    def summary(self) -> dict:
        """Plain numbers, for --json."""
        return {
            "dataset": self.place,
            "format": self.dataset.info["format"],
            "recognised": self.dataset.info.get("recognised", ""),
            "images": len(self.dataset),
            "classes": self.dataset.class_counts(),
            "unsure_fields_of_view": self.unsure,
            "other_kinds": self.other_kinds,
            "rejected": len(self.rejected),
            "pages": [str(page) for page in self.pages],
            "ignored": len(self.ignored),
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        path, classes = self.place.rstrip("/"), self.dataset.class_counts()
        found = f"{path}: {len(self.dataset)} images, {_read_as(self.dataset.info)}"
        lines = [found + (f": {counts(classes)}" if classes else "")]
        lines += [f"NOTE: {note}" for note in self.notes]
        if not self.dataset.patients:
            lines.append(NO_PATIENTS)
        if self.unsure:
            lines.append(f"{self.unsure} with an uncertain field of view (fov_confidence < {UNSURE}, see fov_reason)")
        if self.other_kinds:
            lines.append(
                f"kept, but perhaps no colour fundus photographs: {counts(self.other_kinds)} (column picture_kind)"
            )
        if self.rejected:
            lines.append(f"{len(self.rejected)} files rejected, reasons in {path}/rejected.csv")
        lines += [f"look at: {page}" for page in self.pages]
        if self.ignored:
            reasons = Counter(reason for _, reason in self.ignored)
            most = counts(dict(reasons.most_common(_REASONS_SHOWN))) + ", ..." * (len(reasons) > _REASONS_SHOWN)
            lines.append(f"{len(self.ignored)} left out: {most}; all in {path}/ignored.csv")
        return lines


def run(
    src: Path | str, out: Path | str, *, format: str = "auto", size: int = 512, illumination: str = "none",
    output_format: str = "png", min_quality: float = 0.0, workers: int | None = None, ray: str | None = None,
    time_limit: float = 60.0, all_kinds: bool = False, quiet: bool = False, reader_options: ReaderOptions | None = None,
) -> PreprocessResult:  # fmt: skip
    """Standardise every camera file of the collection in `src` and write the dataset folder `out`.

    Args:
        src: folder as downloaded, the same in a .zip (unpacked into `OUT.unpacked` meanwhile), or a table of images; or
            the URL of a folder ("s3://...", "http://...", see `data.storage`).
        out: folder to make, or its URL; then the journal of a run lies in the user's cache folder.
        format: name of a reader, or "auto".
        size: side of the images made, pixels.
        illumination: one of `illumination.ILLUMINATIONS`.
        output_format: "png", "jpg" or "webp"; the last two are lossy, and so is the black around their field.
        min_quality: images whose `quality` is lower are rejected, 0..1; OUT-quality.html then shows both sides of the border.
        workers: processes; None = one a core; 0 = this process, where a crashing decoder or a hanging file ends the run.
        ray: address of a Ray cluster that does the work instead; its machines must see `src` and `out`.
        time_limit: seconds for one file, after which it is rejected.
        all_kinds: take pictures, too, that surely show no retina (external eyes, pages of text, ...); the column
            `picture_kind` names them.

    Raises:
        UserError: `out` is there already or lies inside `src`, the collection cannot be read, or no file is usable.
        JobError: a storage failed, or workers cannot start.
    """
    check_illumination(illumination)
    check_output_format(output_format)
    _refuse_memory(src, out, workers, ray)
    place, target = str(out), RemoteFolder(str(out)) if is_url(out) else None
    if target is not None:
        target.refuse_web()
    out = Path(out) if target is None else _staging(place)
    _refuse_out(src, out)
    spread = Spread(workers, ray, time_limit)
    with _opened(src, out, quiet) as (source, places):
        collection = read_collection(source.folder, format, reader_options)
        _refuse_headers_unseen(collection, places)
        collection.ignored += source.left_out
        info = {"read_from": _name(src), **_info(collection, size, illumination, output_format, min_quality, all_kinds)}
        recipe = Recipe(out, size, illumination, output_format, min_quality, all_kinds)
        if target is not None:
            places = replace(places, target=place)
        rejected = _write_dataset(collection, recipe, info, places, target, spread, quiet)
        dataset = FundusDataset.open(out) if target is None else _tables_only(out)
        local = places == Places()
        pages = write_review(dataset, rejected, files_of(collection.rows), min_quality) if local else []
    return PreprocessResult(dataset, rejected, collection.ignored, without_password(place), pages)


def _staging(url: str) -> Path:
    """Where the tables and the journal of a dataset at a URL lie in the meantime."""
    return cache_folder() / "remote" / sha256_bytes(url.encode())[:16]


def _name(place: Path | str) -> str:
    return RemoteFolder(place).name if is_url(place) else Path(place).resolve().name


def _refuse_memory(src: Path | str, out: Path | str, workers: int | None, ray: str | None) -> None:
    for place in (src, out):
        if is_memory(place) and (workers != 0 or ray is not None):
            raise UserError("is the memory of one process, which its workers do not see", path=place,
                            hint="Use another storage, or in Python workers=0.")  # fmt: skip


def _refuse_out(src: Path | str, out: Path) -> None:
    refuse_existing(out)
    if not is_url(src) and out.resolve().is_relative_to(Path(src).resolve()):
        raise UserError("lies inside the folder that is read", path=out, hint="Name a folder outside it.")


@contextmanager
def _opened(src: Path | str, out: Path, quiet: bool) -> Iterator[tuple[Source, Places]]:
    """The folder for the readers, and where its files really lie."""
    if not is_url(src):
        with opened_source(src, out.with_name(out.name + ".unpacked"), quiet) as source:
            yield source, Places()
        return
    if src.lower().endswith(ARCHIVES):
        raise UserError(
            "is an archive; at a URL a folder is expected",
            path=without_password(src),
            hint="Download or unpack it first.",
        )
    with listing(RemoteFolder(src)) as folder:
        yield Source(folder), Places(folder, src)


def _refuse_headers_unseen(collection: Collection, places: Places) -> None:
    # In a listing pictures are holes: a reader that looks into them would lose what it looks for without a word.
    if places.listing is not None and collection.info["format"] == "idrid":
        raise UserError(
            "IDRiD's landmarks need the sizes of its pictures", path=places.source, hint="Download it first."
        )


def _tables_only(folder: Path) -> FundusDataset:
    """The dataset that was sent away, as its tables tell; they are no longer needed here."""
    dataset = FundusDataset(folder, read_json(folder / "dataset.json"), read_table(folder / "metadata.csv"))
    shutil.rmtree(folder)
    return dataset


def _write_dataset(
    collection: Collection, recipe: Recipe, info: dict, places: Places, target: RemoteFolder | None, spread: Spread,
    quiet: bool,
) -> list[tuple[str, str]]:  # fmt: skip
    """Make the dataset folder `recipe.folder`; returns the rejected files with their reasons."""
    tasks = tasks_of(collection, recipe.output_format)
    with DatasetWriter(recipe.folder, info, resume=True, remote=target) as writer:
        if target is not None and not (writer.done or writer.rejected) and target.sizes():
            raise UserError(
                "already exists and is not empty", path=target.shown, hint="Name another, or remove this one."
            )
        _sweep(writer.folder)
        function = partial(process, recipe=replace(recipe, folder=writer.folder))
        if places != Places():
            function = partial(process_remote, recipe=replace(recipe, folder=writer.folder), places=places)
        _standardize_all(tasks, writer, function, spread, quiet)
        rejected = [(task.row["camera_file"], writer.rejected[task.file_name])
                    for task in tasks if task.file_name in writer.rejected]  # fmt: skip
        if not writer.done:
            shutil.rmtree(writer.folder)
            first, reason = rejected[0]
            raise UserError(f"none of {len(tasks)} files is usable; the first, {first}: {reason}", path=collection.root)
        # An image that was lost and made again would else come last.
        writer.done = {task.file_name: writer.done[task.file_name] for task in tasks if task.file_name in writer.done}
        for name, files in (("rejected.csv", rejected), ("ignored.csv", collection.ignored)):
            if files:
                write_text(writer.folder / name, _csv([("camera_file", "reason"), *files]))
    return rejected


def _standardize_all(
    tasks: list[Task], writer: DatasetWriter, function: Callable[[Task], Outcome], spread: Spread, quiet: bool
) -> None:
    """Do what is not done."""
    left = [task for task in tasks if task.file_name not in writer.done and task.file_name not in writer.rejected]
    start = len(tasks) - len(left)
    with Progress(len(tasks), "standardising", quiet=quiet, start=start) as progress:
        progress.note(f"{len(tasks)} images {_read_as(writer.info)}")
        for task, outcome in zip(left, spread.outcomes(function, left), strict=True):
            if outcome.row is None:
                writer.reject(task.file_name, outcome.reason)
            else:
                writer.add(outcome.row)
            progress.advance(1, rejected=len(writer.rejected))


def _info(
    collection: Collection, size: int, illumination: str, output_format: str, min_quality: float, all_kinds: bool
) -> dict:
    """dataset.json. The digest tells a continued run that it still reads the same files and rows."""
    seen = [[*sorted((k, str(v)) for k, v in columns_of(row).items()), row["path"].stat().st_size]
            for row in collection.rows]  # fmt: skip
    carried = {key: collection.info[key] for key in _CARRIED if collection.info.get(key)}
    return {
        "name": collection.name,
        **carried,
        "classes": sorted({row["label"] for row in collection.rows if row.get("label")}),
        "image_size": size,
        "illumination": illumination,
        "output_format": output_format,
        **({"min_quality": min_quality} if min_quality else {}),
        **({"all_kinds": True} if all_kinds else {}),
        "camera_files": len(collection.rows),
        "camera_files_sha256": sha256_bytes(json.dumps(seen).encode()),
        "made_by": f"fundus-synth {__version__} preprocess run",
    }


def _read_as(info: dict) -> str:
    return f"read as {info['format']}" + (f" ({info['recognised']})" if info.get("recognised") else "")


def _sweep(folder: Path) -> None:
    """Remove what a killed run had open: atomic writes leave their temporary file when nobody is there to remove it."""
    for path in folder.rglob(".partial-*"):
        path.unlink()


def _csv(rows: list[tuple[str, str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
