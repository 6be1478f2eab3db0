"""From vector shapes in fractions of the field to anti-aliased pixels: draw larger, then average down."""

from __future__ import annotations

import cv2
import numpy as np

_SHIFT = 4
_SMALLEST_CANVAS = 512


class Canvas:
    """A square canvas over the field of view, drawn at least twice as large as it is read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.drawn = max(2 * size, _SMALLEST_CANVAS)
        self.pixels = np.zeros((self.drawn, self.drawn), np.uint8)

    def fixed(self, points: np.ndarray) -> np.ndarray:
        """Points in fractions of the field as OpenCV's fixed-point integers."""
        return np.round(((points + 0.5) * self.drawn - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def polygons(self, shapes: list[np.ndarray], values: np.ndarray) -> None:
        """Fill each outline with its value (0..255)."""
        for shape, value in zip(shapes, values, strict=True):
            cv2.fillPoly(self.pixels, [self.fixed(shape)], float(value), cv2.LINE_8, _SHIFT)

    def strokes(self, lines: list[np.ndarray], widths: list[np.ndarray], values: list[np.ndarray]) -> None:
        """Draw lines of changing width (fractions) and value (0..255); thicker pieces are drawn over thinner ones."""
        pieces: dict[tuple[int, int], list[np.ndarray]] = {}
        for line, width, value in zip(lines, widths, values, strict=True):
            wanted = width * self.drawn
            thick = np.maximum(np.round(wanted), 1).astype(int)
            faint = np.round(value * np.minimum(wanted / thick, 1.0) / 16).astype(int)
            code = thick * 32 + np.clip(faint, 1, 16)
            fixed = self.fixed(line)
            cuts = np.flatnonzero(np.diff(code)) + 1
            for start, end in zip([0, *cuts], [*cuts, len(code)], strict=True):
                pieces.setdefault((code[start] // 32, code[start] % 32), []).append(fixed[start : end + 1])
        for thickness, level in sorted(pieces):
            shade = min(255, int(level) * 16)
            cv2.polylines(self.pixels, pieces[thickness, level], False, shade, int(thickness), cv2.LINE_8, _SHIFT)

    def read(self) -> np.ndarray:
        """The drawing averaged down, uint8 (size, size)."""
        return cv2.resize(self.pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
