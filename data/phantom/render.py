"""Render one eye through one camera: image, masks and labels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Eye
from .background import DETAIL, background_log_color, blood_share, smooth_field
from .branching import Vessel
from .camera import Camera, exposed, field_mask, illumination, sensor_noise, veil
from .disc import DiscMap, add_disc, disc_map, disc_masks
from .lesions import LESION_KINDS, Lesions, sample_lesions
from .raster import Canvas
from .vessels import grow_vessels

MASK_KINDS = ("fov", "optic_disc", "optic_cup", "fovea", "vessels", "arteries", "veins", *LESION_KINDS)
_ARTERY = np.array([0.02, 0.36, 0.24], np.float32)
_VEIN = np.array([0.15, 0.50, 0.28], np.float32)
_CLOT = np.array([0.24, 0.60, 0.42], np.float32)
_EXUDATE = np.array([0.26, 0.55, 0.42], np.float32)
_WOOL = np.array([0.28, 0.55, 0.75], np.float32)
_GRAIN = np.array([0.7, 1.0, 0.9], np.float32)
# Above this share of full density (of 255) a pixel counts as vessel: thin vessels are drawn faint.
_MASK_THRESHOLD = 44


@dataclass(frozen=True)
class Phantom:
    """`image` uint8 (H, W, 3) RGB, `masks` {kind: uint8 0/255 (H, W)}, `labels` {column of metadata.csv: value}."""

    image: np.ndarray
    masks: dict[str, np.ndarray]
    labels: dict[str, object]


def render(eye: Eye, camera: Camera, size: int) -> Phantom:
    """The photograph of `eye` by `camera`, `size` pixels high and round(size * aspect) wide.

    The same arguments give the same bytes; another size gives the same anatomy on another grid. Positions in `labels`
    follow the dataset contract: fov_x, fov_y, fov_r in pixels (the image's corner is 0, 0), disc and fovea in fractions
    of the width.
    """
    frame = _Frame.of(camera, size)
    vessels, lesions = grow_vessels(eye), sample_lesions(eye)
    arteries, veins = (_draw_vessels([v for v in vessels if v.artery == kind], frame.field) for kind in (True, False))
    drawn = _draw_lesions(lesions, eye, frame.field)
    lit = field_mask(camera, frame.field)
    disc = disc_map(eye, frame.field)
    field_image = _photograph(eye, camera, disc, arteries, veins, drawn)
    image = frame.place_image(field_image, lit, camera)
    masks = _masks(eye, disc, arteries, veins, drawn, lit)
    return Phantom(image, {kind: frame.place(mask) for kind, mask in masks.items()}, _labels(eye, frame))


@dataclass(frozen=True)
class _Frame:
    """Where the square canvas over the field lies in the image, in whole pixels."""

    height: int
    width: int
    field: int
    left: int
    top: int

    @classmethod
    def of(cls, camera: Camera, size: int) -> _Frame:
        width = round(size * camera.aspect)
        field = round(2 * camera.fov_radius * width)
        left = round((0.5 + camera.offset_x) * width - field / 2)
        top = round(size / 2 + camera.offset_y * width - field / 2)
        return cls(size, width, field, left, top)

    def _windows(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.field, self.height), min(self.left + self.field, self.width)
        inner = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        return (slice(top, bottom), slice(left, right)), inner

    def place(self, canvas: np.ndarray) -> np.ndarray:
        """A canvas over the field, put into an empty frame and cut where the frame ends."""
        if (self.left, self.top, self.field) == (0, 0, self.width) and self.width == self.height:
            return canvas
        placed = np.zeros((self.height, self.width, *canvas.shape[2:]), canvas.dtype)
        outer, inner = self._windows()
        placed[outer] = canvas[inner]
        return placed

    def place_image(self, field_image: np.ndarray, lit: np.ndarray, camera: Camera) -> np.ndarray:
        """The photograph in its frame: black outside the field, with a trace of sensor noise in a camera frame."""
        if camera.is_standard_frame:
            return cv2.bitwise_and(field_image, cv2.merge([_above(lit, 127)] * 3))
        soft = cv2.multiply(field_image, cv2.merge([lit] * 3), scale=1 / 255)
        image = self.place(soft)
        rng = np.random.default_rng([camera.seed, 2])
        floor = rng.integers(0, 5, (self.height, self.width, 1), dtype=np.uint8)
        return np.maximum(image, floor)


def _draw_vessels(vessels: list[Vessel], size: int) -> np.ndarray:
    """Optical density of one tree, uint8 (size, size): round in section, thin vessels faint, a reflex on arteries."""
    canvas = Canvas(size)
    lines = [v.points for v in vessels]
    widths = [2 * v.radius for v in vessels]
    density = [255 * (0.36 + 0.64 * np.minimum(w / 0.0115, 1.0)) for w in widths]
    artery = bool(vessels) and vessels[0].artery
    canvas.strokes(lines, widths, [(0.92 if artery else 0.74) * d for d in density])
    wide = [i for i, w in enumerate(widths) if w.max() > 0.004]
    core, value = (0.30, 0.50) if artery else (0.55, 1.0)
    canvas.strokes([lines[i] for i in wide], [core * widths[i] for i in wide], [value * density[i] for i in wide])
    return canvas.read()


def _draw_lesions(lesions: Lesions, eye: Eye, size: int) -> dict[str, np.ndarray]:
    """One coverage map, uint8 (size, size), for every kind of lesion that is present."""
    drawn = {}
    for kind in LESION_KINDS:
        shapes = getattr(lesions, kind)
        if not shapes:
            continue
        canvas = Canvas(size)
        if kind == "neovascularisation":
            widths = [np.linspace(0.0024, 0.0012, len(s)) for s in shapes]
            canvas.strokes(shapes, widths, [np.full(len(s), 200.0) for s in shapes])
        else:
            canvas.polygons(shapes, eye.generator(22).uniform(150, 255, len(shapes)))
        drawn[kind] = canvas.read()
    return drawn


def _photograph(
    eye: Eye, camera: Camera, disc: DiscMap, arteries: np.ndarray, veins: np.ndarray, lesions: dict[str, np.ndarray]
) -> np.ndarray:
    """The lit field, uint8 (size, size, 3), before the surround is blacked out."""
    size = arteries.shape[0]
    coarse = exposed(background_log_color(eye) + illumination(camera, DETAIL))
    log = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    add_disc(log, eye, disc)
    _add_blood(log, eye, disc, arteries, veins)
    _add_lesions(log, eye, lesions)
    _add_layer(log, _grain(eye, size), _GRAIN)
    image = np.exp(log)
    mean = np.exp(coarse[::8, ::8].reshape(-1, 3).mean(axis=0))
    layer = cv2.resize(veil(camera, eye.haze, mean, 128), (size, size), interpolation=cv2.INTER_LINEAR)
    red, green, blue, cover = cv2.split(layer)
    image = image * cv2.merge([1 - cover] * 3) + cv2.merge([red, green, blue])
    image = cv2.GaussianBlur(image, (0, 0), max(camera.blur * size, 0.3)) + sensor_noise(camera, size)
    return np.clip(image, 0, 255).astype(np.uint8)


def _add_layer(log: np.ndarray, layer: np.ndarray, color: np.ndarray) -> None:
    """Add a grey layer times a colour to the log colour, in place."""
    cv2.add(log, cv2.merge([layer * np.float32(c) for c in color]), dst=log)


def _grain(eye: Eye, size: int) -> np.ndarray:
    """Fine grain of the pigment epithelium, float32 (size, size)."""
    rng = eye.generator(4)
    return 0.013 * smooth_field(rng, 120, size) + 0.014 * smooth_field(rng, 256, size)


def _add_blood(log: np.ndarray, eye: Eye, disc: DiscMap, arteries: np.ndarray, veins: np.ndarray) -> None:
    """Subtract what the blood in the vessels absorbs; where an artery crosses a vein the artery lies in front."""
    strength = eye.vessel_contrast * blood_share(eye) / 255
    vein = veins.astype(np.float32) * strength
    artery = arteries.astype(np.float32) * strength
    vein *= 1 - 0.65 * np.minimum(artery, 1)
    for blood in (vein, artery):
        blood[disc.window] *= 1 + 0.45 * disc.inside
    _add_layer(log, artery, -_ARTERY)
    _add_layer(log, vein, -_VEIN)


def _add_lesions(log: np.ndarray, eye: Eye, lesions: dict[str, np.ndarray]) -> None:
    size = log.shape[0]
    looks = {
        "microaneurysms": (-_CLOT * blood_share(eye), 0.0010),
        "haemorrhages": (-_CLOT * blood_share(eye), 0.0024),
        "hard_exudates": (_EXUDATE, 0.0007),
        "cotton_wool_spots": (_WOOL, 0.0055),
        "neovascularisation": (-_ARTERY * blood_share(eye), 0.0004),
    }
    for kind, cover in lesions.items():
        color, softness = looks[kind]
        soft = cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), max(softness * size, 0.3))
        _add_layer(log, soft, color)


def _masks(
    eye: Eye, disc: DiscMap, arteries: np.ndarray, veins: np.ndarray, lesions: dict[str, np.ndarray], lit: np.ndarray
) -> dict[str, np.ndarray]:
    """Every kind of mask over the field, cut to what is lit."""
    inside = _above(lit, 127)
    masks = {"fov": inside, **disc_masks(disc, len(lit)), "fovea": _fovea_mask(eye, len(lit))}
    masks["arteries"], masks["veins"] = _above(arteries, _MASK_THRESHOLD), _above(veins, _MASK_THRESHOLD)
    masks["vessels"] = masks["arteries"] | masks["veins"]
    for kind in LESION_KINDS:
        masks[kind] = _above(lesions[kind], 90) if kind in lesions else np.zeros_like(inside)
    return {kind: masks[kind] & inside for kind in MASK_KINDS}


def _above(drawn: np.ndarray, threshold: int) -> np.ndarray:
    """0/255 mask of the pixels over a threshold."""
    return cv2.threshold(drawn, threshold, 255, cv2.THRESH_BINARY)[1]


def _fovea_mask(eye: Eye, size: int) -> np.ndarray:
    canvas = Canvas(size)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = eye.fovea + eye.fovea_radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    canvas.polygons([circle], np.array([255]))
    return _above(canvas.read(), 127)


def _labels(eye: Eye, frame: _Frame) -> dict[str, object]:
    fov_x, fov_y = frame.left + frame.field / 2, frame.top + frame.field / 2

    def share(x: float, y: float) -> tuple[float, float]:
        return (fov_x + x * frame.field) / frame.width, (fov_y + y * frame.field) / frame.width

    disc_x, disc_y = share(eye.disc_x, eye.disc_y)
    fovea_x, fovea_y = share(eye.fovea_x, eye.fovea_y)
    return {
        "eye": eye.side, "label": eye.label, "grade": eye.grade, "hemoglobin_g_dl": eye.hemoglobin,
        "camera_width": frame.width, "camera_height": frame.height,
        "fov_x": fov_x, "fov_y": fov_y, "fov_r": frame.field / 2,
        "disc_x": disc_x, "disc_y": disc_y, "disc_r": eye.disc_radius * frame.field / frame.width,
        "fovea_x": fovea_x, "fovea_y": fovea_y,
    }  # fmt: skip
