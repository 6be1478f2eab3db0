"""What a camera, a viewing program and a store do to the frame around and over an eye: the painting of `torture`."""

from __future__ import annotations

import cv2
import numpy as np

from .artefacts import Artefacts, write_stamp
from .render import Phantom


def painted(
    phantom: Phantom, bars: tuple[float, float, float, float], names: list[str], rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The frame after light, border, noise and compression, and the box of what is recorded.

    Args:
        bars: how deep black bars reach into the circle from left, top, right and bottom, in radii; 0 for none.
        names: the tortures.

    Returns:
        uint8 (height, width, 3), and left, top, right, bottom in pixels.
    """
    image = phantom.image.astype(np.float32)
    circle = tuple(phantom.labels[name] for name in ("fov_x", "fov_y", "fov_r"))
    beyond = _beyond_rim(image.shape[:2], circle)
    inside = np.clip(0.5 - beyond * circle[2], 0, 1)
    _relight(image, beyond, inside, circle, names, rng)
    if "notch" in names and rng.random() < 0.5:
        _bite(image, circle, rng)
    if "soft_rim" in names:
        width = rng.uniform(0.003, 0.010)
        near = np.clip(2 - np.abs(beyond) / (2 * width), 0, 1)
        image += near * (cv2.GaussianBlur(image, (0, 0), width * circle[2]) - image)
    box = _put_bars(image, inside, circle, bars)
    if "dark" in names or "nearly_black" in names:
        low, high = (3, 15) if "dark" in names else (0.8, 3)
        image *= rng.uniform(low, high) / max(_mean(image, inside), 1.0)
    mean = _mean(image, inside)
    image = _bordered(image, inside, mean, names, rng)
    noise = {"noisy": rng.uniform(4, 9), "nearly_black": rng.uniform(0.5, 1.5)}
    for name in [name for name in noise if name in names]:
        image += min(noise[name], 0.3 * mean + 0.3) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(np.round(image), 0, 255).astype(np.uint8)
    if "clutter" in names:
        _add_clutter(image, circle, rng)
    if "date_stamp" in names:
        write_stamp(image, _stamp(rng))
    if "recompressed" in names:
        # A strong compression would leave nothing of a dark eye.
        image = _recompressed(image, int(rng.integers(8, 35)) if mean > 20 else int(rng.integers(60, 85)))
    return image, box


def _mean(image: np.ndarray, inside: np.ndarray) -> float:
    """Mean grey level of the field."""
    return float((image * inside).sum() / (3 * inside.sum()))


def _beyond_rim(shape: tuple[int, int], circle: tuple[float, float, float]) -> np.ndarray:
    """How far outside the circle a pixel lies, in radii; float32 (height, width, 1)."""
    x, y = np.arange(shape[1]) + 0.5 - circle[0], np.arange(shape[0]) + 0.5 - circle[1]
    return (np.hypot(x[None], y[:, None]) / circle[2] - 1).astype(np.float32)[..., None]


def _relight(
    image: np.ndarray, beyond: np.ndarray, inside: np.ndarray, circle: tuple[float, float, float], names: list[str],
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Haze, light that fails towards one side or towards the rim, and a glow around the field, in place."""
    if "hazy_white" in names:
        cover = rng.uniform(0.45, 0.85)
        image += cover * inside * (np.array([235.0, 230.0, 215.0], np.float32) * rng.uniform(0.75, 1.0) - image)
    if "fading" in names:
        image *= _fading(image.shape[:2], circle, rng)
    if "dark_rim" in names:
        image *= np.clip(-beyond / rng.uniform(0.3, 0.8), rng.uniform(0.01, 0.08), 1) ** 1.2
    if "glow" in names:
        light = (image * inside).sum((0, 1)) / inside.sum() * rng.uniform(0.08, 0.35)
        image += (1 - inside) * light * np.exp(-np.maximum(beyond, 0) / rng.uniform(0.05, 0.4))


def _bordered(
    image: np.ndarray, inside: np.ndarray, mean: float, names: list[str], rng: np.random.Generator
) -> np.ndarray:
    """The frame with a border that is not black: a black level under everything, or one that ends at the rim."""
    level, printed = min(rng.uniform(10, 50), 0.45 * mean), rng.random() < 0.5
    tint = rng.uniform(0.3, 1.0, 3) if "tinted_border" in names else np.ones(3)
    if "white_border" in names:
        return image + np.float32(rng.uniform(200, 255)) * (1 - inside)
    if "grey_border" not in names and "tinted_border" not in names:
        return image
    return image + (level * tint).astype(np.float32) * ((1 - inside) if printed else 1.0)


def _add_clutter(image: np.ndarray, circle: tuple[float, float, float], rng: np.random.Generator) -> None:
    """Patches of one colour and words as viewing programs leave them, along the frame, not over the field; in place."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(3, 8))):
        wide, high = (rng.uniform(0.02, 0.12, 2) * [width, height]).astype(int) + 3
        left, top = (rng.random(2) * [width - wide, height - high]).astype(int)
        nearest = np.clip(circle[0], left, left + wide), np.clip(circle[1], top, top + high)
        if np.hypot(nearest[0] - circle[0], nearest[1] - circle[1]) < 1.03 * circle[2]:
            continue
        color = [int(c) for c in rng.integers(60, 256, 3)]
        if rng.random() < 0.5:
            image[top : top + high, left : left + wide] = color
        else:
            word = str(rng.choice(["OD", "OS", "45", "R", "L"]))
            cv2.putText(image, word, (left, top + high), cv2.FONT_HERSHEY_DUPLEX, 0.022 * high, color, 1)


def _fading(shape: tuple[int, int], circle: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Light that fails towards one side of the circle, float32 (height, width, 1)."""
    angle, start, end = rng.uniform(0, 2 * np.pi), rng.uniform(-0.7, 0.1), rng.uniform(0.4, 1.2)
    x, y = np.arange(shape[1]) + 0.5 - circle[0], np.arange(shape[0]) + 0.5 - circle[1]
    along = (x[None] * np.cos(angle) + y[:, None] * np.sin(angle)) / circle[2]
    return np.clip(1 - (along - start) / (end - start), 0.005, 1).astype(np.float32)[..., None] ** 1.5


def _bite(image: np.ndarray, circle: tuple[float, float, float], rng: np.random.Generator) -> None:
    """A black notch that reaches into the circle from its rim, in place."""
    x, y, radius = circle
    angle, half, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.05), rng.uniform(0.03, 0.08)
    corners = [
        (x + r * radius * np.cos(a), y + r * radius * np.sin(a))
        for r, a in ((1.04, angle - half), (1.04, angle + half), (1 - depth, angle + half), (1 - depth, angle - half))
    ]
    cv2.fillConvexPoly(image, np.round(np.array(corners) * 16 - 8).astype(np.int32), (0, 0, 0), cv2.LINE_AA, 4)


