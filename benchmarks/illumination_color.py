"""python benchmarks/illumination_color.py [--eyes 60] [--size 256]

What each illumination correction does to pallor: the same phantom eye through the same camera, once with 8 and once with
14 g/dL of haemoglobin. Printed are the mean change of red over green and of brightness from 14 to 8 g/dL with their 95 %
intervals, and the spread between eyes that a change has to stand out from.
"""

from __future__ import annotations

import argparse

import numpy as np

from fundus_synth.data.phantom.anatomy import sample_eye
from fundus_synth.data.phantom.camera_models import sample_camera
from fundus_synth.data.phantom.render import render
from fundus_synth.preprocess.illumination import ILLUMINATIONS
from fundus_synth.preprocess.standardize import standardize

ANEMIC, NORMAL = 8.0, 14.0


def colors(seed: int, hemoglobin: float, size: int) -> np.ndarray:
    """Mean red over mean green, and mean brightness, after each correction; (corrections, 2)."""
    eye = sample_eye(np.random.default_rng([seed, 0]), hemoglobin=hemoglobin)
    frame = render(eye, sample_camera(np.random.default_rng([seed, 1])), size).image
    found = []
    for name in ILLUMINATIONS:
        result = standardize(frame, size, name)
        red, green, blue = result.image[result.mask > 0].mean(axis=0)
        found.append((red / max(green, 1.0), (red + green + blue) / 3))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eyes", type=int, default=60)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    n = arguments.eyes
    normal = np.stack([colors(seed, NORMAL, arguments.size) for seed in range(n)])
    change = np.stack([colors(seed, ANEMIC, arguments.size) for seed in range(n)]) - normal
    mean, error = change.mean(axis=0), 1.96 * change.std(axis=0, ddof=1) / np.sqrt(n)
    spread = normal.std(axis=0, ddof=1)
    print(f"{n} phantom eyes, {arguments.size} px, {NORMAL:g} -> {ANEMIC:g} g/dL")
    print("| illumination | change of red/green | its spread between eyes | change of brightness | its spread |")
    print("|---|---|---|---|---|")
    for i, name in enumerate(ILLUMINATIONS):
        print(f"| `{name}` | {mean[i, 0]:+.3f} +- {error[i, 0]:.3f} | {spread[i, 0]:.3f} "
              f"| {mean[i, 1]:+.1f} +- {error[i, 1]:.1f} | {spread[i, 1]:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
