"""Regeneration: published images made again from their seeds, and compared pixel for pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.image_file import decode_image
from ...runtime.errors import UserError
from ..checkpoint import load_generator
from ..marks import read_marks, truncation_of
from ..sampling import one_thread, sample

_AT_A_TIME = 64


class Regeneration:
    """Images made again from their seeds and compared, some at a time.

    Attributes:
        made: how many so far.
        faults: which of them differ.
    """

    def __init__(self, table: pd.DataFrame, runs: Sequence[Path | str], sample_size: int | None, seed: int):
        self.generators = {info.name: generator for generator, info in map(load_generator, runs)}
        made_by = table["generator"] if "generator" in table else pd.Series("", index=table.index)
        if unused := set(self.generators) - set(made_by):
            raise UserError(f"generator {sorted(unused)[0]} made none of these images; they are by "
                            f"{', '.join(sorted(set(made_by)))}", hint="Name the run that they were generated with.")  # fmt: skip
        rows = np.flatnonzero(made_by.isin(list(self.generators)))
        if sample_size is not None:
            rows = np.random.default_rng(seed).permutation(rows)[:sample_size]
        self.rows = {row["file_name"]: row for row in table.iloc[rows].to_dict("records")}
        self.pending: dict[tuple[str, float], list[tuple[dict, int, np.ndarray]]] = {}
        self.made, self.faults = 0, []

    def add(self, name: str, content: bytes) -> None:
        """Take one file; those that were not chosen are passed over."""
        row = self.rows.get(name)
        if row is None:
            return
        try:
            pixels, truncation, seed = decode_image(content, name), truncation_of(read_marks(content)), int(row["seed"])
        except (UserError, ValueError, KeyError):
            pixels, truncation, seed = None, 0.0, 0
        if pixels is None or not (0 < truncation <= 1 and 0 <= seed < 2**63):
            self.faults.append(f"{name}: cannot be made again; it is damaged, or its seed or truncation cannot be")
            return
        batch = self.pending.setdefault((row["generator"], truncation), [])
        batch.append((row, seed, pixels))
        if len(batch) == _AT_A_TIME:
            self.compare()

    def compare(self) -> None:
        """Make again and compare what was taken so far."""
        for (generator, truncation), batch in self.pending.items():
            with one_thread():
                again = sample(self.generators[generator], [seed for _, seed, _ in batch], truncation)
            for (row, seed, pixels), made in zip(batch, again, strict=True):
                if difference := _difference(pixels, made):
                    what = f"what {generator} makes from seed {seed}"
                    self.faults.append(f"{row['file_name']}: is not {what}: {difference}")
            self.made += len(batch)
        self.pending = {}


def _difference(pixels: np.ndarray, made: np.ndarray) -> str:
    """How two images differ, a few words; "" when they do not."""
    if pixels.shape != made.shape:
        return f"{pixels.shape[1]} x {pixels.shape[0]} pixels instead of {made.shape[1]} x {made.shape[0]}"
    apart = np.abs(pixels.astype(np.int16) - made).max(axis=2)
    where = np.argwhere(apart)
    if not len(where):
        return ""
    y, x = where[0]
    rounding = "; another processor or PyTorch may round so" if apart.max() == 1 else ""
    return f"{len(where)} of {apart.size} pixels differ, by up to {apart.max()}, the first at x {x}, y {y}{rounding}"
