"""Pictures for training and testing `picture_kind`: drawn pages and scenes, crops of photographs, eyes without colour.

All are uint8 (height, width, 3) RGB of some 200 to 600 pixels and depend on the generator alone. Drawn scenes are dead leaves
(Lee, Mumford and Huang, IJCV 2001): random shapes that cover each other, with 1/f textures; they have the statistics of
photographs, and networks learn from them what photographs look like (Baradad et al., NeurIPS 2021).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data.phantom.background import smooth_field
from ..data.phantom.external_eye import render_not_fundus

_HEIGHT = 216
_FLARE = 8.0


def external_eye(rng: np.random.Generator) -> np.ndarray:
    """An eye from outside, or its front behind the camera's round mount; some in other frames than the camera's."""
    kind = "external_eye" if rng.random() < 0.6 else "anterior_segment"
    image = render_not_fundus(kind, int(rng.integers(2**31)), _HEIGHT, int(rng.integers(216, 325)))
    return framed(image, rng) if rng.random() < 0.35 else image


def blank(rng: np.random.Generator) -> np.ndarray:
    """One tone, the lens cap, the empty mount, a smooth shading of two tones, or noise."""
    kinds = ("blank", "lens_cap", "empty_mount", "shading", "noise")
    kind = kinds[int(rng.integers(len(kinds)))]
    width = int(rng.integers(216, 325))
    if kind in kinds[:3]:
        return render_not_fundus(kind, int(rng.integers(2**31)), _HEIGHT, width)
    if kind == "noise":
        grain = int(rng.integers(1, 5))
        small = rng.normal(rng.uniform(20, 235), rng.uniform(5, 90), (_HEIGHT // grain, width // grain, 3))
        return _uint8(cv2.resize(small, (width, _HEIGHT), interpolation=cv2.INTER_LINEAR))
    tones = rng.uniform(0, 255) * rng.uniform(0.6, 1.0, (2, 3))
    share = _slope(rng, _HEIGHT, width)[..., None]
    return framed(_uint8(tones[0] * share + tones[1] * (1 - share) + rng.normal(0, 2, (_HEIGHT, width, 3))), rng)


def text(rng: np.random.Generator) -> np.ndarray:
    """A page of words, perhaps with columns, boxes or a heading: photographed or scanned, light or dark."""
    width, height = (int(v) for v in rng.integers(220, 600, 2))
    paper = rng.uniform(0.75, 1) * np.array([255, rng.uniform(235, 255), rng.uniform(190, 255)])
    ink = rng.uniform(0, 90, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0, 80))
    if rng.random() < 0.12:
        paper, ink = 0.4 * ink, paper
    page = Image.new("RGB", (width, height), _color(paper))
    draw = ImageDraw.Draw(page)
    margin = rng.uniform(0.03, 0.15) * width
    for _ in range(int(rng.integers(0, 4)) * (rng.random() < 0.4)):
        corner = rng.uniform(0, 0.7, 2) * (width, height)
        box = [*corner, *(corner + rng.uniform(0.05, 0.4, 2) * (width, height))]
        draw.rectangle(box, _color(paper * rng.uniform(0.6, 1, 3)), _color(ink), int(rng.integers(1, 4)))
    _write_lines(draw, rng, (width, height), margin, _color(ink))
    for x in np.linspace(margin, width - margin, int(rng.integers(2, 6))) if rng.random() < 0.3 else ():
        draw.line([(x, margin), (x, height - margin)], _color(ink), 2)
    image = np.asarray(page).astype(np.float32)
    if rng.random() < 0.4:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 5), 1)
        around = paper if rng.random() < 0.5 else np.zeros(3)
        image = cv2.warpAffine(image, turn, (width, height), borderValue=tuple(float(v) for v in around))
    image *= (1 - rng.uniform(0, 0.35) * _slope(rng, height, width))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)) + rng.normal(0, rng.uniform(0, 5), image.shape)
    return framed(_uint8(image), rng)


def _write_lines(draw: ImageDraw.ImageDraw, rng: np.random.Generator, shape: tuple, margin: float, ink: tuple) -> None:
    size = int(rng.integers(7, 24))
    face = ImageFont.truetype(_fonts()[int(rng.integers(len(_fonts())))], size)
    y = size * rng.uniform(0.5, 3)
    while y < shape[1] - size:
        if rng.random() < 0.12:
            y += 1.5 * size
            continue
        words = ("".join(chr(c) for c in rng.integers(97, 123, rng.integers(2, 10))) for _ in range(30))
        length = int(rng.uniform(0.4, 1) * (shape[0] - 2 * margin) / (0.58 * size))
        draw.text((margin, y), " ".join(words)[:length], fill=ink, font=face)
        y += size * rng.uniform(1.2, 1.8)


def _fonts() -> list[str]:
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return [str(path) for path in sorted(folder.glob("DejaVu*.ttf")) if "Display" not in path.name]


def scene(rng: np.random.Generator) -> np.ndarray:
    """Dead leaves: textured discs, boxes and polygons over a ground, near ones sharper than far ones."""
    height, width = _HEIGHT, int(rng.integers(216, 325))
    palette = rng.uniform(0, 255, (int(rng.integers(2, 8)), 3))
    if rng.random() < 0.3:  # wood, skin, food: as warm as an eye
        palette = np.sort(palette, axis=1)[:, ::-1]
    image = _textured(rng, height, width, palette[0])
    shrink, most = rng.uniform(0.5, 2.0), int(np.exp(rng.uniform(np.log(12), np.log(120))))
    for _ in range(most):
        size = height * min(0.5, 0.06 / max(rng.random(), 1e-3) ** (1 / (1 + shrink)))
        cover = _leaf(rng, height, width, size)
        color = palette[int(rng.integers(len(palette)))] * rng.uniform(0.6, 1.3)
        cover = cover[..., None].astype(np.float32) / 255
        leaf = _textured(rng, height, width, color) if size > 30 else np.asarray(color, np.float32)
        image = image * (1 - cover) + leaf * cover
    image *= (1 - rng.uniform(0, 0.6) * _slope(rng, height, width))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), np.exp(rng.uniform(np.log(0.4), np.log(2.5))))
    return _tinted(framed(_uint8(image + rng.normal(0, rng.uniform(0, 6), image.shape)), rng), rng)


def _leaf(rng: np.random.Generator, height: int, width: int, size: float) -> np.ndarray:
    """uint8 (height, width), 255 where the shape covers."""
    cover = np.zeros((height, width), np.uint8)
    center = rng.uniform(0, 1, 2) * (width, height)
    kind = rng.random()
    if kind < 0.4:
        axes = (int(size * rng.uniform(0.4, 1)) + 1, int(size * rng.uniform(0.4, 1)) + 1)
        cv2.ellipse(cover, center.astype(int).tolist(), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA)
        return cover
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    if kind < 0.65:
        angles = np.pi / 4 + np.arange(4) * np.pi / 2 + rng.uniform(0, np.pi) * (rng.random() < 0.5)
    stretch = rng.uniform(0.1, 1, 2) if kind > 0.5 else 1.0
    corners = center + size * np.stack([np.cos(angles), np.sin(angles)], 1) * stretch
    cv2.fillPoly(cover, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    return cover


def _textured(rng: np.random.Generator, height: int, width: int, color: np.ndarray) -> np.ndarray:
    """A tone with noise at octaves from coarse to fine, float32 (height, width, 3)."""
    contrast, steepness = rng.uniform(0.02, 0.35), rng.uniform(0.3, 1.1)
    total = np.zeros((height, width), np.float32)
    for octave in range(1, 7):
        cells = 2**octave + 1
        total += smooth_field(rng, cells, max(height, width))[:height, :width] * 2.0 ** (-steepness * octave)
    return np.exp(contrast * total)[..., None] * np.asarray(color, np.float32)


def photograph(source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop of a photograph, some grey or tinted, some in a circle as behind the camera's mount."""
    height, width = source.shape[:2]
    tall, wide = (max(48, int(length * rng.uniform(0.3, 1.0))) for length in (height, width))
    top, left = int(rng.integers(0, max(height - tall, 0) + 1)), int(rng.integers(0, max(width - wide, 0) + 1))
    crop = np.ascontiguousarray(source[top : top + tall, left : left + wide])
    scale = 300 / max(crop.shape[:2])
    shape = tuple(max(32, int(length * scale)) for length in crop.shape[1::-1])
    crop = cv2.resize(crop, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return framed(_tinted(crop, rng), rng)


def _tinted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some pictures grey, some as warm as an eye."""
    how = rng.random()
    if how < 0.12:
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    if how < 0.32:
        return _uint8(image * np.array([1.15, rng.uniform(0.5, 0.95), rng.uniform(0.2, 0.8)]))
    return image


def bordered(eye: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A standardised eye as cameras and tables of files have them: in a wider frame, cut, or stretched a little."""
    how, side = rng.random(), len(eye)
    if how < 0.25:
        down, across = (rng.uniform(0.02, 0.35, 2) * side).astype(int)
        return cv2.copyMakeBorder(eye, down, down, across, across, cv2.BORDER_CONSTANT)
    if how < 0.4:
        cut = int(rng.uniform(0.02, 0.14) * side)
        return np.ascontiguousarray(eye[cut : side - cut] if rng.random() < 0.6 else eye[:, cut : side - cut])
    if how < 0.5:
        return cv2.resize(eye, (side, int(side * rng.uniform(0.85, 1.15))), interpolation=cv2.INTER_LINEAR)
    return eye


def framed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As it is, with black borders, or in a circle with black around it."""
    how = rng.random()
    height, width = image.shape[:2]
    if how < 0.35:
        return image
    if how < 0.55:
        down, across = (rng.uniform(0.05, 0.2, 2) * (height, width)).astype(int)
        return cv2.copyMakeBorder(image, down, down, across, across, cv2.BORDER_CONSTANT)
    side = min(height, width)
    if how < 0.8:
        top, left = (height - side) // 2, (width - side) // 2
        image = image[top : top + side, left : left + side]
        height = width = side
    y, x = np.ogrid[:height, :width]
    far = np.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2)
    return image * (far < side / 2 * rng.uniform(0.85, 1.0))[..., None].astype(np.uint8)


def red_free(eye: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The green channel of an eye, as a grey or a green picture."""
    grey = 255 * (eye[..., 1] / 255.0) ** rng.uniform(0.6, 1.1)
    lit = grey[grey > 15]
    bright = np.percentile(lit, 90) if lit.size else 255
    return _one_color(grey * rng.uniform(110, 230) / max(bright, 30), rng)


def fluorescein(eye: np.ndarray, vessels: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """An angiogram: vessels shine on dark choroid, the fovea is darker, leaks and microaneurysms are bright.

    Args:
        eye: uint8 (side, side, 3). vessels: their mask, uint8 (side, side); None: what is darker than its surround.
    """
    side = len(eye)
    lit = cv2.GaussianBlur((eye.max(2) > 15).astype(np.float32), (0, 0), 1)
    if vessels is None:
        log = np.log(eye[..., 1].astype(np.float32) + _FLARE)
        band = cv2.GaussianBlur(log, (0, 0), side / 200) - cv2.GaussianBlur(log, (0, 0), side / 25)
        inner = cv2.erode((lit > 0.5).astype(np.uint8), np.ones((side // 24, side // 24)))
        shine = np.clip(-band * inner * rng.uniform(4, 9), -0.3, 1.2)
    else:
        shine = cv2.GaussianBlur(vessels.astype(np.float32) / 255, (0, 0), side / 300)
    ground = 1 + 0.2 * smooth_field(rng, 6, side) + rng.uniform(0, 0.12) * smooth_field(rng, 48, side)
    y, x = (np.mgrid[:side, :side] + 0.5) / side - 0.5
    fovea = np.exp(-(np.square(x + rng.normal(0, 0.08)) + np.square(y + rng.normal(0, 0.05))) / 0.01)
    grey = rng.uniform(20, 75) * ground * (1 - 0.5 * fovea) + shine * rng.uniform(80, 170)
    for _ in range(int(rng.integers(0, 8))):
        (across, down), radius = rng.uniform(-0.35, 0.35, 2), rng.uniform(0.005, 0.04)
        grey += rng.uniform(50, 150) * np.exp(-(np.square(x - across) + np.square(y - down)) / radius**2)
    return _one_color(grey * lit, rng)


def _one_color(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tint = np.ones(3) if rng.random() < 0.75 else np.array([rng.uniform(0, 0.9), 1.0, rng.uniform(0, 0.9)])
    noise = rng.normal(0, rng.uniform(0, 3), grey.shape)
    return _uint8((np.clip(grey, 0, 255) + noise)[..., None] * tint)


def _slope(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From 0 to 1 across the frame in any direction, float (height, width)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width]
    along = x * np.cos(angle) / width + y * np.sin(angle) / height
    return (along - along.min()) / np.ptp(along)


def _color(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


def _uint8(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 255).astype(np.uint8)
