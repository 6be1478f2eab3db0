"""What the duplicate search keeps of one photograph: small maps in which copies look alike and different eyes do not.

Illumination and exposure are removed by local normalisation (the local mean is subtracted, the rest divided by the local
standard deviation). A turned copy is the same map shifted along the angle of polar coordinates, so the magnitudes of the
Fourier transform along that angle do not change, and neither do they in a mirror image (the rotation invariance of the
Fourier-Mellin transform; Reddy and Chatterji 1996, IEEE Trans. Image Process. 5:1266).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..runtime.files import sha256_bytes
from .cache import fit_square
from .image_file import read_image

SIDE = 96  # pixels: fine vessels still show, the blocks of a JPEG of quality 30 hardly do
COARSE_SIDE = SIDE // 2
ANGLES = 128
_RINGS = 24
_RINGS_POOLED = 4  # a copy cropped at its sides has its rings moved: wide ones change less
_FREQUENCIES = 24
_KEPT = 40  # of 65 frequencies; the smoothed map has nothing beyond
_BLACK = 8  # grey levels: darker than this is outside the field of view
_STEPS = 40.0  # int8 steps a unit of the normalised map


@dataclass(frozen=True)
class Scale:
    """Side of a map in pixels, and the widths of the Gaussians of its local normalisation: smoothing, mean, deviation."""

    side: int
    smooth: float
    mean: float
    deviation: float


# Coarse: what is left of a copy whose rings were moved by a crop; fine: what tells photographs apart in the end.
COARSE = Scale(COARSE_SIDE, 0.75, 3.0, 6.0)
FINE = Scale(SIDE, 0.7, 4.0, 9.6)


@dataclass(frozen=True)
class Appearance:
    """One photograph, small.

    Attributes:
        digest: SHA-256 of the decoded pixels (and their shape), 64 hex digits.
        grey: uint8 (SIDE, SIDE) luminance.
        field: uint8 (COARSE_SIDE, COARSE_SIDE), 255 times the share of a pixel that lies in the field of view.
        coarse: int8 (COARSE_SIDE, COARSE_SIDE), the coarse map.
        spectrum: complex64 (rings, frequencies), the coarse map around the centre, transformed along the angle; of
            length 1 in the sense that `agreement` with itself is 1.
        descriptor: float32 (144,) of length 1, the same for turned and mirrored copies.
    """

    digest: str
    grey: np.ndarray
    field: np.ndarray
    coarse: np.ndarray
    spectrum: np.ndarray
    descriptor: np.ndarray


def read_appearance(path: Path | str) -> Appearance:
    """Decode an image file and describe it; errors as in `image_file.read_image`."""
    return describe_appearance(read_image(path))


def describe_appearance(image: np.ndarray) -> Appearance:
    """Describe a standardised photograph, uint8 (height, width, 3) RGB of any size."""
    digest = sha256_bytes(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    luminance = fit_square(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), max(SIDE, max(image.shape)))
    grey = fit_square(luminance, SIDE)
    lit = fit_square(np.where(luminance > _BLACK, np.uint8(255), np.uint8(0)), COARSE_SIDE)
    coarse, _ = normalized(grey, COARSE)
    polar = cv2.remap(coarse, *_POLAR_GRID, cv2.INTER_LINEAR)
    spectrum = _spectrum(polar)
    return Appearance(digest, grey, lit, np.rint(coarse * _STEPS).astype(np.int8), spectrum, _descriptor(spectrum))


def normalized(grey: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Local normalisation inside the field of view.

    Args:
        grey: uint8 (SIDE, SIDE).

    Returns:
        float32 (side, side) within -3..3, 0 outside; and bool (side, side), true where it is known.
    """
    grey = fit_square(grey, scale.side)
    rim = np.ones((5, 5) if scale.side == SIDE else (3, 3), np.uint8)
    inside = cv2.erode(((grey > _BLACK) & _CIRCLES[scale.side]).astype(np.uint8), rim).astype(np.float32)
    values = _blur(grey.astype(np.float32), scale.smooth)
    mean = _blur(values * inside, scale.mean) / (_blur(inside, scale.mean) + 1e-6)
    rest = (values - mean) * inside
    deviation = np.sqrt(_blur(rest * rest, scale.deviation) / (_blur(inside, scale.deviation) + 1e-6))
    # 1.5 grey levels: what rounding and compression leave in a part without any structure must not be blown up.
    return np.clip(rest / (deviation + 1.5), -3, 3) * inside, inside > 0


def agreement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of two polar maps at every angle.

    Args:
        a, b: spectra (n, rings, frequencies), pair by pair.

    Returns:
        float32 (n, 2, ANGLES): [:, 0, s] when b is a turned by s steps, [:, 1, s] when it is mirrored as well.
    """
    products = np.stack([(a * b.conj()).sum(1), (a * b).sum(1)], axis=1)
    return np.fft.irfft(products, ANGLES, axis=-1)


def _spectrum(polar: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft(polar * _RING_WEIGHT, axis=1)[:, :_KEPT]
    energy = np.fft.irfft((spectrum * spectrum.conj()).sum(0), ANGLES)[0]
    return (spectrum / np.sqrt(energy + 1e-6)).astype(np.complex64)


def _descriptor(spectrum: np.ndarray) -> np.ndarray:
    power = np.abs(spectrum[:, 1 : _FREQUENCIES + 1]) ** 2
    pooled = power.reshape(_RINGS // _RINGS_POOLED, _RINGS_POOLED, _FREQUENCIES).sum(1).ravel()
    # The fourth root keeps the optic disc, by far the strongest structure, from deciding alone.
    descriptor = pooled**0.25
    return (descriptor / (np.linalg.norm(descriptor) + 1e-6)).astype(np.float32)


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma)


def _circle(side: int) -> np.ndarray:
    return np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) < 0.47 * side


def _polar_grid() -> tuple[np.ndarray, np.ndarray]:
    angle, centre = np.arange(ANGLES) * (2 * np.pi / ANGLES), (COARSE_SIDE - 1) / 2
    x, y = (centre + _RING_RADII[:, None] * wave(angle) for wave in (np.cos, np.sin))
    return x.astype(np.float32), y.astype(np.float32)


_RING_RADII = (np.arange(_RINGS) + 1.5) / (_RINGS + 1) * 0.46 * COARSE_SIDE
_RING_WEIGHT = np.sqrt(_RING_RADII).astype(np.float32)[:, None]
_POLAR_GRID = _polar_grid()
_CIRCLES = {side: _circle(side) for side in (SIDE, COARSE_SIDE)}
