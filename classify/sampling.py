"""Which images make up each training batch: a sequence computed from (seed, step), so that a resumed run continues it
exactly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ..runtime.errors import UserError

SAMPLINGS = ("balanced", "natural")


class DrawSequence:
    """An endless, deterministic sequence of image indices.

    "natural" goes through all images in a new random order each time. "balanced" deals its draws to the classes in
    turn, so that any k consecutive draws hold each of k classes once, and goes through the images of each class in a
    new random order each time. With `groups`, the draws of a class are dealt to its groups in turn as well (e.g. real
    and synthetic images get equal shares, however many there are of each).

    Args:
        labels: int (n,), 0..k-1; classes without images are skipped.
        sampling: "balanced" or "natural".
        seed: another seed, another order.
        groups: int (n,), used by "balanced" only.

    Raises:
        UserError: unknown sampling, or no images.
    """

    def __init__(self, labels: np.ndarray, sampling: str, seed: int, groups: np.ndarray | None = None):
        if sampling not in SAMPLINGS:
            raise UserError(f"no sampling is called {sampling!r}", hint=f"Use {' or '.join(SAMPLINGS)}.")
        labels = np.asarray(labels)
        if not len(labels):
            raise UserError("there are no training images")
        if sampling == "natural":
            self._members = [[np.arange(len(labels))]]
        else:
            groups = np.zeros(len(labels), dtype=int) if groups is None else np.asarray(groups)
            self._members = [_by_group(np.flatnonzero(labels == k), groups) for k in np.unique(labels)]
        self._seed = seed
        self._order = lru_cache(maxsize=4 * sum(map(len, self._members)))(self._shuffle)

    def batch(self, step: int, size: int) -> np.ndarray:
        """Indices of the batch of this step (0, 1, ...): int (size,)."""
        return np.array([self._draw(step * size + j) for j in range(size)])

    def _draw(self, number: int) -> int:
        turn, klass = divmod(number, len(self._members))
        turn, group = divmod(turn, len(self._members[klass]))
        cycle, place = divmod(turn, len(self._members[klass][group]))
        return self._order(klass, group, cycle)[place]

    def _shuffle(self, klass: int, group: int, cycle: int) -> np.ndarray:
        return np.random.default_rng((self._seed, klass, group, cycle)).permutation(self._members[klass][group])


def _by_group(members: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
    return [members[groups[members] == g] for g in np.unique(groups[members])]
