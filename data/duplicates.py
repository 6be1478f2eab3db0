"""The same photograph twice: exact copies, near copies (resized, recompressed, brightened, cropped, mirrored), turned ones.

Every image is decoded once and described by small maps (`appearance`); each is compared with the few whose rotation
invariant descriptors are nearest, turned and mirrored as their polar maps ask for, then laid over them and judged
(`alignment`). Nothing is compared by file name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..runtime.errors import counts
from ..runtime.progress import Progress
from ..runtime.workers import available_cores, map_in_order
from .alignment import Overlay, align_roughly, overlay, tone_after, turn
from .appearance import ANGLES, Appearance, agreement, read_appearance
from .dataset import FundusDataset

COPIES = ("exact", "near", "sibling")  # from the most alike to the least
SAME_EYE = "same_eye"
_NEIGHBOURS = 12
_BLOCK = 512
_BATCH = 256
# Measured on real eyes with planted copies (benchmarks/duplicates.py); 98 in 100 copies are on the right side of each,
# and more where nothing was cropped.
_POLAR = 0.64  # 3 in 4 of the nearest descriptors of other eyes are below
_ROUGH_TONE = 0.80
_ROUGH_STRUCTURE = 0.84
# Two eyes that are not the same reach 0.83 once in 15 million pairs, with blurred lenses and no vessels. A copy falls below
# only where there is little to see, and then its tones agree as those of no other eye do.
_STRUCTURE, _TONE = 0.84, 0.94
_FAINT_STRUCTURE, _EQUAL_TONE = 0.70, 0.99
_FIELD = 0.010
_CROPPED = 0.017  # change of scale from which a copy is taken for cropped
_MOVED = 0.0022  # of the width: how exactly a copy that is not cropped lies on its original
_TURNED = 3.0  # degrees: nobody straightens or augments by so little
_SAME_EYE_STRUCTURE = 0.86
_SCALES = (0.80, 1.25)


@dataclass(frozen=True)
class Pair:
    """Two images that show the same photograph, or the same eye.

    Attributes:
        a, b: image numbers, counted through all datasets of the search; a < b.
        kind: "exact" (the same pixels), "near" (the same photograph, perhaps resized, recompressed, brightened, cropped
            or mirrored), "sibling" (the same photograph turned), "same_eye" (another photograph of that eye: no copy).
        structure, tone, field: as in `alignment.Overlay`.
        angle: degrees turned, 0..180.
        mirrored: whether one is a mirror image.
    """

    a: int
    b: int
    kind: str
    structure: float = 1.0
    tone: float = 1.0
    field: float = 0.0
    angle: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True)
class DuplicateReport:
    """What a search found.

    Image numbers run through the datasets one after the other. Pairs connect each group of copies; not every two of a
    large group are named.

    Attributes:
        datasets: what was searched.
        pairs: copies and photographs of the same eye, sorted.
    """

    datasets: tuple[FundusDataset, ...]
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return sum(map(len, self.datasets))

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.datasets)])

    def where(self, image: int) -> tuple[int, int]:
        """Which dataset (its position) and which row image number `image` is."""
        position = int(np.searchsorted(self._starts, image, "right")) - 1
        return position, int(image - self._starts[position])

    def name(self, image: int) -> str:
        """File name of an image, after its dataset's folder when several were searched."""
        position, row = self.where(image)
        file_name = str(self.datasets[position].table["file_name"][row])
        return file_name if len(self.datasets) == 1 else f"{self.datasets[position].path.name}/{file_name}"

    def column(self, name: str) -> np.ndarray:
        """A column of all datasets' tables, one value an image."""
        return np.concatenate([d.column(name).to_numpy(object) for d in self.datasets])

    def of_kind(self, *kinds: str) -> list[Pair]:
        """The pairs of these kinds."""
        return [pair for pair in self.pairs if pair.kind in kinds]

    def groups(self, *kinds: str) -> np.ndarray:
        """Group number of each image, int (n,): images joined by pairs of these kinds (default: all kinds of copies).

        Numbers count up in the order of the images; an image without a copy is a group of its own.
        """
        return _components(len(self), [(p.a, p.b) for p in self.of_kind(*(kinds or COPIES))])

    def copies(self) -> list[np.ndarray]:
        """The groups of two or more images, each an array of image numbers."""
        group = self.groups()
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        return [part for part in parts if len(part) > 1]

    def conflicts(self) -> list[tuple[np.ndarray, str, list[str]]]:
        """Groups whose images bear different labels: (image numbers, column, its values); missing values agree."""
        found = []
        for column in ("label", "grade"):
            values = self.column(column)
            for part in self.copies():
                known = sorted({f"{v:g}" if isinstance(v, float) else v for v in values[part] if v == v and v != ""})
                if len(known) > 1:
                    found.append((part, column, known))
        return found

    def summary(self) -> dict:
        """Plain numbers, for --json."""
        return {
            "images": len(self),
            "pairs": {kind: len(self.of_kind(kind)) for kind in (*COPIES, SAME_EYE)},
            "groups": len(self.copies()),
            "images_that_are_copies": len(self) - int(self.groups().max(initial=-1)) - 1,
            "label_conflicts": len(self.conflicts()),
        }

    def lines(self) -> list[str]:
        """The same for people."""
        said = self.summary()
        found = counts({kind: n for kind, n in said["pairs"].items() if n}) or "none"
        return [
            f"{len(self)} images searched for copies: {found}",
            f"{said['groups']} groups of copies, {said['images_that_are_copies']} images more than photographs",
        ]


