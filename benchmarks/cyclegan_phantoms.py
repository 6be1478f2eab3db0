"""python benchmarks/cyclegan_phantoms.py [--size 64] [--steps 1200] [--cycle 1] [--eyes 300] [--keep FILE.npz] [--sheet FILE.png]

CycleGAN on phantoms, where the truth is known: eyes without retinopathy and others of grade 3 or 4, unpaired, of patients
drawn alike, so that lesions are the only difference. Every held-out eye has a twin: the same eye, same photograph, with
the other grade. The twin is the best translation there is, the eye itself the laziest; both are measured beside the
generators, and a figure means something where it is far from the lazy one's. Intervals: 95 %, bootstrap over eyes.

Vessel overlap: Dice of the maps of one fixed line filter before and after, around the true vessels. Lesions: share of the
retina, off vessels and disc, that stands out from its surround by 8 levels. Removed: of the contrast between an eye with
lesions and its twin, at lesion pixels, what the way back takes away (1: all of it). Judge: a small network that learned
eyes with and without lesions from the same training eyes, apart from the CycleGAN; how often it finds a picture more
diseased than a held-out eye without lesions (0.5: no difference).
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from torch import nn

from fundus_synth.data.cache import fit_square
from fundus_synth.data.image_file import write_image
from fundus_synth.data.phantom.cohort import Patient, sample_patients
from fundus_synth.data.phantom.render import render
from fundus_synth.runtime.training import run_steps
from fundus_synth.runtime.workers import map_in_order
from fundus_synth.synth.cycle_training import CycleRecipe, CycleTraining
from fundus_synth.synth.networks.cyclegan import detail
from fundus_synth.synth.translate import translate_images

_LESIONS = ("microaneurysms", "haemorrhages", "hard_exudates", "cotton_wool_spots", "neovascularisation")
_RENDERED = 256
_STANDS_OUT = 8.0
_SETS = ("normal", "diseased", "normal kept", "diseased kept")


@dataclass
class Eyes:
    """Images and twins uint8 (n, size, size, 3); vessels, disc, lesions and field as shares of each pixel, (n, size, size)."""

    images: np.ndarray
    twins: np.ndarray
    vessels: np.ndarray
    disc: np.ndarray
    lesions: np.ndarray
    field: np.ndarray

    @property
    def retina(self) -> np.ndarray:
        """Well within the field, off vessels and disc."""
        wide = np.stack([cv2.erode(field, np.ones((5, 5))) for field in self.field])
        return (wide > 0.99) & (self.vessels < 0.05) & (self.disc < 0.05)


@dataclass(frozen=True)
class Photographer:
    """Renders the eyes of a patient with their own grade and, as twins, with the other (0 for a diseased eye)."""

    size: int
    diseased: bool
    twins: bool

    def __call__(self, patient: Patient) -> list[tuple[np.ndarray, ...]]:
        cv2.setNumThreads(1)
        found = []
        for number, (eye, camera) in enumerate(zip(patient.eyes, patient.cameras, strict=True)):
            camera, sick = camera.in_standard_frame(), replace(eye, grade=3 + number)
            well = replace(eye, grade=0)
            ill = render(sick, camera, _RENDERED) if self.diseased or self.twins else None
            fine = render(well, camera, _RENDERED) if not self.diseased or self.twins else None
            own, other = (ill, fine) if self.diseased else (fine, ill)
            lesions = (
                np.maximum.reduce([ill.masks[kind] for kind in _LESIONS]) if ill else np.zeros_like(fine.masks["fov"])
            )
            masks = (own.masks["vessels"], own.masks["optic_disc"], lesions, own.masks["fov"])
            found.append((
                fit_square(own.image, self.size), fit_square((other or own).image, self.size),
                *(cv2.resize(mask, (self.size, self.size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
                  for mask in masks),
            ))  # fmt: skip
        return found


def photograph(count: int, size: int, seed: int, diseased: bool, twins: bool, workers: int) -> Eyes:
    """`count` eyes of diabetic patients, all with lesions (grade 3 and 4 by turns) or all without."""
    patients = sample_patients(count, seed, "diabetes")
    eyes = [eye for both in map_in_order(Photographer(size, diseased, twins), patients, workers) for eye in both]
    return Eyes(*(np.stack(part) for part in zip(*eyes, strict=True)))


def phantoms(options: argparse.Namespace) -> list[Eyes]:
    """The eyes of _SETS: to train on (without twins) and held out (with them), rendered or, where they are kept, read."""
    if options.keep and options.keep.is_file():
        kept = np.load(options.keep)
        return [Eyes(*(kept[f"{name}/{part.name}"] for part in fields(Eyes))) for name in _SETS]
    made = [
        photograph(
            options.held_out if "kept" in name else options.eyes, options.size, options.seed + number,
            diseased="diseased" in name, twins="kept" in name, workers=options.workers,
        )
        for number, name in enumerate(_SETS)
    ]  # fmt: skip
    if options.keep:
        parts = zip(_SETS, made, strict=True)
        np.savez(
            options.keep, **{f"{name}/{part}": value for name, eyes in parts for part, value in vars(eyes).items()}
        )
    return made


class Judge(nn.Module):
    """Tells eyes with lesions from eyes without, by the strongest and the mean answers of small patches."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
        )  # fmt: skip
        self.verdict = nn.Linear(64, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) in -1..1 -> logits (B,) of lesions."""
        found = self.patches(detail(images))
        return self.verdict(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1))[:, 0]

    @torch.no_grad()
    def logits(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (n, size, size, 3) -> (n,)."""
        return torch.cat([self(part) for part in as_floats(pictures).split(20)]).numpy()


