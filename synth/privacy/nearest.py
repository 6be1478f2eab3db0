"""The nearest training eye of every picture, by what it looks like, by its vessels, and by its features.

    structure   the picture without its lighting (`data.appearance`), laid over the other by an affine map, mirrored or turned
                where that fits better
    vessels     the vessels on the canonical eye (`vessel_pattern`)
    features    a feature space, by default biomarkers of the retina

A distance is relative to how far the picture lies from its 50 nearest training eyes: a blurred picture is near to all eyes,
a copy to one (Carlini et al. 2023, Extracting training data from diffusion models, USENIX Security).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from ...data.alignment import align_roughly, turn
from ...data.appearance import ANGLES, SIDE, Appearance, agreement, describe_appearance
from ...data.duplicates import compare
from ...runtime.progress import Progress
from ...runtime.workers import available_cores
from ..feature_cache import cached_features
from ..features.base import FeatureSpace
from .likeness import Likeness, search_maps, search_vectors, view_of
from .vessel_pattern import pattern_agreement, vessel_patterns

MEASURES = ("structure", "vessels", "features")
FAR = 2.0
"""The distance of what cannot be compared."""

_MAP = 24  # side of the maps that every picture is searched by; one pixel is a shift of 4 %
_PATTERN = 32
_LAID_OVER = 4  # of the nearest maps
_TURNED = 4  # of the nearest descriptors that do not see a turn
_TURN_FITS = 0.64  # correlation of polar maps from which a turn is worth a look
_WORTH_COMPARING = 0.8  # correlation below which `duplicates.compare` finds no copy
_PATTERNS = 2


@dataclass(frozen=True)
class Looks:
    """What the audit keeps of n pictures, all brought to the same size before.

    Attributes:
        appearances: of each.
        patterns: float32 (n, 64, 64) vessel patterns.
        features: float32 (n, d).
    """

    appearances: list[Appearance]
    patterns: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.appearances)

    @cached_property
    def maps(self) -> np.ndarray:
        """float32 (n, 24, 24), what each looks like."""
        return _small([one.coarse.astype(np.float32) for one in self.appearances], _MAP)

    @cached_property
    def small_patterns(self) -> np.ndarray:
        """float32 (n, 32, 32), the patterns at half their size."""
        return _small(self.patterns, _PATTERN)

    @cached_property
    def common_pattern(self) -> np.ndarray:
        """float32 (64, 64), the mean of the patterns."""
        return self.patterns.mean(0)

    @cached_property
    def descriptors(self) -> np.ndarray:
        """float32 (n, 144), `Appearance.descriptor` of each."""
        return np.stack([one.descriptor for one in self.appearances])

    def subset(self, rows: np.ndarray) -> Looks:
        """Those for which a mask is true."""
        chosen = np.flatnonzero(rows)
        return Looks([self.appearances[i] for i in chosen], self.patterns[chosen], self.features[chosen])


@dataclass(frozen=True)
class Nearest:
    """The nearest training eyes of n pictures.

    Attributes:
        index: int (n, 3), number of the training eye by each of `MEASURES`.
        distance: float (n, 3), relative distances: 0 for the same picture, about 1 for any other eye.
        copy_of: int (n,), number of the training eye that the picture is an outright copy of, as `data.duplicates` finds
            them; another photograph of that very eye counts, too. -1 for none.
    """

    index: np.ndarray
    distance: np.ndarray
    copy_of: np.ndarray

    def __len__(self) -> int:
        return len(self.copy_of)


def look_at(images: np.ndarray, space: FeatureSpace, workers: int | None = None, quiet: bool = True) -> Looks:
    """Describe pictures, uint8 (n, side, side, 3), side 64 or more; errors as in `FeatureSpace.features`."""
    features = cached_features(space, images, workers, quiet)
    patterns = vessel_patterns(images, workers, quiet)
    with Progress(len(images), "looking at images", quiet=quiet) as progress:
        appearances = []
        for image in images:
            appearances.append(describe_appearance(np.ascontiguousarray(image)))
            progress.advance()
    return Looks(appearances, patterns, features)


def find_nearest(pictures: Looks, training: Looks, workers: int | None = None, quiet: bool = True) -> Nearest:
    """Compare each picture with all training eyes.

    Features of both have to be made `feature_spaces.comparable` before.
    """
    if not len(pictures):
        return Nearest(np.zeros((0, len(MEASURES)), int), np.zeros((0, len(MEASURES))), np.zeros(0, int))
    structure, vessels, features = _searches(pictures, training)

    def look(number: int) -> tuple[tuple[float, int, int], tuple[float, int]]:
        return _structure(pictures, training, structure, number), _vessels(pictures, training, vessels, number)

    index, distance, copy_of = [], [], []
    with (
        ThreadPoolExecutor(workers or available_cores()) as pool,
        Progress(len(pictures), "finding the nearest eyes", quiet=quiet) as progress,
    ):
        for number, (shown, traced) in enumerate(pool.map(look, range(len(pictures)))):
            index.append((shown[1], traced[1], features.nearest[number, 0]))
            distance.append((shown[0], traced[0], features.distance[number, 0]))
            copy_of.append(shown[2])
            progress.advance()
    around = np.stack([structure.around, vessels.around, features.around], axis=1)
    relative = np.array(distance, float) / (around + 1e-6)
    relative[~pictures.patterns.any(axis=(1, 2)), MEASURES.index("vessels")] = FAR
    return Nearest(np.array(index, int), relative, np.array(copy_of, int))


def nearest_picture(pictures: Looks, eyes: Looks) -> np.ndarray:
    """How far each of m eyes lies from the nearest picture, by each of `MEASURES`: float (m, 3), not relative."""
    return np.stack([search.nearest_query for search in _searches(pictures, eyes)], axis=1)


def _searches(pictures: Looks, eyes: Looks) -> tuple[Likeness, Likeness, Likeness]:
    """A search by each measure, without what the eyes have in common: it says nothing."""
    traced, usual = eyes.small_patterns, eyes.small_patterns.mean(0)
    return (
        search_maps(pictures.maps, eyes.maps, _LAID_OVER, eyes.maps.mean(0), mirror=True),
        search_maps(pictures.small_patterns, traced, _PATTERNS, usual, mirror=False),
        search_vectors(pictures.features, eyes.features),
    )


def _structure(pictures: Looks, training: Looks, search: Likeness, number: int) -> tuple[float, int, int]:
    """Distance of picture `number` from a training eye, which that is, and which one the picture is an outright copy of."""
    picture, best, copy_of = pictures.appearances[number], (-1.0, 0), -1
    for eye, start, step, mirrored in _candidates(picture, training, search, number):
        reached = align_roughly(training.appearances[eye], picture, start)[1]
        best = max(best, (reached, eye))
        if copy_of < 0 and reached >= _WORTH_COMPARING:
            pair = compare([training.appearances[eye], picture], 0, 1, step, mirrored)
            copy_of = -1 if pair is None else eye
    return _distance(best[0]), best[1], copy_of


def _candidates(
    picture: Appearance, training: Looks, search: Likeness, number: int
) -> Iterator[tuple[int, np.ndarray, int, bool]]:
    """Training eye, the map from the picture to it to start from, and that map's turn in steps and reflection."""
    for eye, view in zip(search.nearest[number].tolist(), search.view[number].tolist(), strict=True):
        right, down, mirrored = view_of(view)
        # Half a turn after a reflection top to bottom is a reflection left to right.
        step = ANGLES // 2 if mirrored else 0
        start = turn(step, mirrored)
        start[:, 2] += np.array([right, down]) * (SIDE / _MAP)
        yield eye, start, step, mirrored
    alike = training.descriptors @ picture.descriptor
    for eye in np.argsort(-alike, kind="stable")[:_TURNED].tolist():
        agreed = agreement(training.appearances[eye].spectrum[None], picture.spectrum[None])[0].ravel()
        step, mirrored = int(agreed.argmax() % ANGLES), bool(agreed.argmax() >= ANGLES)
        if agreed.max() > _TURN_FITS and (step, mirrored) not in ((0, False), (ANGLES // 2, True)):
            yield eye, turn(step, mirrored), step, mirrored


def _vessels(pictures: Looks, training: Looks, search: Likeness, number: int) -> tuple[float, int]:
    """Distance of the vessels of picture `number` from those of a training eye, and which that is."""
    pattern = pictures.patterns[number]
    found = [
        (pattern_agreement(training.patterns[eye], pattern, training.common_pattern), eye)
        for eye in search.nearest[number].tolist()
    ]
    agreed, eye = max(found)
    return _distance(agreed), eye


def _distance(agreed: float) -> float:
    return float(np.sqrt(max(2 - 2 * agreed, 0)))


def _small(maps: Iterable[np.ndarray], side: int) -> np.ndarray:
    small = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in maps]
    return np.array(small, np.float32).reshape(-1, side, side)
