"""Is a picture a copy of one of those seen before? For pictures that come one after the other, all in the same pose.

Generators that mirror their training images may also give a copy back mirrored, but none turns it: so, unlike
`data.duplicates`, which looks at all angles, this compares each picture with its nearest ones as they lie, plain and
mirrored. What a copy is is decided there.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..data.appearance import ANGLES, Appearance
from ..data.duplicates import COPIES, compare

_NEAREST = 3
# Correlation of the coarse maps below which laying one picture over the other is not worth the time. So at 64 px all exact
# and mirrored copies of 200 real eyes are found, 98 in 100 brighter ones, 99 blurred ones, 77 with noise of 4 grey levels.
_WORTH_A_LOOK = 0.5


class CopySearch:
    """Pictures seen so far, and which of them a new one is a copy of."""

    def __init__(self):
        self._names: list[str] = []
        self._seen: list[Appearance] = []
        self._maps = np.empty((64, 0), np.float32)

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, appearance: Appearance, name: str) -> None:
        """Remember a picture under a name."""
        vector = _unit(appearance.coarse)
        if self._maps.shape[1] == 0:
            self._maps = np.empty((64, len(vector)), np.float32)
        if len(self) == len(self._maps):
            self._maps = np.concatenate([self._maps, np.empty_like(self._maps)])
        self._maps[len(self)] = vector
        self._seen.append(appearance)
        self._names.append(name)

    def original(self, appearance: Appearance) -> str | None:
        """The name of a picture seen that this is a copy of; None when there is none."""
        if not self._seen:
            return None
        views = np.stack([_unit(appearance.coarse), _unit(cv2.flip(appearance.coarse, 1))])
        likeness = self._maps[: len(self)] @ views.T
        for place in np.argsort(-likeness, axis=None, kind="stable")[:_NEAREST]:
            number, mirrored = np.unravel_index(place, likeness.shape)
            if likeness[number, mirrored] < _WORTH_A_LOOK:
                break
            if self._is_copy(appearance, int(number), bool(mirrored)):
                return self._names[number]
        return None

    def _is_copy(self, appearance: Appearance, number: int, mirrored: bool) -> bool:
        # Half a turn after a reflection top to bottom is a reflection left to right.
        pair = compare([self._seen[number], appearance], 0, 1, ANGLES // 2 if mirrored else 0, mirrored)
        return pair is not None and pair.kind in COPIES


def _unit(values: np.ndarray) -> np.ndarray:
    vector = values.astype(np.float32).ravel()
    return vector / (np.linalg.norm(vector) + 1e-6)
