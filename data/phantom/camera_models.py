"""Whose camera: six simulated devices at random, and named models, each with habits that all its photographs share.

The named models have the pixel sizes of camera files that collections hold. `next_exposure` keeps the device and draws
all that changes from one photograph to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...runtime.errors import UserError
from .artefacts import Artefacts
from .camera import Camera

MIXED = "mixed"
"""The name of the six random devices, phantom-camera-a to phantom-camera-f."""

_YELLOW_BLUE = np.array([0.22, 0.39, 0.89])
_EXPOSURE = np.array([0.64, 0.60, 0.48])
_RED_GREEN = np.array([0.73, -0.67, 0.11])
_DEVICES = "abcdef"
_MIXED_PREFIX = "phantom-camera-"


@dataclass(frozen=True)
class CameraModel:
    """One model of camera. What has a rate is there in that share of the photographs.

    Attributes:
        name: its name in the column `camera`.
        width, height: of its files, pixels.
        radius: of the field of view, as a share of the frame's height; above 0.5 the circle is cut at top and bottom.
        degrees: angle of the field, at most 45. aim: 0 as the eye is posed, 1 at the optic disc.
        blue, green: its colour cast, along yellow-blue and along red-green, log units; spread: of the cast and brightness.
        vignette: mean fall-off to the rim. tilt: standard deviation of the slope of the light.
        blur: median, fraction of the field's diameter. noise: median, grey levels. fringe: chromatic aberration.
        notch_angle: radians; None for no notch.
        dust: specks on its lens.
        flare, ghost, glare, defocus, motion, lashes: rates. stops: standard deviation of a wrong exposure.
        stamp: whether it writes number and date on the frame, and in which corner (0..3).
    """

    name: str
    width: int
    height: int
    radius: float
    degrees: float = 45.0
    aim: float = 0.0
    blue: float = 0.0
    green: float = 0.0
    spread: float = 0.25
    vignette: float = 0.30
    tilt: float = 0.2
    blur: float = 0.0014
    noise: float = 1.5
    fringe: float = 0.0
    notch_angle: float | None = None
    dust: int = 0
    flare: float = 0.25
    ghost: float = 0.2
    glare: float = 0.0
    defocus: float = 0.05
    motion: float = 0.05
    lashes: float = 0.04
    stops: float = 0.25
    stamp: int | None = None

    @property
    def device(self) -> int:
        """A number of its own: the seed of its dust and of the colour of its stamp."""
        return sum(ord(letter) * 31**i for i, letter in enumerate(self.name)) % 2**31


CAMERA_MODELS = {
    model.name: model
    for model in (
        CameraModel("tabletop-2240", 2240, 1488, 0.455, blue=0.10, spread=0.20, notch_angle=-0.62, stops=0.2),
        CameraModel(
            "tabletop-2588", 2588, 1958, 0.575, blue=-0.55, green=0.04, vignette=0.38, blur=0.0019, noise=2.2, dust=5,
            notch_angle=0.66, flare=0.15,
        ),
        CameraModel(
            "tabletop-1504", 1504, 1000, 0.385, blue=-0.15, green=-0.05, vignette=0.22, blur=0.0030, noise=3.2, fringe=0.0015,
            dust=9, motion=0.10, stops=0.45, stamp=2,
        ),
        CameraModel(
            "phone", 1600, 1200, 0.44, degrees=25.0, aim=0.85, blue=-0.30, green=0.05, spread=0.35, vignette=0.75, tilt=0.55,
            blur=0.0050, noise=5.0, fringe=0.006, dust=3, flare=0.5, ghost=0.1, glare=0.85, defocus=0.35, motion=0.30,
            lashes=0.05, stops=0.55,
        ),
        CameraModel("widescreen", 1920, 1080, 0.47, blue=0.25, green=-0.03, vignette=0.45, noise=2.4, flare=0.4, stamp=1),
    )
}  # fmt: skip


def camera_names() -> tuple[str, ...]:
    """All that `sample_camera` knows: "mixed" and the named models."""
    return (MIXED, *CAMERA_MODELS)


def check_cameras(cameras: str | Sequence[str]) -> tuple[str, ...]:
    """The names in `cameras`: a name, names with commas between them, or a list.

    Raises:
        UserError: an unknown name, or none.
    """
    listed = cameras.split(",") if isinstance(cameras, str) else cameras
    names = tuple(name.strip() for name in listed if name.strip())
    unknown = [name for name in names if name not in camera_names()]
    if unknown or not names:
        raise UserError(
            f"phantoms have no camera {', '.join(unknown) or '(none given)'}; expected some of {', '.join(camera_names())}"
        )
    return names


def sample_camera(rng: np.random.Generator, name: str = MIXED) -> Camera:
    """One device in one exposure.

    Of the six devices of "mixed" the field is a circle of radius 0.40..0.49 of the frame's height, a little off centre,
    or a larger one (up to 0.58) cut at top and bottom; some have a notch.

    Raises:
        UserError: as `check_cameras`.
    """
    (name,) = check_cameras([name])
    if name == MIXED:
        name = _MIXED_PREFIX + _DEVICES[int(rng.integers(len(_DEVICES)))]
    return next_exposure(Camera(name=name), rng)


def next_exposure(camera: Camera, rng: np.random.Generator) -> Camera:
    """Another photograph with the same device."""
    if camera.name in CAMERA_MODELS:
        return _model_exposure(CAMERA_MODELS[camera.name], rng)
    return replace(camera, **_mixed_exposure(camera.name, rng))


def _model_exposure(model: CameraModel, rng: np.random.Generator) -> Camera:
    """A photograph by a named model."""
    aspect = model.width / model.height
    radius, warm = model.radius / aspect, float(rng.random())
    light = rng.normal(0, model.spread, 2)
    cast = (model.blue + light[0]) * _YELLOW_BLUE + np.clip(light[1], -0.6, 0.3) * _EXPOSURE
    cast = cast + (model.green + rng.normal(0, 0.03)) * _RED_GREEN
    return Camera(
        name=model.name,
        seed=int(rng.integers(2**31)),
        aspect=aspect,
        fov_radius=radius,
        offset_x=float(rng.uniform(-0.008, 0.008)),
        offset_y=float(rng.uniform(-0.006, 0.006)),
        notch=model.notch_angle is not None,
        notch_angle=model.notch_angle or 0.0,
        cast=tuple(float(c) for c in cast),
        vignette=float(np.clip(rng.normal(model.vignette, 0.1), 0.02, 1.0)),
        tilt_x=float(rng.normal(0, model.tilt)),
        tilt_y=float(rng.normal(0, model.tilt)),
        flare=float(rng.beta(1.2, 1.8)) if rng.random() < model.flare else 0.0,
        flare_angle=float(rng.uniform(0, 2 * np.pi)),
        flare_color=(170 + 70 * warm, 190 + 15 * warm, 165 - 60 * warm),
        rim=float(rng.beta(1.1, 2.2)) if rng.random() < 0.4 else 0.0,
        ghost=float(rng.uniform(0.1, 0.5)) if rng.random() < model.ghost else 0.0,
        blur=float(model.blur * rng.lognormal(0, 0.25)),
        noise=float(model.noise * rng.lognormal(0, 0.25)),
        zoom=45.0 / model.degrees,
        aim=model.aim,
        artefacts=_sample_artefacts(model, rng),
    )


def _sample_artefacts(model: CameraModel, rng: np.random.Generator) -> Artefacts:
    """What goes wrong in one photograph; the dust stays where it is."""
    amount, happens = rng.random(4), rng.random(4)
    number, year, month, day = (int(n) for n in rng.integers([100, 1999, 1, 1], [99999, 2025, 13, 29]))
    return Artefacts(
        defocus=float(0.002 + 0.008 * amount[0]) if happens[0] < model.defocus else 0.0,
        motion=float(0.006 + 0.02 * amount[1]) if happens[1] < model.motion else 0.0,
        motion_angle=float(rng.uniform(0, np.pi)),
        fringe=model.fringe,
        dust=model.dust,
        dust_seed=model.device,
        glare=float(0.3 + 0.7 * amount[2]) if happens[2] < model.glare else 0.0,
        lashes=float(0.2 + 0.6 * amount[3]) if happens[3] < model.lashes else 0.0,
        exposure=float(np.clip(rng.normal(0, model.stops), -2.5, 2.0)),
        stamp="" if model.stamp is None else f"{number:05d}  {day:02d}/{month:02d}/{year}",
        stamp_corner=model.stamp or 0,
    )


def _mixed_exposure(name: str, rng: np.random.Generator) -> dict[str, object]:
    """What changes from one photograph of a device to the next, given the device's habits."""
    habits = np.random.default_rng([7919, _DEVICES.index(name[-1])])
    blue = np.clip(habits.normal(0, 0.45) + rng.normal(0, 0.45), -1.3, 0.5)
    green = habits.normal(0, 0.03) + rng.normal(0, 0.035)
    bright = np.clip(rng.normal(0, 0.26) - 0.2 * blue, -0.7, 0.32)
    cast = blue * _YELLOW_BLUE + bright * _EXPOSURE + green * _RED_GREEN
    aspect = float(habits.choice([1.0, 1.25, 1.333, 1.5]))
    cut = habits.random() < 0.4 and aspect > 1.0
    radius = float((habits.uniform(0.52, 0.58) if cut else habits.uniform(0.40, 0.485)) / aspect)
    warm = float(rng.random())
    return {
        "seed": int(rng.integers(2**31)),
        "aspect": aspect,
        "fov_radius": radius,
        "offset_x": float(rng.uniform(-1, 1) * min(0.5 - radius, 0.03)),
        "offset_y": float(rng.uniform(-1, 1) * min(max(0.5 / aspect - radius, 0.0), 0.02)),
        "notch": bool(habits.random() < 0.5),
        "notch_angle": float(habits.choice([-1, 1]) * habits.uniform(0.45, 0.8)),
        "cast": tuple(float(c) for c in cast),
        "vignette": float(np.clip(rng.normal(0.30, 0.14), 0.02, 0.7)),
        "tilt_x": float(rng.normal(0, 0.22)),
        "tilt_y": float(rng.normal(0, 0.22)),
        "flare": float(rng.beta(1.2, 1.8)) if rng.random() < 0.30 else 0.0,
        "flare_angle": float(rng.uniform(0, 2 * np.pi)),
        "flare_color": (170 + 70 * warm, 190 + 15 * warm, 165 - 60 * warm),
        "rim": float(rng.beta(1.1, 2.2)) if rng.random() < 0.6 else 0.0,
        "ghost": float(rng.uniform(0.1, 0.5)) if rng.random() < 0.25 else 0.0,
        "blur": float(np.clip(rng.lognormal(np.log(0.0015), 0.35), 0.0007, 0.0045)),
        "noise": float(rng.uniform(0.8, 2.6)),
    }
