"""Which figure of `fundus-synth evaluate` notices what: planted damage on real eyes, at three levels.

    python benchmarks/evaluate_damage.py DATASET [--images 40] [--size 256] [--spaces retina,timm:NAME] [--weights FILE]
        [--damage blur,noise]

The patients are divided: eyes of one third stand in for a generator's, which is then as good as it can be, and are damaged;
the others are the real eyes. Up to `--images` of each class, twice as many real ones. Damage:

    blur        Gaussian, its sigma in thousandths of the width
    noise       in every pixel and channel, its spread in grey levels
    cast        red multiplied, blue divided by this
    collapse    this share shows eyes of the largest quarter of the classes, whatever class was asked for; no eye twice
    copies      this share are copies of the real eyes that they are judged by
    repeats     this share are repeats of other synthetic images
    no disc     in this share the disc is painted over
    two discs   in this share a second disc is painted at the mirrored place

A value is marked * where it is worse than real eyes, ^ where it is beyond them. "classes" counts those whose own KID is worse;
the last column is the share of images with plausible anatomy, marked where it lies below the interval of real eyes. Then, of
each damage and measure: from which level on it is noticed, and "not" where a value goes back with the level by more than a
tenth of the floor's width.
Copies of eyes that a generator was trained on are as real as eyes can be: no distance to held-out eyes notices them, only
`fundus-synth audit` does.
"""

from __future__ import annotations

import argparse

import cv2
import numpy as np
from retina_features import blur, cast, noise, with_two_discs, without_disc

from fundus_synth.data.cache import fit_square
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.preprocess.landmarks import find_landmarks_batch
from fundus_synth.synth.distance_intervals import MEASURES
from fundus_synth.synth.feature_cache import cached_features
from fundus_synth.synth.feature_spaces import FeatureSpace, comparable, feature_space
from fundus_synth.synth.judging.anatomy import Anatomy, check_anatomy
from fundus_synth.synth.judging.comparison import ALIKE, WORSE, Comparison, Judgement, Measured, compare

Rows = np.ndarray
LEVELS = {
    "blur": (2, 4, 8), "noise": (3, 6, 12), "cast": (1.03, 1.06, 1.12), "collapse": (0.3, 0.6, 1),
    "copies": (0.1, 0.3, 0.6), "repeats": (0.1, 0.3, 0.6), "no disc": (0.05, 0.2, 0.5), "two discs": (0.05, 0.2, 0.5),
}  # fmt: skip
PIXELS = {"blur": blur, "noise": noise, "cast": cast}
DISCS = {"no disc": without_disc, "two discs": with_two_discs}


