"""Sheets: photographs beside their maps, all on one colour scale, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...data.cache import fit_square
from ...runtime.files import atomic_path
from .overlay import lay_over, signed_overlay

CHANNELS = ("red", "green", "blue")
_GAP = 6


def draw(photograph: np.ndarray, attribution: np.ndarray, scale: float, signed: bool, size: int) -> np.ndarray:
    """The photograph with its map at `size` pixels, uint8 (size, size, 3); of a map (s, s, 3) its three channels side by side,
    each over its own channel of the photograph, uint8 (size, 3 size, 3)."""
    photograph, attribution = fit_square(photograph, size), enlarged(attribution, size)
    if attribution.ndim == 2:
        return lay_over(photograph, attribution, scale, signed)
    return np.hstack([signed_overlay(photograph, attribution[..., c], scale, channel=c) for c in range(3)])


def plain(photograph: np.ndarray, size: int, channels: bool = False) -> np.ndarray:
    """The photograph as `draw` shows it, without a map."""
    photograph = fit_square(photograph, size)
    if not channels:
        return photograph
    return np.hstack([np.repeat(photograph[..., c : c + 1], 3, axis=2) for c in range(3)])


def enlarged(attribution: np.ndarray, size: int) -> np.ndarray:
    """A map (s, s) or (s, s, 3) at `size` pixels: bilinear when enlarged, the mean of what a pixel covers when shrunk."""
    how = cv2.INTER_AREA if size < len(attribution) else cv2.INTER_LINEAR
    return cv2.resize(attribution, (size, size), interpolation=how)


def grid(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Equally large tiles, at most `columns` in a row, white between them: uint8 (h, w, 3)."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, min(columns, len(tiles)) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        y, x = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def save_maps(path: Path, maps: np.ndarray, files: Sequence[str], cases: Sequence[str], about: str, unit: str) -> None:
    """The numbers behind a sheet, without pickle, atomically: maps float32 as they were computed, files, cases, and what they are
    about. `numpy.load` reads it."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, maps=maps.astype(np.float32), files=np.array(files, dtype=str),
                            cases=np.array(cases, dtype=str), about=np.array(about), unit=np.array(unit))  # fmt: skip


def channel_shares(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the evidence is spread over the colour channels.

    Args:
        maps: float (n, s, s, 3), signed.

    Returns:
        Shares of the magnitude, float (n, 3), each row sums to 1 (nan for a map of zeros); and the signed sums, float (n, 3).
    """
    magnitude = np.abs(maps.astype(np.float64)).sum(axis=(1, 2))
    total = magnitude.sum(axis=1, keepdims=True)
    shares = np.divide(magnitude, total, out=np.full_like(magnitude, np.nan), where=total > 0)
    return shares, maps.astype(np.float64).sum(axis=(1, 2))


def channel_row(maps: np.ndarray) -> dict[str, object]:
    """`channel_shares` of some images as a row of a table: each channel's mean share and its range, and its mean signed sum."""
    shares, sums = channel_shares(maps)
    known = shares[~np.isnan(shares).any(axis=1)]
    told = dict.fromkeys(CHANNELS, "-")
    if len(known):
        told = {name: f"{100 * own.mean():.0f} % ({100 * own.min():.0f} to {100 * own.max():.0f})" for name, own in
                zip(CHANNELS, known.T, strict=True)}  # fmt: skip
    return {"images": len(maps), **told, **{f"sum {name}": float(sums[:, c].mean()) for c, name in enumerate(CHANNELS)}}
