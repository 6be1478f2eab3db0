"""python benchmarks/preprocess_landmarks.py --real FOLDER [--sheet FILE.png] [--phantoms 12] [--eyes 600]

How well optic disc, fovea and side are found where nothing was trained on: the held-out third of DIARETDB1 (real discs), phantoms
of another seed (disc and fovea, every class and camera), and every fifth ODIR patient (which eye; planted flips). Ends
with the time an eye takes over the time to decode its picture, in one run. --sheet lays 100 ODIR eyes with what was
found out as one picture, to be looked at and kept to yourself: green the disc, cyan the fovea, red where a landmark is
not visible.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import write_image
from fundus_synth.preprocess.landmark_training import Examples, disc_errors, marked_discs, phantoms, sided_eyes
from fundus_synth.preprocess.landmarks import Landmarks, find_landmarks_batch
from fundus_synth.preprocess.orientation import find_orientation, upright

_TURNS = ("ok", "mirrored", "upside_down")


def report_places(name: str, examples: Examples) -> None:
    """Disc within one radius; fovea within one disc diameter; both also as a mean distance."""
    marks = examples.marks.numpy()
    inside = np.hypot(*(marks[:, :2] - 0.5).T) < 0.49
    found = np.array(find_landmarks_batch(list(examples.images.numpy())), dtype=object)
    share, far = disc_errors(list(found[inside]), marks[inside])
    seen = np.mean([one.disc_visible for one in found[inside]])
    print(
        f"{name}: {inside.sum()} discs, {share:.1%} within one radius, mean error {far:.2%} of the width, {seen:.0%} visible"
    )
    known = np.hypot(*(marks[:, 3:] - 0.5).T) < 0.49
    if known.any():
        way = np.array([[one.fovea_x, one.fovea_y] for one in found[known]]) - marks[known, 3:]
        far = np.hypot(*way.T)
        share = (far <= 2 * marks[known, 2]).mean()
        print(f"{name}: {known.sum()} foveas, {share:.1%} within one disc diameter, mean error {far.mean():.2%}")


def report_sides(eyes: Examples) -> None:
    """Which eye it is, and what is said of pictures that were turned on purpose."""
    images = list(eyes.images.numpy())
    names = ["right" if side > 0 else "left" for side in eyes.side]
    found = find_landmarks_batch(images)
    good = np.array([one.eye == name for one, name in zip(found, names, strict=True)])
    sure = np.array([one.eye_confidence >= 0.5 for one in found])
    visible = np.mean([one.disc_visible for one in found])
    print(f"ODIR: {len(good)} eyes, side right in {good.mean():.1%}; {good[sure].mean():.1%} of the {sure.mean():.0%} it is "
          f"sure of; disc visible in {visible:.0%}")  # fmt: skip
    for turn in _TURNS:
        turned = find_landmarks_batch([upright(image, turn) for image in images])
        for known in (True, False):
            said = [find_orientation(o, n if known else "").state for o, n in zip(turned, names, strict=True)]
            shares = ", ".join(f"{state} {said.count(state) / len(said):.1%}" for state in sorted(set(said)))
            print(f"ODIR {turn}, eye {'known' if known else 'unknown'}: {shares}")


def report_time(dataset: FundusDataset) -> None:
    """Time of an eye at batch 16 over that of decoding its picture."""
    start = time.process_time()
    images = [dataset.read(index) for index in range(64)]
    decoding = time.process_time() - start
    find_landmarks_batch(images[:16])
    start = time.process_time()
    find_landmarks_batch(images)
    finding = time.process_time() - start
    print(f"an eye takes {finding / decoding:.1f} x the decoding of its 256 px WebP ({1000 * finding / 64:.1f} ms)")


def overlay(image: np.ndarray, found: Landmarks, side: int = 160) -> np.ndarray:
    """The eye with circles where disc and fovea were found."""
    picture = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    disc, fovea = (
        (round(found.disc_x * side), round(found.disc_y * side)),
        (round(found.fovea_x * side), round(found.fovea_y * side)),
    )
    cv2.circle(picture, disc, max(2, round(found.disc_r * side)), (0, 255, 0) if found.disc_visible else (255, 0, 0), 1)
    cv2.drawMarker(picture, fovea, (0, 255, 255) if found.fovea_visible else (255, 0, 0), cv2.MARKER_CROSS, 9, 1)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--eyes", type=int, default=600)
    options = parser.parse_args()
    odir = FundusDataset.open(options.real / "odir")
    report_places("DIARETDB1, held out", marked_discs(FundusDataset.open(options.real / "diaretdb1"), held_out=True))
    eyes = sided_eyes(odir, held_out=True, limit=options.eyes)
    report_sides(eyes)
    if options.sheet:
        chosen = np.linspace(0, len(eyes.images) - 1, 100).astype(int)
        images = list(eyes.images.numpy()[chosen])
        tiles = [overlay(image, found) for image, found in zip(images, find_landmarks_batch(images), strict=True)]
        write_image(options.sheet, np.vstack([np.hstack(tiles[row : row + 10]) for row in range(0, len(tiles), 10)]))
    report_time(odir)
    report_places("phantoms", phantoms(options.phantoms, seed=9001, workers=1))


if __name__ == "__main__":
    main()