class Eyes:
    """The stand-in third of the patients, and the real rest.

    Attributes:
        made, real: rows of the dataset.
        pool: all rows of the stand-in patients, from which a collapsed generator draws.
        labels, patients: of every row.
    """

    def __init__(self, dataset: FundusDataset, most: int, size: int):
        random = np.random.default_rng(0)
        self.dataset, self.size = dataset, size
        self.labels, self.patients = dataset.column("label").to_numpy(), np.asarray(dataset.patient_keys)
        self.classes = list(dataset.class_counts())
        names = random.permutation(np.unique(self.patients))
        third = np.isin(self.patients, names[: len(names) // 3])
        self.pool = random.permutation(np.flatnonzero(third))
        rest = random.permutation(np.flatnonzero(~third))
        counts = {
            c: min(most, (self.labels[self.pool] == c).sum(), (self.labels[rest] == c).sum() // 2) for c in self.classes
        }
        self.made = np.concatenate([self.pool[self.labels[self.pool] == c][:n] for c, n in counts.items()])
        self.real = np.concatenate([rest[self.labels[rest] == c][: 2 * n] for c, n in counts.items()])

    def images(self, rows: Rows) -> np.ndarray:
        return np.stack([fit_square(self.dataset.read(int(i)), self.size) for i in rows])


def damaged(eyes: Eyes, damage: str, level: float) -> np.ndarray:
    """The stand-in images with one damage, in the order of `eyes.made`."""
    if damage in PIXELS:
        return np.stack([PIXELS[damage](image, level) for image in eyes.images(eyes.made)])
    images, count = eyes.images(eyes.made), round(level * len(eyes.made))
    chosen = np.random.default_rng(1).permutation(len(images))
    if damage == "collapse":
        kept = eyes.classes[: max(len(eyes.classes) // 4, 1)]
        spare = eyes.pool[np.isin(eyes.labels[eyes.pool], kept) & ~np.isin(eyes.pool, eyes.made)]
        lost = [i for i in chosen[:count] if eyes.labels[eyes.made[i]] not in kept]
        images[lost] = eyes.images(spare[: len(lost)])
    elif damage == "copies":
        # Of each class as many, so that the mix of classes stays.
        sources = {c: iter(eyes.real[eyes.labels[eyes.real] == c]) for c in eyes.classes}
        rows = [next(sources[eyes.labels[eyes.made[i]]]) for i in chosen[:count]]
        images[chosen[:count]] = eyes.images(np.array(rows))
    elif damage == "repeats":
        others = chosen[count:]
        images[chosen[:count]] = images[others[np.arange(count) % len(others)]]
    else:
        landmarks = find_landmarks_batch(images)
        # Only discs that are surely there and off the middle can be moved to the other side.
        able = [
            i
            for i in chosen
            if landmarks[i].disc_confidence > 0.7 and abs(landmarks[i].disc_x - 0.5) > 2 * landmarks[i].disc_r
        ]
        for i in able[:count]:
            images[i] = DISCS[damage](images[i], landmarks[i])
    return images


class Judge:
    """Comparison, by class too, and anatomy of images that stand in the order of `eyes.made`."""

    def __init__(self, eyes: Eyes, space: FeatureSpace, retina: FeatureSpace):
        self.eyes, self.space, self.retina = eyes, space, retina
        real = eyes.images(eyes.real)
        self.real = {s.name: cached_features(s, real, workers=0) for s in (space, retina)}

    def __call__(self, images: np.ndarray) -> tuple[Comparison, int, Anatomy]:
        made = {s.name: cached_features(s, images, workers=0) for s in (self.space, self.retina)}
        one, other = comparable(self.space, self.real[self.space.name], made[self.space.name])
        labels, patients = self.eyes.labels, self.eyes.patients
        real = Measured(one, patients[self.eyes.real], labels[self.eyes.real])
        judged = Measured(other, np.arange(len(other)).astype(str), labels[self.eyes.made])
        classes = [compare(*(side.rows(side.labels == c) for side in (real, judged))) for c in self.eyes.classes]
        worse = sum(bool(found.images) and found["kid"].verdict == WORSE for found in classes)
        anatomy = check_anatomy(self.retina.feature_names, self.real["retina"], real.patients, made["retina"])
        return compare(real, judged), worse, anatomy


def cells(found: Comparison, worse: int, anatomy: Anatomy) -> list[str]:
    share, real = anatomy.synthetic["all"].value, anatomy.real["all"]
    marks = ["" if j.verdict == ALIKE else "*" if j.verdict == WORSE else "^" for j in found.judgements]
    values = [f"{j.value.value:.3f}{mark}" for j, mark in zip(found.judgements, marks, strict=True)]
    return [*values, str(worse), f"{share:.0%}{'*' if share < real.low else ''}"]


def noticed(judgements: list[Judgement], levels: tuple[float, ...]) -> str:
    """From which level on every value is outside the floor, and whether values, the undamaged first, go one way."""
    floor = judgements[0].floor
    steps, chance = np.diff([j.value.value for j in judgements]), 0.1 * (floor.high - floor.low)
    outside = [j.verdict != ALIKE for j in judgements[1:]]
    first = next((level for i, level in enumerate(levels) if all(outside[i:])), None)
    one_way = (steps > -chance).all() or (steps < chance).all()
    return f"{'-' if first is None else f'{first:g}'}{'' if one_way else ' not'}"


def print_tables(judge: Judge, eyes: Eyes, damages: list[str]) -> None:
    names = [*MEASURES, "classes", "anatomy"]
    print(f"| damage | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    none = judge(eyes.images(eyes.made))
    print(f"| none | {' | '.join(cells(*none))} |", flush=True)
    found: dict[str, list[Comparison]] = {}
    for damage in damages:
        found[damage] = [none[0]]
        for level in LEVELS[damage]:
            result = judge(damaged(eyes, damage, level))
            found[damage].append(result[0])
            print(f"| {damage} {level:g} | {' | '.join(cells(*result))} |", flush=True)
    floors = " | ".join(f"{j.floor.low:.3f} to {j.floor.high:.3f}" for j in none[0].judgements)
    print(f"| real eyes | {floors} | | {none[2].real['all'].value:.0%} |")
    print(f"\n| noticed from | {' | '.join(MEASURES)} |\n|---|{'---|' * len(MEASURES)}")
    for damage, results in found.items():
        told = (noticed([one[measure] for one in results], LEVELS[damage]) for measure in MEASURES)
        print(f"| {damage} | {' | '.join(told)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--spaces", default="retina")
    parser.add_argument("--weights", help="for the spaces of networks")
    parser.add_argument("--damage", default=",".join(LEVELS))
    options = parser.parse_args()
    cv2.setNumThreads(1)
    eyes = Eyes(FundusDataset.open(options.dataset), options.images, options.size)
    retina = feature_space("retina")
    for name in options.spaces.split(","):
        space = retina if name == "retina" else feature_space(name, options.weights)
        print(
            f"\n{name}: {len(eyes.made)} stand-in eyes, {len(eyes.real)} real ones, at {options.size} pixels\n",
            flush=True,
        )
        print_tables(Judge(eyes, space, retina), eyes, options.damage.split(","))


if __name__ == "__main__":
    main()
