"""python benchmarks/retinal_frame.py --real FOLDER [--phantoms 12] [--seed 9002]

How far apart the same place of two maps lies in the retinal frame of `fundus-classify mean-maps`, when optic disc and fovea
were found and not given. Three figures, in disc diameters:

- phantoms, whose disc and fovea are known: how far each of them, and the whole field on average, lies from where the truth
  would have put it;
- the same phantoms photographed again (turned by up to 15 degrees, shifted, 5 % larger or smaller, every other one mirrored):
  how far the vessels of the one lie from those of the other in the frame, against the truth and against no registration;
- DIARETDB1's eyes, whose discs four experts have marked: how far the true disc lies from the frame's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

from fundus_synth.classify.explain.retinal_frame import frame_matrices, to_frame
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.landmark_columns import with_landmarks
from fundus_synth.preprocess.landmark_training import marked_discs
from fundus_synth.preprocess.registration import DISC, FOVEA

_DIAMETER = float(np.hypot(*np.subtract(DISC, FOVEA))) / 2.5  # of the frame's width
_SIDE, _FRAME = 256, 256
_GRID = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 9)] * 2), -1).reshape(-1, 2)
_GRID = _GRID[np.hypot(*(_GRID - 0.5).T) < 0.48]


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Places, float (n, 2) in fractions of the width, after an affine map."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def told(name: str, distances: np.ndarray) -> None:
    """Print a distribution of distances, in fractions of the frame's width, in disc diameters."""
    far = np.asarray(distances) / _DIAMETER
    print(f"{name}: median {np.median(far):.3f}, 90th percentile {np.percentile(far, 90):.3f}, largest {far.max():.2f} "
          f"disc diameters ({len(far)} eyes)")  # fmt: skip


def found_matrices(images: list[np.ndarray]) -> np.ndarray:
    """The ways into the frame by what the finder finds; nan where it does not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "eyes"
        with DatasetWriter(path, {"name": "eyes"}) as writer:
            for number, image in enumerate(images):
                writer.add({"file_name": f"images/{number:04}.png", "patient_id": str(number)}, image)
        return frame_matrices(with_landmarks(FundusDataset.open(path), quiet=True).table)


def photographed_again(picture: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The eye at another angle and place, uint8 as given, and the map there in fractions of the width."""
    turn = cv2.getRotationMatrix2D((0.5, 0.5), float(random.uniform(-15, 15)), float(random.uniform(0.95, 1.05)))
    turn[:, 2] += random.uniform(-0.04, 0.04, 2)
    if random.random() < 0.5:
        turn = turn @ np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1.0]])
    return laid(picture, turn), turn


def laid(picture: np.ndarray, matrix: np.ndarray, size: int = _SIDE) -> np.ndarray:
    """A picture after an affine map between fractions of the width."""
    return to_frame(picture[None], matrix[None], size)[0]


def vessels_apart(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of the vessels of each from the nearest of the other, in fractions of the width; masks (s, s)."""
    one, other = first > 127, second > 127
    ways = distance_transform_edt(~other)[one].mean(), distance_transform_edt(~one)[other].mean()
    return float(np.mean(ways)) / len(first)


def report_phantoms(count: int, seed: int) -> None:
    eyes = list(render_cohort(count, _SIDE, seed, True, ("normal", "diabetes", "amd")))
    images = [image for _, image, _ in eyes]
    true = frame_matrices(_given([row for row, _, _ in eyes]))
    found = found_matrices(images)
    both = np.isfinite(true).all((1, 2)) & np.isfinite(found).all((1, 2))
    print(
        f"phantoms: {both.sum()} of {np.isfinite(true).all((1, 2)).sum()} with disc and fovea in the picture are registered"
    )
    for name, place in (("disc", DISC), ("fovea", FOVEA)):
        at = np.array([[row[f"{name}_x"], row[f"{name}_y"]] for row, _, _ in eyes])
        told(f"phantoms, {name}", [np.hypot(*(moved(found[i], at[i][None])[0] - place)) for i in np.flatnonzero(both)])
    told("phantoms, whole field", [
        np.hypot(*(moved(found[i], _GRID) - moved(true[i], _GRID)).T).mean() for i in np.flatnonzero(both)
    ])  # fmt: skip
    random = np.random.default_rng(seed)
    again = [photographed_again(image, random) for image in images]
    second = found_matrices([image for image, _ in again])
    apart, truth, untouched = [], [], []
    for i in np.flatnonzero(both & np.isfinite(second).all((1, 2))):
        vessels, turn = eyes[i][2]["vessels"], again[i][1]
        other = laid(vessels, turn)
        first = laid(vessels, found[i], _FRAME)
        apart.append(vessels_apart(first, laid(other, second[i], _FRAME)))
        back = np.linalg.inv(np.vstack([turn, [0, 0, 1]]))
        truth.append(vessels_apart(first, laid(other, (np.vstack([found[i], [0, 0, 1]]) @ back)[:2], _FRAME)))
        untouched.append(vessels_apart(vessels, other))
    told("vessels of two photographs of one eye, registered", apart)
    told("the same with the true map between them", truth)
    told("the same without registration", untouched)


def _given(rows: list[dict]) -> pd.DataFrame:
    """The phantoms' own landmarks, as a table of `with_landmarks` would hold them."""
    return pd.DataFrame([{
        **{name: row[name] for name in ("disc_x", "disc_y", "disc_r", "fovea_x", "fovea_y")}, "disc_confidence": 1.0,
        "fovea_confidence": 1.0, "eye": row["eye"], "centred": "", "orientation": "ok",
    } for row in rows])  # fmt: skip


def report_real(folder: Path) -> None:
    for held_out in (True, False):
        examples = marked_discs(FundusDataset.open(folder), held_out=held_out)
        found, marks = found_matrices(list(examples.images.numpy())), examples.marks.numpy()
        usable = np.isfinite(found).all((1, 2))
        kind = "held out from the finder's training" if held_out else "that the finder was trained on"
        print(f"DIARETDB1, {kind}: {usable.sum()} of {len(usable)} are registered")
        told(f"DIARETDB1, disc, {kind}", [
            np.hypot(*(moved(found[i], marks[i, :2][None])[0] - DISC)) for i in np.flatnonzero(usable)
        ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--seed", type=int, default=9002)
    options = parser.parse_args()
    report_phantoms(options.phantoms, options.seed)
    if options.real:
        report_real(options.real / "diaretdb1")


if __name__ == "__main__":
    main()
