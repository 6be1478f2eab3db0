"""Vessels as dark lines, and lesions as dark or bright blobs, by the second derivatives of the green channel.

After Frangi et al. (1998, MICCAI, LNCS 1496:130): across a dark line the curvature is large and along it small; in a blob
both are large. Curvatures are of `Eye.flat`, so in units of the logarithm of light, and multiplied with the square of
their scale.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from .eye import SIDE, Eye, disc_mask, grid

_SCALES = (1.0, 1.8, 3.2)  # pixels of 256
_LINE, _STRONG_LINE = 0.025, 0.06
_BLOB, _ROUND = 0.02, 0.4
_BRIGHT = 0.18
_AROUND = 9


class Curvature(NamedTuple):
    """Of one scale, each float32 (SIDE, SIDE): the larger and the smaller curvature, and the direction of the larger one
    as cosine and sine of twice its angle, times the difference of the two."""

    large: np.ndarray
    small: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray


def curvature(flat: np.ndarray, scale: float) -> Curvature:
    """The principal curvatures at a Gaussian scale in pixels, times its square."""
    smooth = cv2.GaussianBlur(flat, (0, 0), scale)
    gain = scale**2 / 4
    xx = cv2.Sobel(smooth, cv2.CV_32F, 2, 0, scale=gain)
    yy = cv2.Sobel(smooth, cv2.CV_32F, 0, 2, scale=gain)
    cosine, sine = xx - yy, cv2.Sobel(smooth, cv2.CV_32F, 1, 1, scale=2 * gain)
    half, difference = (xx + yy) / 2, cv2.magnitude(cosine, sine) / 2
    return Curvature(half + difference, half - difference, cosine, sine)


class Lines(NamedTuple):
    """Dark lines of an eye, each float32 (SIDE, SIDE) and 0 off the inner field.

    Attributes:
        strength: 0 or more; above 0.025 it is mostly vessel.
        cosine, sine: of twice the angle across the line, times `strength`.
        scales: the strength at each scale.
    """

    strength: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    scales: list[np.ndarray]


def vessel_features(eye: Eye) -> dict[str, float]:
    """Vessels and lesions of one eye; see the functions below."""
    curvatures = [curvature(eye.flat, scale) for scale in _SCALES]
    lines = find_lines(eye, curvatures)
    return {**_amount(eye, lines), **_course(eye, lines), **_blobs(eye, curvatures)}


def find_lines(eye: Eye, curvatures: list[Curvature]) -> Lines:
    """At each pixel the line of the scale at which it is the strongest."""
    inside = eye.inside.astype(np.float32)
    scales = [cv2.multiply(cv2.max(c.large - cv2.absdiff(c.small, 0), 0), inside) for c in curvatures]
    strength, cosine, sine = scales[0].copy(), curvatures[0].cosine.copy(), curvatures[0].sine.copy()
    for response, found in zip(scales[1:], curvatures[1:], strict=True):
        stronger = cv2.compare(response, strength, cv2.CMP_GT)
        cv2.copyTo(response, stronger, strength)
        cv2.copyTo(found.cosine, stronger, cosine)
        cv2.copyTo(found.sine, stronger, sine)
    length = cv2.divide(strength, cv2.magnitude(cosine, sine) + np.float32(1e-6))
    return Lines(strength, cv2.multiply(cosine, length), cv2.multiply(sine, length), scales)


def _amount(eye: Eye, lines: Lines) -> dict[str, float]:
    """ln of the mean response at each scale; shares of the inner field that are vessel and strong vessel; calibre (mean
    logarithm of the scale, weighted by response); into how many pieces the vessels fall (logarithm) and the share of the
    largest; density near disc and fovea."""
    area = float(cv2.countNonZero(eye.inner))
    means = [cv2.mean(response, eye.inner)[0] for response in lines.scales]
    vessel = cv2.threshold(lines.strength, _LINE, 1, cv2.THRESH_BINARY)[1].astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(vessel, connectivity=8)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    pieces, total = int((sizes >= 8).sum()), max(int(sizes.sum()), 1)
    found = eye.landmarks
    near_disc = disc_mask(found.disc_x, found.disc_y, 3 * found.disc_r) & eye.inner
    near_fovea = disc_mask(found.fovea_x, found.fovea_y, 2 * found.disc_r) & eye.inner
    return {
        **{f"line_{i}": float(np.log(mean + 1e-4)) for i, mean in enumerate(means)},
        "vessel_density": float(sizes.sum()) / area,
        "strong_vessel_density": cv2.countNonZero(cv2.compare(lines.strength, _STRONG_LINE, cv2.CMP_GT)) / area,
        "vessel_caliber": float(np.dot(means, np.log(_SCALES)) / (sum(means) + 1e-4)),
        "vessel_pieces": float(np.log1p(pieces)),
        "longest_vessel": float(sizes.max()) / total if count > 1 else 0.0,
        "vessel_density_at_disc": cv2.mean(vessel, near_disc)[0],
        "vessel_density_at_fovea": cv2.mean(vessel, near_fovea)[0],
    }


def _course(eye: Eye, lines: Lines) -> dict[str, float]:
    """How straight vessels run (1 = all in one direction within 9 pixels), how far they point away from the disc (-1 around it,
    1 straight away), and which way most of them run (towards 1 left to right, -1 up and down)."""
    line, cosine, sine, _ = lines
    size = (_AROUND, _AROUND)
    together = cv2.magnitude(cv2.boxFilter(cosine, -1, size), cv2.boxFilter(sine, -1, size))
    total = float(line.sum()) + 1e-3
    x, y = grid()
    away_x, away_y = x - np.float32(eye.landmarks.disc_x), y - np.float32(eye.landmarks.disc_y)
    squared = away_x**2 + away_y**2 + 1e-6
    radial = (away_x**2 - away_y**2) * cosine + 2 * away_x * away_y * sine
    radius = eye.landmarks.disc_r
    near = (squared > (1.2 * radius) ** 2) & (squared < (4 * radius) ** 2)
    # A vessel runs at right angles to the direction in which it curves most, hence the minus signs.
    return {
        "vessel_straightness": float((together * eye.inside).sum()) / total,
        "vessels_from_disc": -float((radial[near] / squared[near]).sum()) / (float(line[near].sum()) + 1e-3),
        "vessels_across": -float(cosine.sum()) / total,
    }


def _blobs(eye: Eye, curvatures: list[Curvature]) -> dict[str, float]:
    """Blobs that may be lesions, away from the disc: number (logarithm) and share of the inner field (square root) of small
    dark ones, of small bright ones, and of large bright areas with the size of the largest in discs."""
    found = eye.landmarks
    field = eye.inner & ~disc_mask(found.disc_x, found.disc_y, 1.5 * found.disc_r)
    dark, bright = (np.zeros((SIDE, SIDE), np.uint8) for _ in range(2))
    for found_at in curvatures[1:]:
        dark |= _round(found_at.small, found_at.large)
        bright |= _round(-found_at.large, -found_at.small)
    patches = cv2.compare(eye.flat, _BRIGHT, cv2.CMP_GT)
    features = {}
    for name, blobs in {"dark_blobs": dark, "bright_blobs": bright, "bright_patches": patches}.items():
        count, _, stats, _ = cv2.connectedComponentsWithStats(blobs & field, connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        features[name] = float(np.log1p((areas >= 3).sum()))
        features[f"{name}_area"] = float(np.sqrt(areas.sum() / max(cv2.countNonZero(field), 1)))
    largest = float(areas.max()) if count > 1 else 0.0
    features["largest_patch"] = float(np.sqrt(largest / (np.pi * (found.disc_r * SIDE) ** 2)))
    return features


def _round(least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """uint8 0/255: where the picture curves the same way in all directions, the least by 0.4 of the most."""
    return cv2.compare(least, cv2.max(_ROUND * most, _BLOB), cv2.CMP_GT)
