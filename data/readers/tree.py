"""Finding one's way in a downloaded tree: tables by name, pictures by stem, the split that a folder's name tells."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..image_file import SUFFIXES
from .base import list_files, list_images

_SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|eval|test)(ing|id|idation|uation)?(?![a-z])")


def find_files(src: Path, pattern: str) -> list[Path]:
    """Files below `src` whose whole name matches a regular expression, case ignored; sorted; only names are looked at."""
    wanted = re.compile(pattern, re.IGNORECASE)
    return sorted(path for path in list_files(src) if wanted.fullmatch(path.name))


def first_lines(path: Path, count: int = 2) -> list[str]:
    """The first lines of a text file without its byte order mark; what is not UTF-8 becomes a replacement character."""
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        return [stream.readline().rstrip("\r\n") for _ in range(count)]


def stem_key(name: str) -> str:
    """What a table's image name and a file name are compared by: no folder, no image suffix, case ignored."""
    name = name.strip().replace("\\", "/").rsplit("/", 1)[-1]
    root, suffix = os.path.splitext(name)
    return (root if suffix.lower() in SUFFIXES else name).casefold()


def by_stem(pictures: Iterable[Path]) -> tuple[dict[str, Path], list[Path]]:
    """({stem key: picture}, further pictures of the same stem); the first of a stem counts."""
    first: dict[str, Path] = {}
    further = []
    for path in pictures:
        if first.setdefault(stem_key(path.name), path) is not path:
            further.append(path)
    return first, further


def split_of(path: Path, root: Path) -> str:
    """The split that the folders between `root` and `path` name ("a. Training Set"), the innermost first; "" if none."""
    for part in reversed(path.relative_to(root).parts[:-1]):
        if match := _SPLIT_WORD.search(part.lower()):
            return match[1].removeprefix("e")
    return ""


def folder_with_pictures(folder: Path, src: Path, pattern: str = ".*") -> Path | None:
    """`folder` or the lowest one above it, not above `src`, with a picture below whose stem matches `pattern`."""
    wanted = re.compile(pattern, re.IGNORECASE)
    for candidate in (folder, *folder.parents):
        if any(wanted.fullmatch(p.stem) for p in list_images(candidate)):
            return candidate
        if candidate == src:
            break
    return None


def lie_apart(src: Path, evidence: list[Path], pattern: str = ".*") -> bool:
    """Whether `src` has pictures outside the folder that a collection's tables or masks are the tables or masks of.

    Then the collection is not `src` but a folder below it, beside others.
    """
    common = Path(os.path.commonpath([path.parent for path in evidence]))
    home = folder_with_pictures(common, src, pattern)
    return home is not None and any(not path.is_relative_to(home) for path in list_images(src))


def join_by_split(
    known: dict[str, dict[str, dict]], pictures: list[Path], src: Path
) -> tuple[list[tuple[str, Path, dict]], list[tuple[str, str]]]:
    """Join what tables say of numbered pictures to the pictures, each set for itself: the numbers begin again in each.

    Args:
        known: {split: {stem key: values}}. With one split, pictures in no set's folder belong to it.
        pictures: below `src`.

    Returns:
        (split, picture, values) of what matched, and (file, reason) of what did not.
    """
    alone = next(iter(known)) if len(known) == 1 else ""
    sides = {path: split_of(path, src) or alone for path in pictures}
    matched, ignored = [], []
    for split, values in known.items():
        there, further = by_stem(path for path, side in sides.items() if side == split)
        matched += [(split, path, values[key]) for key, path in there.items() if key in values]
        ignored += [("/".join(filter(None, (split, key))), "no picture") for key in values if key not in there]
        unknown = [path for key, path in there.items() if key not in values]
        ignored += [(p.relative_to(src).as_posix(), "no row in the table of its set") for p in unknown]
        ignored += [(p.relative_to(src).as_posix(), "the same name again in another file") for p in further]
    strangers = [path for path, side in sides.items() if side not in known]
    return matched, ignored + [(p.relative_to(src).as_posix(), "its set has no table") for p in strangers]
