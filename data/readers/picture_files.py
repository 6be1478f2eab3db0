"""Finding the file that a table means: tables are written on other machines, with other folders and other suffixes."""

from __future__ import annotations

import os
import unicodedata
from functools import cached_property
from pathlib import Path, PurePosixPath

from ...runtime.errors import UserError
from .base import list_files, list_images


class PictureFiles:
    """The pictures below a folder, found by what a table calls them."""

    def __init__(self, root: Path):
        self.root = root

    def find(self, name: str, beside: Path) -> Path | None:
        """The picture called `name`, or None.

        Taken as a path from `beside` (the table's folder) or from the root; else any picture of that name below the
        root, with or without its suffix. Folders that the table names then decide between several. Spelling may differ
        in case and in how accents are encoded; a path never leads out of the root.

        Raises:
            UserError: several pictures are meant equally well; it names two.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        if not wanted.name:
            return None
        for folder in (beside, self.root):
            path = self._by_path.get(os.path.normpath(os.path.join(folder, wanted)))
            if path is not None:
                return path
        found = self._by_name.get(_key(wanted.name), [])
        return _closest(found, wanted, self.root) if len(found) > 1 else next(iter(found), None)

    @cached_property
    def _by_path(self) -> dict[str, Path]:
        return {os.path.normpath(path): path for path in list_files(self.root)}

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in list_images(self.root):
            for key in {_key(path.name), _key(path.stem)}:
                found.setdefault(key, []).append(path)
        return found


def _closest(found: list[Path], wanted: PurePosixPath, root: Path) -> Path:
    """Of several pictures of a name the one that shares most of the end of the path, as written and then in any case."""
    shared = {path: _shared_end(path, wanted) for path in found}
    best = [path for path in found if shared[path] == max(shared.values())]
    if len(best) > 1:
        first, second = (path.relative_to(root).as_posix() for path in best[:2])
        raise UserError(
            f"image {str(wanted)!r} may be {first} or {second}", hint="Write the folder into the image column."
        )
    return best[0]


def _shared_end(path: Path, wanted: PurePosixPath) -> tuple[int, bool]:
    """(how many folders above the picture agree, whether its name is written exactly so)."""
    count = 0
    for mine, other in zip(reversed(path.parts[:-1]), reversed(wanted.parts[:-1]), strict=False):
        if _key(mine) != _key(other):
            break
        count += 1
    return count, wanted.name in (path.name, path.stem)


def _key(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
