"""What each measure notices in each feature space: planted damage on real eyes, at three levels.

    python benchmarks/retina_features.py DATASET [--images 400] [--size 256] [--spaces retina,timm:NAME] [--weights FILE]

The dataset is a dataset folder of standardised eyes. Its patients are halved: one half is the reference, images of the other
are damaged and judged. "none" is the other half as it is. A value is marked * where it is worse than 97.5 % of the values of
random halves of the same real patients, the floor; one in 40 undamaged sets would be marked too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np

from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.preprocess.landmarks import Landmarks, find_landmarks_batch
from fundus_synth.synth.distance_intervals import MEASURES, real_floor
from fundus_synth.synth.feature_spaces import FeatureSpace, comparable, feature_space

_BETTER_LOW = ("kid", "frechet")


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian, `sigma` in thousandths of the width."""
    return cv2.GaussianBlur(image, (0, 0), sigma * len(image) / 1000)


def noise(image: np.ndarray, spread: float) -> np.ndarray:
    """Independent normal noise in every pixel and channel of the field, `spread` in grey levels."""
    random = np.random.default_rng(int(image[::7, ::5].sum()))
    noisy = np.clip(image + random.normal(0, spread, image.shape), 0, 255).round().astype(np.uint8)
    return np.where(image.max(axis=2, keepdims=True) > 12, noisy, image)


def cast(image: np.ndarray, gain: float) -> np.ndarray:
    """Red multiplied, blue divided by `gain`."""
    return np.clip(image * np.array([gain, 1, 1 / gain]), 0, 255).round().astype(np.uint8)


def without_disc(image: np.ndarray, found: Landmarks) -> np.ndarray:
    """The disc painted over with what lies at the mirrored place."""
    return _blend(image, image[:, ::-1], found.disc_x, found)


def with_two_discs(image: np.ndarray, found: Landmarks) -> np.ndarray:
    """The disc painted a second time at the mirrored place."""
    return _blend(image, image[:, ::-1], 1 - found.disc_x, found)


def _blend(image: np.ndarray, other: np.ndarray, x: float, found: Landmarks) -> np.ndarray:
    side = len(image)
    mask = np.zeros((side, side), np.float32)
    cv2.circle(mask, (round(x * side), round(found.disc_y * side)), round(1.6 * found.disc_r * side), 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.25 * found.disc_r * side)[..., None]
    return (image * (1 - mask) + other * mask).round().astype(np.uint8)


def damaged_sets(images: np.ndarray, reference: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """{name and level: what makes the damaged images}."""
    landmarks = find_landmarks_batch(images)
    # Only discs that are surely there and off the middle can be moved to the other side.
    movable = [i for i, f in enumerate(landmarks) if f.disc_confidence > 0.7 and abs(f.disc_x - 0.5) > 2 * f.disc_r]
    sets: dict[str, Callable[[], np.ndarray]] = {"none": lambda: images}
    for change, unit, levels in (
        (blur, "/1000", (2, 4, 8)),
        (noise, " grey", (3, 6, 12)),
        (cast, "", (1.03, 1.06, 1.12)),
    ):
        for level in levels:
            sets[f"{change.__name__} {level}{unit}"] = lambda c=change, v=level: np.stack(
                [c(image, v) for image in images]
            )
    for change in (without_disc, with_two_discs):
        for share in (0.05, 0.2, 0.5):
            which = set(movable[: round(share * len(images))])
            name = f"{change.__name__.replace('_', ' ')} {len(which) / len(images):.0%}"
            sets[name] = lambda c=change, w=which: np.stack(
                [c(image, landmarks[i]) if i in w else image for i, image in enumerate(images)]
            )
    for part in (2, 4, 16):
        repeats = np.arange(len(images)) % max(len(images) // part, 1)
        sets[f"collapse to 1/{part}"] = lambda r=repeats: images[r]
    for share in (0.1, 0.3, 0.6):
        count = round(share * len(images))
        sets[f"copies {share:.0%}"] = lambda n=count: np.concatenate([reference[:n], images[n:]])
    return sets


def table(space: FeatureSpace, reference: np.ndarray, patients: np.ndarray, sets: dict[str, Callable]) -> list[str]:
    """One line a damage."""
    real = space.features(reference)
    made = {name: space.features(make()) for name, make in sets.items()}
    everyone = comparable(space, real, np.concatenate([real, made["none"]]))[1]
    floors = {m: real_floor(everyone, patients, m) for m in MEASURES}
    lines = [f"| damage | {' | '.join(MEASURES)} |", f"|---|{'---|' * len(MEASURES)}"]
    for name, features in made.items():
        one, other = comparable(space, real, features)
        cells = []
        for measure, floor in floors.items():
            value = MEASURES[measure](one, other)
            noticed = value > floor.high if measure in _BETTER_LOW else value < floor.low
            cells.append(f"{value:.3f}{'*' if noticed else ''}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, *(f"floor of {m}: {floor}" for m, floor in floors.items())]


def halves(dataset: FundusDataset, count: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images of two halves of the patients, uint8 (count, size, size, 3) each, and whose they are, str (2 count,)."""
    patients = np.asarray(dataset.patient_keys)
    names = np.random.default_rng(0).permutation(np.unique(patients))
    first = np.isin(patients, names[: len(names) // 2])
    rows = [np.random.default_rng(1).permutation(np.flatnonzero(side))[:count] for side in (first, ~first)]
    images = [np.stack([fit_square(dataset.read(int(i)), size) for i in part]) for part in rows]
    return images[0], images[1], patients[np.concatenate(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--spaces", default="retina")
    parser.add_argument("--weights", help="for the spaces of networks")
    options = parser.parse_args()
    reference, images, patients = halves(FundusDataset.open(options.dataset), options.images, options.size)
    sets = damaged_sets(images, reference)
    for name in options.spaces.split(","):
        space = feature_space(name, None if name == "retina" else options.weights)
        print(f"\n{name}, {len(reference)} against {len(images)} real eyes at {options.size} pixels\n", flush=True)
        print("\n".join(table(space, reference, patients, sets)), flush=True)


if __name__ == "__main__":
    main()