def find_duplicates(
    datasets: Sequence[FundusDataset], workers: int | None = None, quiet: bool = True
) -> DuplicateReport:
    """Search datasets, together, for copies of the same photograph.

    Found are copies of the same pixels; resized, recompressed, brighter or darker, mirrored and slightly cropped ones;
    and turned ones. Other photographs of an eye are told apart and are no copies.

    Args:
        datasets: of standardised images (the field of view fills the square), any size from 64 px.
        workers: processes that decode; None = one a core.

    Raises:
        UserError: an image cannot be read.
        JobError: a worker was killed.
    """
    paths = [dataset.image_path(row) for dataset in datasets for row in range(len(dataset))]
    with Progress(len(paths), "looking at images", quiet=quiet) as progress:
        images = []
        for appearance in map_in_order(read_appearance, paths, workers):
            images.append(appearance)
            progress.advance()
    exact, first = _exact([image.digest for image in images])
    others = _search(images, first, workers or available_cores(), quiet)
    return DuplicateReport(tuple(datasets), tuple(sorted([*exact, *others], key=lambda pair: (pair.a, pair.b))))


def _exact(digests: Sequence[str]) -> tuple[list[Pair], np.ndarray]:
    """Pairs of equal digests, each with the first of its kind; and the image numbers of the firsts."""
    seen: dict[str, int] = {}
    pairs = [
        Pair(seen[digest], image, "exact")
        for image, digest in enumerate(digests)
        if seen.setdefault(digest, image) != image
    ]
    return pairs, np.fromiter(seen.values(), int, len(seen))


def _search(images: list[Appearance], chosen: np.ndarray, workers: int, quiet: bool) -> list[Pair]:
    """Pairs other than exact ones among the images numbered `chosen`, the most promising compared first."""
    with Progress(len(chosen), "finding their like", quiet=quiet) as progress:
        candidates = sorted(_candidates([images[i] for i in chosen], progress), key=lambda c: -c[2])
    groups, found = _Groups(len(images)), []
    with ThreadPoolExecutor(workers) as pool, Progress(len(candidates), "comparing", "pairs", quiet) as progress:
        for start in range(0, len(candidates), _BATCH):
            batch = [(int(chosen[i]), int(chosen[j]), step, mirrored)
                     for i, j, _, step, mirrored in candidates[start : start + _BATCH]]  # fmt: skip
            progress.advance(len(batch))
            # A group is joined once; comparing every two of many copies would cost their square.
            batch = [item for item in batch if not groups.joined(item[0], item[1])]
            for pair in filter(None, pool.map(lambda item: compare(images, *item), batch)):
                found.append(pair)
                if pair.kind in COPIES:
                    groups.join(pair.a, pair.b)
    return found


