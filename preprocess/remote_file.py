"""One camera file of a collection on other storage, or for a dataset there: fetched, processed here, sent back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from ..data.storage import RemoteFolder
from ..runtime.errors import UserError
from .camera_file import Outcome, Recipe, Task, process


@dataclass(frozen=True)
class Places:
    """What does not lie on this machine.

    Attributes:
        listing: the local listing of the collection (see `data.storage`), which tasks point into; None = files are here.
        source: URL of what is listed.
        target: URL of the dataset folder; None = the recipe's folder is meant.
    """

    listing: Path | None = None
    source: str = ""
    target: str | None = None


def process_remote(task: Task, recipe: Recipe, places: Places) -> Outcome:
    """As `camera_file.process`, wherever the files lie.

    Raises:
        JobError: a storage failed.
    """
    with TemporaryDirectory(prefix="fundus-") as scratch:
        here = Path(scratch)
        try:
            task = _fetched(task, places, here / "in")
        except UserError as error:
            return Outcome(None, error.message)
        if places.target is None:
            return process(task, recipe)
        outcome = process(task, replace(recipe, folder=here / "out"))
        if outcome.row is not None:
            _send(here / "out", places.target)
        return outcome


def _fetched(task: Task, places: Places, folder: Path) -> Task:
    if places.listing is None:
        return task

    def fetch(path: Path) -> Path:
        name = path.relative_to(places.listing).as_posix()
        _opened(places.source).fetch(name, folder / name)
        return folder / name

    return replace(task, path=fetch(task.path), masks=_each(fetch, task.masks))


def _each(function: Callable[[Path], Path], masks: dict[str, Path]) -> dict[str, Path]:
    return {kind: function(path) for kind, path in masks.items()}


def _send(folder: Path, url: str) -> None:
    # The image comes last: where it lies, its masks lie too.
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.relative_to(folder), reverse=True)
    for path in files:
        _opened(url).store(path, path.relative_to(folder).as_posix())


@cache
def _opened(url: str) -> RemoteFolder:
    return RemoteFolder(url)
