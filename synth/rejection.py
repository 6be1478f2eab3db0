"""Which generated images are thrown away, and why: what is plainly no photograph of an eye, or a copy.

In the order in which they are looked for:

    field_of_view   the lit part is ragged, has holes, is in pieces, or is much smaller than the circle
    disc            the landmark network finds no optic disc, or what it finds is no brighter than what surrounds it
    class_score     an independent classifier finds the class unlikely
    training_copy   it is a copy of one of the real images given
    copy            it is a copy of an image kept before

Of 480 real eyes of ODIR-5K's eight classes at 64 px the first throws away 0.8 %, the second 2.9 % of those without a
cataract and 43 % of those with one, behind which no disc is to be seen (at 128 px 1.9, 1.7 and 40 %); none of 240 was taken for
a copy of another. Where real images of the class are given, the limit for the disc is lowered until at most 2 in 100 of them
would be thrown away: of other eyes, those with a cataract among them, then 1.7 %. It finds what has nothing like a disc,
and not more: of real eyes whose disc was painted over, 28 % are thrown away. `benchmarks/rejection.py --eyes 60` measures this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from ..data.appearance import describe_appearance
from ..data.cache import image_cache
from ..data.dataset import FundusDataset
from ..preprocess.landmarks import Landmarks, find_landmarks_batch
from ..runtime.errors import UserError
from .copies import CopySearch

REASONS = ("field_of_view", "disc", "class_score", "training_copy", "copy")
DISC_EVIDENCE = 0.02
_REAL_LOST = 0.02
_DARK = 12  # grey levels: as in `image_store`, what JPEG leaves in the black surround
_SOLID, _LARGE, _SCATTERED = 0.97, 0.78, 0.02


class ClassScore(Protocol):
    """An independent classifier; picklable, because worker processes use it too.

    Attributes:
        name: what it is, for dataset.json.
    """

    name: str

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3) RGB -> float (n,), probability of the class, 0..1."""


@dataclass(frozen=True)
class Rejection:
    """What is thrown away beside broken images and copies of one another.

    Attributes:
        against: real images, best those of the training, whose copies are thrown away.
        score: a classifier that has not seen the generator's images, or None.
        min_score: the class's probability below which an image is thrown away, 0..1.
    """

    against: FundusDataset | None = None
    score: ClassScore | None = None
    min_score: float = 0.5

    def __post_init__(self):
        if not 0 <= self.min_score <= 1:
            raise UserError(f"--min-score is {self.min_score:g}; expected a probability from 0 to 1")

    def plain_values(self) -> dict:
        """For dataset.json."""
        against = self.against and {"name": self.against.name, "fingerprint": self.against.fingerprint}
        score = self.score and {"name": self.score.name, "min_score": self.min_score}
        return {"against": against, "score": score}


@dataclass(frozen=True)
class Judge:
    """What can be said of each image by itself.

    Attributes:
        min_disc: `disc_evidence` below which there is no disc.
        score, min_score: as in `Rejection`.
    """

    min_disc: float = DISC_EVIDENCE
    score: ClassScore | None = None
    min_score: float = 0.5

    def faults(self, images: np.ndarray) -> list[str]:
        """What is wrong with each of uint8 (n, size, size, 3): "", or one of REASONS, a colon and a figure."""
        found = [field_fault(image) for image in images]
        self._look(images, found, self._disc_faults)
        if self.score is not None:
            self._look(images, found, self._score_faults)
        return found

    @staticmethod
    def _look(images: np.ndarray, found: list[str], faults) -> None:
        """Fill in the faults of those images in which none was found yet."""
        good = [i for i, fault in enumerate(found) if not fault]
        if good:
            for i, fault in zip(good, faults(images[good]), strict=True):
                found[i] = fault

    def _disc_faults(self, images: np.ndarray) -> list[str]:
        return ["" if value >= self.min_disc else f"disc: evidence {value:.3f}" for value in disc_evidence(images)]

    def _score_faults(self, images: np.ndarray) -> list[str]:
        return ["" if value >= self.min_score else f"class_score: {value:.2f}" for value in self.score(images)]