def _put_bars(
    image: np.ndarray, inside: np.ndarray, circle: tuple[float, float, float], bars: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    """Black over the sides of the circle up to straight lines, in place; the box that is left of the frame."""
    (height, width), (x, y, radius) = image.shape[:2], circle
    left, top, right, bottom = 0, 0, width, height
    if not any(bars):
        return 0.0, 0.0, float(width), float(height)
    if bars[0]:
        left, right = round(x - radius * (1 - bars[0])), round(x + radius * (1 - bars[2]))
    if bars[1]:
        top, bottom = round(y - radius * (1 - bars[1])), round(y + radius * (1 - bars[3]))
    seen = np.zeros_like(inside)
    seen[top:bottom, left:right] = 1
    image *= seen
    inside *= seen
    return float(left), float(top), float(right), float(bottom)


def _recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Through a JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _stamp(rng: np.random.Generator) -> Artefacts:
    """Date and time, in half of the pictures below a number, in any corner and one of four colours."""
    day, month, year, number = (int(n) for n in rng.integers([1, 1, 1998, 100], [29, 13, 2025, 99999]))
    stamp = f"{year}-{month:02d}-{day:02d} {number % 24:02d}:{number % 60:02d}"
    if rng.random() < 0.5:
        stamp = f"No. {number:05d}  R/L\n{stamp}"
    return Artefacts(stamp=stamp, stamp_corner=int(rng.integers(4)), dust_seed=int(rng.integers(4)))
