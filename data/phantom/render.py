"""Render one eye through one camera: image, masks and labels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Eye
from .artefacts import spoil, write_stamp
from .background import DETAIL, background_log_color, blood_share, smooth_field
from .branching import Vessel
from .camera import Camera, View, exposed, field_mask, illumination, sensor_noise, veil
from .cataract import clouded
from .crossings import nicked
from .disc import DiscMap, add_disc, cup_to_disc, disc_map, disc_masks
from .lesion_kinds import LESION_KINDS, Lesions
from .lesions import sample_lesions
from .painting import ARTERY, DEEP, FRONT, add_layer, add_lesions
from .raster import Canvas
from .vessels import grow_vessels

MASK_KINDS = ("fov", "optic_disc", "optic_cup", "fovea", "vessels", "arteries", "veins", *LESION_KINDS)
_VEIN = np.array([0.15, 0.50, 0.28], np.float32)
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
    if eye.hypertension:
        vessels, lesions.arteriovenous_nicking = nicked(eye, vessels)
    view = View.of(camera, eye.disc, frame.field)
    arteries, veins = (_draw_vessels([v for v in vessels if v.artery == kind], view.full, eye.hypertension)
                      for kind in (True, False))  # fmt: skip
    drawn = _draw_lesions(lesions, eye, view.full)
    lit = field_mask(camera, frame.field)
    disc = disc_map(eye, view.full)
    for kind in [kind for kind in DEEP if kind in drawn]:
        drawn[kind][disc.window][disc.margin <= 1] = 0
    field_image = _photograph(eye, camera, view, disc, arteries, veins, drawn)
    image = frame.place_image(field_image, lit, camera)
    masks = _masks(eye, view, disc, arteries, veins, drawn, lit)
    return Phantom(image, {kind: frame.place(mask) for kind, mask in masks.items()}, _labels(eye, frame, view))


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
        image = np.maximum(image, floor)
        write_stamp(image, camera.artefacts)
        return image


def _draw_vessels(vessels: list[Vessel], size: int, copper: float = 0.0) -> np.ndarray:
    """Optical density of one tree, uint8 (size, size): round in section, thin vessels faint, a reflex on arteries.

    The reflex is wider and brighter with `copper` 0..1, as the walls of arteries thicken.
    """
    canvas = Canvas(size)
    lines = [v.points for v in vessels]
    widths = [2 * v.radius for v in vessels]
    density = [255 * (0.36 + 0.64 * np.minimum(w / 0.0115, 1.0)) for w in widths]
    artery = bool(vessels) and vessels[0].artery
    canvas.strokes(lines, widths, [(0.92 if artery else 0.74) * d for d in density])
    wide = [i for i, w in enumerate(widths) if w.max() > 0.004]
    core, value = (0.30 + 0.16 * copper, 0.50 - 0.22 * copper) if artery else (0.55, 1.0)
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
            even = kind in DEEP and DEEP[kind].even
            canvas.polygons(
                shapes, np.full(len(shapes), 230) if even else eye.generator(22).uniform(150, 255, len(shapes))
            )
        drawn[kind] = canvas.read()
    return drawn


def _photograph(
    eye: Eye, camera: Camera, view: View, disc: DiscMap, arteries: np.ndarray, veins: np.ndarray, lesions: dict[str, np.ndarray],
) -> np.ndarray:  # fmt: skip
    """The lit field, uint8 (size, size, 3), before the surround is blacked out."""
    size = arteries.shape[0]
    coarse = exposed(background_log_color(eye) + illumination(camera, DETAIL, view), view)
    log = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    add_disc(log, eye, disc)
    add_lesions(log, eye, lesions, DEEP)
    _add_blood(log, eye, disc, arteries, veins)
    add_lesions(log, eye, lesions, FRONT)
    add_layer(log, _grain(eye, size), _GRAIN)
    image, size = np.exp(view.crop(log)), view.size
    mean = np.exp(view.crop(coarse)[::8, ::8].reshape(-1, 3).mean(axis=0))
    layer = cv2.resize(veil(camera, eye.haze, mean, 128), (size, size), interpolation=cv2.INTER_LINEAR)
    red, green, blue, cover = cv2.split(layer)
    image = image * cv2.merge([1 - cover] * 3) + cv2.merge([red, green, blue])
    image = clouded(image, eye) if eye.cataract else image
    image = cv2.GaussianBlur(image, (0, 0), max(camera.blur * size, 0.3))
    image = spoil(image, camera.artefacts, camera.seed) + sensor_noise(camera, size)
    return np.clip(image, 0, 255).astype(np.uint8)


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
    add_layer(log, artery, -ARTERY)
    add_layer(log, vein, -_VEIN)


def _masks(
    eye: Eye, view: View, disc: DiscMap, arteries: np.ndarray, veins: np.ndarray, lesions: dict[str, np.ndarray], lit: np.ndarray,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Every kind of mask over the field, cut to what is lit."""
    inside = _above(lit, 127)
    masks = {**disc_masks(disc, view.full), "fovea": _fovea_mask(eye, view.full)}
    masks["arteries"], masks["veins"] = _above(arteries, _MASK_THRESHOLD), _above(veins, _MASK_THRESHOLD)
    masks["vessels"] = masks["arteries"] | masks["veins"]
    nothing = np.zeros_like(arteries)
    for kind in LESION_KINDS:
        masks[kind] = _above(lesions[kind], 90) if kind in lesions else nothing
    return {"fov": inside, **{kind: view.crop(mask) & inside for kind, mask in masks.items()}}


def _above(drawn: np.ndarray, threshold: int) -> np.ndarray:
    """0/255 mask of the pixels over a threshold."""
    return cv2.threshold(drawn, threshold, 255, cv2.THRESH_BINARY)[1]


def _fovea_mask(eye: Eye, size: int) -> np.ndarray:
    canvas = Canvas(size)
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = eye.fovea + eye.fovea_radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    canvas.polygons([circle], np.array([255]))
    return _above(canvas.read(), 127)


def _labels(eye: Eye, frame: _Frame, view: View) -> dict[str, object]:
    fov_x, fov_y = frame.left + frame.field / 2, frame.top + frame.field / 2
    aim_x, aim_y = view.centre

    def share(x: float, y: float) -> tuple[float, float]:
        return (fov_x + (x - aim_x) * view.full) / frame.width, (fov_y + (y - aim_y) * view.full) / frame.width

    disc_x, disc_y = share(eye.disc_x, eye.disc_y)
    fovea_x, fovea_y = share(eye.fovea_x, eye.fovea_y)
    return {
        "eye": eye.side, "label": eye.label, "grade": eye.grade, "hemoglobin_g_dl": eye.hemoglobin,
        "camera_width": frame.width, "camera_height": frame.height,
        "fov_x": fov_x, "fov_y": fov_y, "fov_r": frame.field / 2,
        "disc_x": disc_x, "disc_y": disc_y, "disc_r": eye.disc_radius * view.full / frame.width,
        "fovea_x": fovea_x, "fovea_y": fovea_y, **_parameters(eye),
    }  # fmt: skip


def _parameters(eye: Eye) -> dict[str, object]:
    """What is true of the eye itself, wherever it is photographed."""
    return {
        "cup_to_disc": cup_to_disc(eye), "av_ratio": round(eye.artery_width / eye.vein_width, 3),
        "tessellation": round(eye.tessellation, 3), "cataract": round(eye.cataract, 3),
        "findings": "|".join(eye.findings),
    }  # fmt: skip