def field_fault(image: np.ndarray) -> str:
    """What is wrong with the field of view of a standardised image, uint8 (size, size, 3); "" when nothing is.

    A field of view is one convex lit region (a circle, perhaps cut straight at its sides) of nearly the circle's size.
    """
    lit = (image.max(2) > _DARK).astype(np.uint8)
    regions, labels, stats, _ = cv2.connectedComponentsWithStats(lit, connectivity=4)
    if regions < 2:
        return "field_of_view: black"
    largest = (labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    hull = cv2.convexHull(cv2.findNonZero(largest))
    area, within = int(largest.sum()), int(cv2.fillConvexPoly(np.zeros_like(lit), hull, 1).sum())
    if area < _SOLID * within:
        return f"field_of_view: {area / within:.2f} of its outline is lit"
    if lit.sum() - area > _SCATTERED * area:
        return "field_of_view: in pieces"
    circle = np.pi / 4 * image.shape[0] * image.shape[1]
    return "" if within >= _LARGE * circle else f"field_of_view: {within / circle:.2f} of the circle"


class Sieve:
    """Decides over images one after the other, in the order in which they were drawn.

    Args:
        rejection: what is wanted.
        label: the class, whose real images in `rejection.against` set the limit for the disc.
        size: pixels of the generated images; the real ones are looked at in the same size.

    Attributes:
        judge: what workers need to look at images by themselves.
    """

    def __init__(self, rejection: Rejection, label: str, size: int):
        self._kept, self._real = CopySearch(), CopySearch()
        min_disc = DISC_EVIDENCE
        if rejection.against is not None:
            pixels = image_cache(rejection.against, size)
            for name, image in zip(rejection.against.column("file_name"), pixels, strict=True):
                self._real.add(describe_appearance(image), str(name))
            of_class = np.flatnonzero(rejection.against.column("label") == label)
            min_disc = disc_limit(pixels[of_class])
        self.judge = Judge(min_disc, rejection.score, rejection.min_score)

    def fault(self, image: np.ndarray, name: str) -> str:
        """Of which real or kept image this one is a copy, as in `Judge.faults`; otherwise it counts as kept, as `name`."""
        appearance = describe_appearance(image)
        if (original := self._real.original(appearance)) is not None:
            return f"training_copy: {original}"
        if (original := self._kept.original(appearance)) is not None:
            return f"copy: {original}"
        self._kept.add(appearance, name)
        return ""

    def keep(self, image: np.ndarray, name: str) -> None:
        """Count an image as kept that was kept before, in a run that is continued."""
        self._kept.add(describe_appearance(image), name)


def disc_limit(real: np.ndarray) -> float:
    """The evidence that there must be of an optic disc, given real images of the class, uint8 (n, size, size, 3).

    `DISC_EVIDENCE`, or less where more than 2 in 100 of the real ones would fall below it; n may be 0.
    """
    if len(real) == 0:
        return DISC_EVIDENCE
    return min(DISC_EVIDENCE, float(np.quantile(disc_evidence(real), _REAL_LOST)))


def disc_evidence(images: np.ndarray) -> np.ndarray:
    """How much speaks for an optic disc in each of uint8 (n, size, size, 3): float (n,), from 0 up; half of real eyes > 0.4.

    The landmark network's confidence times how much brighter the place is than the ring around it, as a share of the
    eye's mean brightness. The network by itself also guesses a disc where only the vessels point to one.
    """
    found = find_landmarks_batch(images)
    contrast = [_disc_contrast(image, landmarks) for image, landmarks in zip(images, found, strict=True)]
    return np.array([landmarks.disc_confidence for landmarks in found]) * np.maximum(contrast, 0)


def _disc_contrast(image: np.ndarray, found: Landmarks) -> float:
    size = len(image)
    smooth = cv2.GaussianBlur(image, (0, 0), 0.8 * size / 64).astype(np.float32)
    light = smooth[..., 1] + smooth[..., 0] / 2
    lit = image.max(2) > _DARK
    radius = size * np.clip(found.disc_r, 0.04, 0.094)
    y, x = np.mgrid[:size, :size] + 0.5
    away = np.hypot(x - found.disc_x * size, y - found.disc_y * size) / radius
    disc, ring = lit & (away < 0.8), lit & (away > 1.5) & (away < 2.6)
    if not disc.any() or not ring.any():
        return 0.0
    return float((light[disc].mean() - light[ring].mean()) / light[lit].mean())