def _candidates(images: list[Appearance], progress: Progress) -> Iterator[tuple[int, int, float, int, bool]]:
    """(i, j, correlation of the polar maps, steps of rotation, mirrored) of what is worth a closer look; i < j."""
    if len(images) < 2:
        return
    descriptors = np.stack([image.descriptor for image in images])
    # What all eyes have in common says nothing.
    descriptors = descriptors - descriptors.mean(0)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True) + 1e-6
    spectra = np.stack([image.spectrum for image in images])
    near = min(_NEIGHBOURS, len(images) - 1)
    seen: set[tuple[int, int]] = set()
    for start in range(0, len(images), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(images)))
        likeness = descriptors[rows] @ descriptors.T
        likeness[np.arange(len(rows)), rows] = -np.inf
        nearest = np.argpartition(-likeness, near - 1, axis=1)[:, :near]
        wanted = {(min(i, j), max(i, j)) for i, of_i in zip(rows.tolist(), nearest.tolist(), strict=True) for j in of_i}
        yield from _turned(spectra, sorted(wanted - seen))
        seen |= wanted
        progress.advance(len(rows))


def _turned(spectra: np.ndarray, pairs: list[tuple[int, int]]) -> Iterator[tuple[int, int, float, int, bool]]:
    """The rotation at which the polar maps of each pair agree best, plain or mirrored; pairs that never do are dropped."""
    for start in range(0, len(pairs), _BATCH):
        i, j = np.array(pairs[start : start + _BATCH]).T
        agreed = agreement(spectra[i], spectra[j]).reshape(len(i), -1)
        best = agreed.argmax(1)
        for n in np.flatnonzero(agreed[np.arange(len(i)), best] > _POLAR):
            yield int(i[n]), int(j[n]), float(agreed[n, best[n]]), int(best[n] % ANGLES), bool(best[n] >= ANGLES)


def compare(images: Sequence[Appearance], a: int, b: int, step: int = 0, mirrored: bool = False) -> Pair | None:
    """The pair that images a and b are when b is a turned by about `step` of `ANGLES` steps, or None; cheap looks first."""
    start = turn(step, mirrored)
    if tone_after(images[a], images[b], start) < _ROUGH_TONE:
        return None
    matrix, structure = align_roughly(images[a], images[b], start)
    if structure < _ROUGH_STRUCTURE:
        return None
    found = overlay(images[a], images[b], matrix)
    kind = _kind(found)
    if kind is None:
        return None
    return Pair(a, b, kind, found.structure, found.tone, found.field, found.angle, found.mirrored)


def _kind(found: Overlay) -> str | None:
    smallest, largest = found.scale
    if smallest < _SCALES[0] or largest > _SCALES[1]:
        return None
    cropped = max(1 - smallest, largest - 1) > _CROPPED
    moved = found.field > _FIELD or (found.shift > _MOVED and not cropped)
    if not moved and _agree(found):
        return "sibling" if found.angle > _TURNED else "near"
    # A lens with dust on it repeats its specks in every eye, but in one place of the field: only what moved is an eye.
    return SAME_EYE if moved and not found.mirrored and found.structure >= _SAME_EYE_STRUCTURE else None


def _agree(found: Overlay) -> bool:
    clear = found.structure >= _STRUCTURE and found.tone >= _TONE
    return clear or (found.structure >= _FAINT_STRUCTURE and found.tone >= _EQUAL_TONE)


class _Groups:
    """Union-find with path halving."""

    def __init__(self, size: int):
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a

    def joined(self, a: int, b: int) -> bool:
        return self.find(a) == self.find(b)


def _components(size: int, links: Iterable[tuple[int, int]]) -> np.ndarray:
    groups = _Groups(size)
    for a, b in links:
        groups.join(a, b)
    return np.unique([groups.find(item) for item in range(size)], return_inverse=True)[1]
