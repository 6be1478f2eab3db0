"""What goes wrong when an eye is photographed, at five severities, applied to a standardised photograph.

Every damage acts on the picture of the field of view alone; what is black outside it stays black. Lengths are fractions of
the field's diameter D, grain is that of a field 256 cells wide and JPEG that of the standardised picture, so that a damage
means the same whatever size a model then shrinks the picture to. Chance (where a reflection lies, which way the eye moved)
depends on the seed alone and not on the severity: the five pictures of one eye differ in strength only. Severities are the
five steps of Hendrycks and Dietterich (ICLR 2019), for which a summary over damages needs no choice of strength; the levels
are this module's own, see `DAMAGES`. Motion, defocus, lids and reflections are those of the simulated cameras
(`data.phantom.artefacts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ...data.phantom.artefacts import Artefacts, spoil
from ...preprocess.dataset_masks import whole_field
from ...runtime.errors import UserError

SEVERITIES = (1, 2, 3, 4, 5)
_GAMMA = 2.2  # display values follow light to the power 1 / 2.2
_GRID = 256  # cells of grain across the field
_LIT = 10  # grey levels: what is darker everywhere was not recorded
_DEGREES = 45.0  # of the usual fundus camera, which the pictures are taken to come from
_READ_NOISE = 2.0  # grey levels of a sensor that is given too little light
_VEIL = np.array([1.32, 1.2, 1.08], np.float32)  # of the field's mean: paler and a little warm


@dataclass(frozen=True)
class Damage:
    """One way in which a photograph is spoilt.

    Attributes:
        meaning: what happened, for people.
        unit: of the levels.
        levels: one a severity, 1 to 5.
        spoilt: (grey levels float32 (side, side, 3), field 0/1 float32 (side, side), level, seed) -> grey levels, not clipped.
    """

    meaning: str
    unit: str
    levels: tuple[float, ...]
    spoilt: Callable[[np.ndarray, np.ndarray, float, int], np.ndarray]


def damage(image: np.ndarray, kind: str, severity: int, seed: int = 0) -> np.ndarray:
    """The photograph with one damage.

    Args:
        image: uint8 (side, side, 3) RGB, standardised: the field of view as inscribed circle, black outside.
        kind: a name of `DAMAGES`.
        severity: 0 (the same picture) to 5.
        seed: of this photograph.

    Returns:
        uint8 (side, side, 3); exactly 0 outside the field.

    Raises:
        UserError: a kind or severity that is not known.
    """
    check_kinds([kind])
    if severity == 0:
        return image
    check_severities([severity])
    inside = recorded_field(image)
    one = DAMAGES[kind]
    spoilt = one.spoilt(image.astype(np.float32), inside, one.levels[severity - 1], seed)
    return (spoilt * inside[..., None]).round().clip(0, 255).astype(np.uint8)


def check_kinds(kinds: list[str] | tuple[str, ...], others: tuple[str, ...] = ()) -> None:
    """Refuse a name that is neither in `DAMAGES` nor in `others`.

    Raises:
        UserError: such a name.
    """
    known = (*DAMAGES, *others)
    for kind in kinds:
        if kind not in known:
            raise UserError(f"no damage is called {kind!r}; there are {', '.join(known)}")


def check_severities(severities: list[int] | tuple[int, ...]) -> None:
    """Refuse a severity other than 1 to 5.

    Raises:
        UserError: such a severity.
    """
    for severity in severities:
        if severity not in SEVERITIES:
            raise UserError(f"severity {severity} is not known, expected 1 to {SEVERITIES[-1]}")


def recorded_field(image: np.ndarray) -> np.ndarray:
    """Where a standardised photograph shows the eye, float32 (side, side) of 0 and 1.

    The convex hull of what is not black, within the inscribed circle: dark vessels are no holes in it, and straight cuts of
    the frame stay outside. The whole circle where nothing is lit.
    """
    circle = whole_field(len(image))
    red, green, blue = cv2.split(image)
    lit = cv2.bitwise_and(cv2.inRange(cv2.max(cv2.max(red, green), blue), _LIT + 1, 255), circle)
    lit = cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    rows = np.flatnonzero(lit.any(axis=1))
    if not len(rows):
        return (circle > 0).astype(np.float32)
    # The hull of the ends of every row is that of all pixels.
    left, right = lit[rows].argmax(axis=1), lit.shape[1] - 1 - lit[rows, ::-1].argmax(axis=1)
    ends = np.stack([np.r_[left, right], np.r_[rows, rows]], axis=1).astype(np.int32)
    hull = cv2.fillConvexPoly(np.zeros_like(circle), cv2.convexHull(ends), 255)
    # The opening takes the corners of what is lit, which are no corners of the field.
    hull = cv2.dilate(hull, np.ones((3, 3), np.uint8))
    return (cv2.bitwise_and(hull, circle) > 0).astype(np.float32)


def _within(values: np.ndarray, inside: np.ndarray, artefacts: Artefacts, seed: int) -> np.ndarray:
    """A blur that takes nothing from the black outside: of values x field, over that of the field."""
    top = spoil(values * inside[..., None], artefacts, seed)
    return top / np.maximum(spoil(inside, artefacts, seed), 1e-3)[..., None]


def _motion(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    angle = np.random.default_rng([seed, 1]).uniform(0, np.pi)
    return _within(values, inside, Artefacts(motion=level, motion_angle=float(angle)), seed)


def _defocus(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return _within(values, inside, Artefacts(defocus=level), seed)


def _dark(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return values * np.float32(2 ** (-level / _GAMMA)) + _READ_NOISE * _grain(len(values), seed)


def _overexposed(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return values * np.float32(2 ** (level / _GAMMA))


def _glare(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return spoil(values, Artefacts(glare=level), seed)


def _haze(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    mean = (values * inside[..., None]).sum() / (3 * max(inside.sum(), 1))
    return values * (1 - level) + level * mean * _VEIL


def _noise(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return values + level * _grain(len(values), seed)


def _grain(side: int, seed: int) -> np.ndarray:
    """Grain of standard deviation 1 in every cell and channel, float32 (side, side, 3)."""
    cells = np.random.default_rng([seed, 2]).standard_normal((_GRID, _GRID, 3), np.float32)
    return cv2.resize(cells, (side, side), interpolation=cv2.INTER_NEAREST if side >= _GRID else cv2.INTER_AREA)


def _jpeg(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    picture = cv2.cvtColor(values.astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(level)])
    return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB).astype(np.float32)


def _pixelated(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    side, cells = len(values), min(int(level), len(values))
    small = cv2.resize(values * inside[..., None], (cells, cells), interpolation=cv2.INTER_AREA)
    small /= np.maximum(cv2.resize(inside, (cells, cells), interpolation=cv2.INTER_AREA), 1e-3)[..., None]
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST)


def _covered(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    return spoil(values, Artefacts(lashes=level), seed)


def _narrower(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    side = len(values)
    zoom, middle = _DEGREES / level, (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), 0, zoom)
    return cv2.warpAffine(values, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _turned(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    side = len(values)
    way, middle = np.random.default_rng([seed, 3]).choice([-1.0, 1.0]), (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), float(way * level), 1)
    return cv2.warpAffine(values, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _cast(values: np.ndarray, inside: np.ndarray, level: float, seed: int) -> np.ndarray:
    way = np.random.default_rng([seed, 4]).choice([-1.0, 1.0])
    gain = np.exp(way * level * np.array([0.5, 0.0, -0.5]))
    return values * gain.astype(np.float32)


DAMAGES: dict[str, Damage] = {
    "blur": Damage("the eye or the hand moved during the exposure: a straight path", "share of D",
                   (0.01, 0.02, 0.035, 0.055, 0.08), _motion),
    "defocus": Damage("out of focus: a point becomes a disc", "radius, share of D",
                      (0.003, 0.006, 0.01, 0.016, 0.025), _defocus),
    "dark": Damage("too little light, and the noise of a sensor in the dark", "stops too few",
                   (1.0, 2.0, 3.5, 5.0, 7.0), _dark),
    "over-exposed": Damage("too much light: what is bright is burnt out", "stops too many",
                           (0.7, 1.3, 2.0, 3.0, 4.0), _overexposed),
    "glare": Damage("reflections of the lamp on cornea and lens: white spots with halos, a pale arc", "of full strength",
                    (0.2, 0.4, 0.6, 0.8, 1.0), _glare),
    "haze": Damage("a cloudy lens or stray light: a pale veil", "share of the light that is veil",
                   (0.2, 0.35, 0.5, 0.65, 0.8), _haze),
    "noise": Damage("a small sensor: grain in every colour", "grey levels, standard deviation in cells of D/256",
                    (6.0, 12.0, 20.0, 32.0, 48.0), _noise),
    "jpeg": Damage("stored too small, as messengers do", "JPEG quality, 1 to 100",
                   (50.0, 30.0, 18.0, 10.0, 5.0), _jpeg),
    "pixelation": Damage("a camera of few pixels, or a cut-out that was enlarged", "pixels across the field",
                         (128.0, 96.0, 64.0, 48.0, 32.0), _pixelated),
    "occlusion": Damage("the shadow of a lid and its lashes reaches into the field", "lid depth (1: to 0.4 D)",
                        (0.4, 0.6, 0.8, 1.0, 1.3), _covered),
    "narrow-field": Damage("a phone lens sees less of the retina: its middle fills the picture", "degrees instead of 45",
                           (38.0, 32.0, 26.0, 20.0, 15.0), _narrower),
    "rotation": Damage("the camera was held at an angle", "degrees, to either side",
                       (5.0, 15.0, 45.0, 90.0, 180.0), _turned),
    "colour-cast": Damage("a lamp or a white balance of another colour: warmer or cooler",
                          "natural logarithm of red over blue, to either side", (0.15, 0.3, 0.5, 0.75, 1.0), _cast),
}  # fmt: skip
"""Every damage by name, with what its five levels mean."""
