"""How many real eyes `generate` would throw away, and which of their copies it finds: false alarms and misses of rejection.

    python benchmarks/rejection.py ODIR [--eyes 150] [--seed 1]

Up to `--eyes` eyes of each class at 64 and 128 px, all of them real, so that whatever is thrown away for its field or its disc
is a mistake: those with a cataract, behind which no disc may be seen, apart. Where the limit for the disc is set by one half
of the eyes of a class, the other half is tried. Eyes whose disc was painted over (with the colours around it) should be thrown
away. Then the search for copies: of every fourth eye, as it is, mirrored, recompressed, shifted by a fiftieth of the width
(misses), and the eyes themselves one after the other (false alarms). Shares with 95 % Wilson intervals.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
from scipy.stats import binomtest

from fundus_synth.data.appearance import describe_appearance
from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.preprocess.landmarks import find_landmarks_batch
from fundus_synth.synth.copies import CopySearch
from fundus_synth.synth.rejection import Judge, disc_limit

SIZES = (64, 128)
SHIFTED = 1 / 50
QUALITY = 75


def share(count: int, of: int) -> str:
    """A share with its interval, in percent."""
    low, high = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count}/{of} = {100 * count / of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def without_disc(image: np.ndarray) -> np.ndarray:
    """The eye with its disc painted over from around it."""
    found = find_landmarks_batch(image[None])[0]
    mask = np.zeros(image.shape[:2], np.uint8)
    center = (round(found.disc_x * len(image)), round(found.disc_y * len(image)))
    cv2.circle(mask, center, round(1.6 * found.disc_r * len(image)), 255, -1)
    return cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA)


def recompressed(image: np.ndarray) -> np.ndarray:
    """Through JPEG."""
    _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


def shifted(image: np.ndarray) -> np.ndarray:
    """Moved to the right and down, black where nothing is."""
    by = SHIFTED * len(image)
    return cv2.warpAffine(image, np.float32([[1, 0, by], [0, 1, by]]), image.shape[:2])


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "the same": np.copy,
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "recompressed": recompressed,
    "shifted by 1/50": shifted,
}


def faults(judge: Judge, images: np.ndarray) -> Counter:
    """How many images have each fault."""
    return Counter(fault.partition(":")[0] for fault in judge.faults(images))


def false_alarms_and_misses(eyes: dict[str, np.ndarray]) -> None:
    """Print what the field and the disc throw away of eyes by class."""
    plain, of = {True: Counter(), False: Counter()}, Counter()
    half, painted = Counter(), Counter()
    for label, images in eyes.items():
        plain[label == "cataract"] += faults(Judge(), images)
        of[label == "cataract"] += len(images)
        half += faults(Judge(disc_limit(images[::2])), images[1::2])
        if label != "cataract":
            painted += faults(Judge(), np.stack([without_disc(image) for image in images[::4]]))
    every = of[True] + of[False]
    print("  thrown away for the field:", share(plain[True]["field_of_view"] + plain[False]["field_of_view"], every))
    print("  for the disc, without cataracts:", share(plain[False]["disc"], of[False]))
    if of[True]:
        print("  for the disc, with a cataract:", share(plain[True]["disc"], of[True]))
    print("  for the disc, limit from the other half of the class:", share(half["disc"], sum(half.values())))
    print("  with the disc painted over (should be):", share(painted["disc"], sum(painted.values())))


def copies(images: np.ndarray) -> None:
    """Print how many copies of eyes are found, and how many eyes are taken for copies of others."""
    search, mistaken = CopySearch(), 0
    for number, image in enumerate(images):
        appearance = describe_appearance(image)
        mistaken += search.original(appearance) is not None
        search.add(appearance, str(number))
    print("  eyes taken for copies of other eyes:", share(mistaken, len(images)))
    for name, change in CHANGES.items():
        found = [search.original(describe_appearance(change(image))) for image in images[::4]]
        print(f"  copies found, {name}:", share(sum(each is not None for each in found), len(found)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--eyes", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dataset, random = FundusDataset.open(options.data), np.random.default_rng(options.seed)
    patients = set()
    for size in SIZES:
        eyes, different = {}, []
        for label in sorted(filter(None, dataset.class_counts())):
            rows = random.permutation(np.flatnonzero(dataset.column("label") == label))[: options.eyes]
            eyes[label] = np.stack([fit_square(dataset.read(int(row)), size) for row in rows])
            keys = [dataset.patient_keys[row] for row in rows]
            first = [i for i, key in enumerate(keys) if key not in patients and key not in keys[:i]]
            patients.update(keys)
            different.append(eyes[label][first[: options.eyes // 2]])
        patients.clear()
        print(f"{size} px, {sum(map(len, eyes.values()))} eyes of {len(eyes)} classes")
        false_alarms_and_misses(eyes)
        copies(np.concatenate(different))


if __name__ == "__main__":
    main()