def as_floats(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (n, size, size, 3) -> (n, 3, size, size) in -1..1."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def train_judge(normal: np.ndarray, diseased: np.ndarray, seed: int, steps: int = 400) -> Judge:
    """A judge of the same training eyes, mirrored and turned upside down at random."""
    torch.manual_seed(seed)
    judge = Judge()
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    lots = as_floats(normal), as_floats(diseased)
    labels = torch.arange(2).repeat_interleave(8).float()
    for _ in range(steps):
        eyes = torch.cat([images[torch.randint(len(images), (8,))] for images in lots])
        eyes = eyes.flip([3 - axis for axis in range(2) if torch.rand(()) < 0.5])
        loss = F.binary_cross_entropy_with_logits(judge(eyes), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return judge.eval()


class Log(Callback):
    """Prints the means of the training's figures now and then."""

    def __init__(self, every: int):
        self.every, self.began, self.found = every, time.monotonic(), []

    def on_train_batch_end(self, trainer, training, outputs, batch, batch_idx) -> None:
        self.found.append({name: float(value) for name, value in training.figures.items()})
        if training.steps_done % self.every == 0:
            means = {name: np.mean([figures[name] for figures in self.found]) for name in self.found[0]}
            text = "  ".join(f"{name} {value:.4f}" for name, value in means.items())
            print(f"  {time.monotonic() - self.began:4.0f} s  step {training.steps_done}  {text}", flush=True)
            self.found = []


def vessel_strength(image: np.ndarray, length: int = 9) -> np.ndarray:
    """How much darker a line through each pixel is than its square surround, greatest over 12 directions (Ricci and
    Perfetti 2007): float (size, size), in levels of the green channel."""
    green = image[..., 1].astype(np.float32)
    surround = cv2.blur(green, (length, length))
    lines = []
    for angle in np.arange(12) * np.pi / 12:
        kernel = np.zeros((length, length), np.float32)
        step = np.arange(length) - length // 2
        kernel[
            np.rint(length // 2 + step * np.sin(angle)).astype(int),
            np.rint(length // 2 + step * np.cos(angle)).astype(int),
        ] = 1
        lines.append(surround - cv2.filter2D(green, -1, kernel / kernel.sum()))
    return np.max(lines, axis=0)


def vessel_overlap(before: np.ndarray, after: np.ndarray, vessels: np.ndarray, field: np.ndarray) -> float:
    """Dice of the vessel maps of two pictures of an eye, on the true vessels and one pixel around them.

    Both maps are cut where the first has as many pixels as the true vessels. Further away a line that is new is a lesion.
    """
    inside = field > 0.99
    near = (cv2.dilate(vessels, np.ones((3, 3))) > 0.3)[inside]
    first, second = vessel_strength(before)[inside], vessel_strength(after)[inside]
    threshold = np.quantile(first, 1 - (vessels[inside] > 0.3).mean())
    one, other = (first > threshold) & near, (second > threshold) & near
    return 2 * (one & other).sum() / max(1, one.sum() + other.sum())


def standing_out(image: np.ndarray) -> np.ndarray:
    """Each pixel's difference from the median of its surround, levels of the green channel: float (size, size)."""
    side = image.shape[0] // 8 + 1 - image.shape[0] // 8 % 2
    return image[..., 1].astype(np.float32) - cv2.medianBlur(np.ascontiguousarray(image[..., 1]), max(5, side))


def lesion_share(images: np.ndarray, eyes: Eyes) -> np.ndarray:
    """Share of each eye's retina that stands out, %: (n,)."""
    out = np.stack([np.abs(standing_out(image)) > _STANDS_OUT for image in images])
    return 100 * (out & eyes.retina).sum((1, 2)) / eyes.retina.sum((1, 2))


def removed(after: np.ndarray, eyes: Eyes) -> np.ndarray:
    """Share of the lesions' contrast against the twin that is gone, each eye with lesions to be seen: (m,)."""
    there = (eyes.lesions > 0.3)[..., None]
    before = eyes.images.astype(np.float64)
    way, gone = (eyes.twins - before) * there, (after - before) * there
    contrast = (way**2).sum((1, 2, 3))
    seen = contrast > 0
    return (way * gone).sum((1, 2, 3))[seen] / contrast[seen]


def change_by_place(after: np.ndarray, eyes: Eyes) -> dict[str, np.ndarray]:
    """Mean absolute change, levels, each eye: on the retina, on vessels, on the disc, and outside the field."""
    change = np.abs(after.astype(np.float64) - eyes.images).mean(3)
    inside = eyes.field > 0.99
    places = {
        "retina": eyes.retina, "vessels": inside & (eyes.vessels > 0.5), "disc": inside & (eyes.disc > 0.5),
        "outside": eyes.field == 0,
    }  # fmt: skip
    return {name: (change * at).sum((1, 2)) / np.maximum(1, at.sum((1, 2))) for name, at in places.items()}


def interval(values: np.ndarray) -> str:
    """Mean and 95 % bootstrap interval over eyes: of (n,), or of (n, m) pairs of eyes, whose both sides are drawn."""
    values, random = np.asarray(values), np.random.default_rng(0)
    draws = [values[np.ix_(*(random.integers(n, size=n) for n in values.shape))].mean() for _ in range(2000)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def report(name: str, made: np.ndarray, eyes: Eyes, judge: Judge, without: np.ndarray) -> None:
    """The figures of one translation of all eyes; `without`: the judge's logits of held-out eyes without lesions."""
    overlap = [vessel_overlap(*four) for four in zip(eyes.images, made, eyes.vessels, eyes.field, strict=True)]
    more = judge.logits(made)[:, None] - without
    print(f"  {name:12s} vessel overlap {interval(overlap)}  lesions % {interval(lesion_share(made, eyes))}")
    print(f"  {'':12s} judged more diseased {interval((more > 0) + 0.5 * (more == 0))}")
    by_place = "  ".join(f"{place} {interval(change)}" for place, change in change_by_place(made, eyes).items())
    print(f"  {'':12s} change: {by_place}")


def sheet(rows: list[np.ndarray], columns: int = 12, zoom: int = 2) -> np.ndarray:
    """Rows of images (n, size, size, 3) under one another, enlarged."""
    picture = np.vstack([np.hstack(list(row[:columns])) for row in rows])
    return cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)


def difference(after: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Three times the difference, about mid-grey."""
    return np.clip(128 + 3 * (after.astype(int) - before), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument(
        "--cycle", type=float, default=CycleRecipe.cycle, help="weight of the cycle's distance; the paper's is 10"
    )
    parser.add_argument("--eyes", type=int, default=300)
    parser.add_argument("--held-out", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="where rendered eyes are kept for the next run (.npz)")
    parser.add_argument("--sheet", type=Path, help="before, after, difference, back, twin (.png)")
    options = parser.parse_args()
    normal, diseased, normal_kept, diseased_kept = phantoms(options)
    half = options.steps // 2
    recipe = CycleRecipe(cycle=options.cycle, constant_steps=half, decay_steps=half)
    training = CycleTraining(normal.images, diseased.images, recipe, options.seed)
    print(f"{options.eyes} eyes a class, {options.size} px, {training.recipe}")
    run_steps(training, range(options.steps), Log(100), torch.device("cpu"), torch.float32)
    judge = train_judge(normal.images, diseased.images, options.seed)
    compare(training, judge, normal_kept, diseased_kept, options.sheet)


def compare(training: CycleTraining, judge: Judge, normal: Eyes, diseased: Eyes, sheet_file: Path | None) -> None:
    """Print the figures of both directions on held-out eyes, and write the sheets."""
    forth, back = training.kept["generator"], training.kept["back"]
    without = judge.logits(normal.images)
    for title, first, second, eyes in (
        ("without -> with lesions -> without", forth, back, normal),
        ("with -> without lesions -> with", back, forth, diseased),
    ):
        made = translate_images(first, eyes.images)
        again = translate_images(second, made)
        print(f"{title}, {len(eyes.images)} held-out eyes")
        for name, pictures in (
            ("the eye", eyes.images),
            ("translated", made),
            ("its twin", eyes.twins),
            ("and back", again),
        ):
            report(name, pictures, eyes, judge, without)
        if eyes is diseased:
            print(f"  lesion contrast removed {interval(removed(made, eyes))}")
        error = np.abs(again.astype(float) - eyes.images)[eyes.field > 0.99]
        print(f"  there and back: mean error {error.mean():.2f} levels")
        if sheet_file:
            rows = [eyes.images, made, difference(made, eyes.images), again, eyes.twins]
            name = sheet_file.with_stem(sheet_file.stem + ("_back" if eyes is diseased else ""))
            write_image(name, sheet(rows))


if __name__ == "__main__":
    main()
