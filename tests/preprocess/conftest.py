"""Camera frames with a known field of view, drawn here: a textured disc on a noisy dark surround."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


def draw_frame(
    height: int, width: int, x: float, y: float, radius: float, *, gain: float = 1.0, surround: float = 0.0,
    noise: float = 0.0, side_light: float = 0.0, color: tuple = (190, 95, 50), seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """uint8 RGB frame; the disc is anti-aliased, `side_light` -1..1 makes one side darker, `gain` scales it all."""
    random = np.random.default_rng(seed)
    px, py = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    coverage = np.clip(radius - np.hypot(px - x, py - y) + 0.5, 0, 1)
    texture = cv2.resize(random.normal(0, 0.12, (12, 16)), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        start, end = random.uniform(0, 1, (2, 2)) * (width, height)
        vessel = cv2.line(np.zeros((height, width)), start.astype(int).tolist(), end.astype(int).tolist(), 1.0, 3)
        texture -= 0.3 * vessel
    disc = np.exp(-(np.square(px - x - 0.5 * radius) + np.square(py - y)) / (0.12 * radius) ** 2)
    light = (1 + texture + 0.5 * disc) * (1 + side_light * (px - x) / radius)
    eye = np.array(color) * light.clip(0.02)[..., None] * gain
    frame = surround + (eye - surround).clip(0) * coverage[..., None]
    frame += random.normal(0, noise, frame.shape) if noise else 0
    return np.rint(frame).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def frame():
    return draw_frame
