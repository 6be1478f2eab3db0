"""python -m fundus_synth.preprocess.landmark_training --real FOLDER --out landmarks.safetensors

Trains the network of `landmark_net`: on phantoms, whose landmarks are known; on two thirds of DIARETDB1's optic discs; and
on ODIR-5K, first only by which eye each picture shows (the disc lies nasally), then also by those of the network's own
answers that stay the same when the picture is mirrored (self-training). The third of DIARETDB1 that is never trained
on, and every fifth ODIR patient, are for `benchmarks/preprocess_landmarks.py`.

FOLDER holds the dataset folders `diaretdb1` and `odir`. The weights in the package are what the defaults give: seed 101, 12
minutes on two busy cores, a third of it for rendering. The same seed and number of threads give the same weights.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

from ..data.dataset import FundusDataset
from ..data.phantom.camera_models import camera_names
from ..data.phantom.cohort import render_cohort
from ..runtime.files import atomic_path
from ..runtime.progress import Progress
from .landmark_augmentation import augmented
from .landmark_net import GRID, LandmarkNet, Maps, as_batch, look
from .landmarks import VISIBLE, Landmarks, decoded, mirrored
from .standardize import map_landmarks, standardize

MARKS = ("disc_x", "disc_y", "disc_r", "fovea_x", "fovea_y")
_SIDE = 160
_BATCH = 32
_SHARES = {"phantoms": 0.55, "diaretdb1": 0.10, "odir": 0.35}
_SPREAD = 0.9
_SAME_DISC, _SAME_FOVEA = 0.025, 0.035


@dataclass(frozen=True)
class Examples:
    """Standardised eyes to learn from.

    Attributes:
        images: uint8 (n, 160, 160, 3) RGB.
        marks: float32 (n, 5), the columns `MARKS`; NaN when unknown.
        side: float32 (n,), 1 when the disc lies to the right of the fovea, -1 to the left, NaN when unknown.
    """

    images: torch.Tensor
    marks: torch.Tensor
    side: torch.Tensor


def phantoms(per_class: int, seed: int, workers: int = 2) -> Examples:
    """Simulated eyes of every class, by every camera."""
    cameras = ["mixed", "mixed", *camera_names()]
    rows, images = [], []
    for row, image, _ in render_cohort(per_class, _SIDE, seed, True, "all", workers, cameras):
        rows.append([row[name] for name in MARKS])
        images.append(image)
    return _examples(images, np.array(rows))


def marked_discs(dataset: FundusDataset, held_out: bool) -> Examples:
    """Camera frames with known discs: every third image (the first, the fourth, ...) when `held_out`, else the others."""
    chosen = [index for index in range(len(dataset)) if (index % 3 == 0) == held_out]
    images, marks = [], []
    for index in chosen:
        frame = dataset.read(index)
        made = standardize(frame, _SIDE)
        moved = map_landmarks(dataset.table.iloc[index].to_dict(), made.fov, frame.shape[1])
        images.append(made.image)
        marks.append([moved.get(name, np.nan) for name in MARKS])
    return _examples(images, np.array(marks))


def sided_eyes(dataset: FundusDataset, held_out: bool, limit: int | None = None) -> Examples:
    """Standardised eyes of which only the column `eye` is known: of every fifth patient when `held_out`, else the others."""
    patients = dataset.column("patient_id")
    chosen = [i for i, name in enumerate(patients) if (zlib.crc32(name.encode()) % 5 == 0) == held_out]
    images = [standardize(dataset.read(i), _SIDE).image for i in chosen[:limit]]
    side = [{"right": 1.0, "left": -1.0}.get(dataset.column("eye")[i], np.nan) for i in chosen[:limit]]
    return Examples(_stacked(images), torch.full((len(images), 5), torch.nan), torch.tensor(side))


def _examples(images: list[np.ndarray], marks: np.ndarray) -> Examples:
    marks = torch.from_numpy(marks).float()
    return Examples(_stacked(images), marks, torch.sign(marks[:, 0] - marks[:, 3]))


def _stacked(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images))


def loss(maps: Maps, marks: torch.Tensor, side: torch.Tensor, forward: torch.Tensor) -> torch.Tensor:
    """What the maps are wrong by; marks that are NaN, and marks outside the field, add nothing to their part.

    Cross-entropy of each heat map against a Gaussian of 0.9 cells; binary cross-entropy of "it is in the field"; the
    absolute error of the disc's log radius at its centre; the squared error of the unit vector from disc to fovea, or,
    where only the eye is known, the logistic loss of its side.

    Args:
        side: as in `Examples`. forward: (n, 2, 2), from directions in the original to those in the picture.
    """
    total = torch.zeros(())
    for number, (heat, columns) in enumerate(((maps.disc, slice(0, 2)), (maps.fovea, slice(3, 5)))):
        points = marks[:, columns]
        known = points.isfinite().all(1)
        inside = known & ((points - 0.5).square().sum(1) < 0.24)
        total = total + _heat_loss(heat[inside], points[inside])
        total = total + 0.5 * _mean(
            functional.binary_cross_entropy_with_logits(
                maps.present[known, number], inside[known].float(), reduction="none"
            )
        )
    return total + _radius_loss(maps.log_radius, marks) + _direction_loss(maps.direction, marks, side, forward)


def _mean(values: torch.Tensor) -> torch.Tensor:
    return values.mean() if len(values) else torch.zeros(())


def _heat_loss(heat: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    line = torch.arange(GRID) + 0.5
    near = torch.exp(-(line - GRID * points[:, :, None]).square() / (2 * _SPREAD**2))
    target = (near[:, 1, :, None] * near[:, 0, None, :]).flatten(1)
    target = target / target.sum(1, keepdim=True).clamp_min(1e-6)
    return _mean(-(target * functional.log_softmax(heat.flatten(1), 1)).sum(1))


def _radius_loss(log_radius: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
    known = marks[:, :3].isfinite().all(1) & ((marks[:, :2] - 0.5).square().sum(1) < 0.24)
    cells = (GRID * marks[known, :2]).long().clamp(0, GRID - 1)
    at_disc = log_radius[known, cells[:, 1], cells[:, 0]]
    return _mean((at_disc - marks[known, 2].log()).abs())


def _direction_loss(
    direction: torch.Tensor, marks: torch.Tensor, side: torch.Tensor, forward: torch.Tensor
) -> torch.Tensor:
    way = marks[:, 3:] - marks[:, :2]
    known = way.isfinite().all(1)
    exact = (direction[known] - functional.normalize(way[known], dim=1)).square().sum(1)
    sided = ~known & side.isfinite()
    # In the original the fovea lies to the left of a right eye's disc: (-side, 0).
    towards = functional.normalize(forward[sided] @ torch.stack([-side[sided], 0 * side[sided]], 1)[:, :, None], dim=1)
    along = (direction[sided] * towards[:, :, 0]).sum(1)
    return _mean(exact) + 0.5 * _mean(functional.softplus(-4 * along))


def train(network: LandmarkNet, sets: dict[str, Examples], steps: int, peak_rate: float, seed: int) -> None:
    """`steps` of AdamW on random batches, a one-cycle learning rate; the network is changed in place."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=peak_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=0.15)
    network.train()
    with Progress(steps, "training") as progress:
        for images, marks, side in _batches(sets, steps, generator):
            pictures, moved, forward = augmented(images, marks, generator)
            wrong = loss(network(pictures.contiguous(memory_format=torch.channels_last)), moved, side, forward)
            optimizer.zero_grad()
            wrong.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            progress.advance(1, loss=f"{wrong.item():.3f}")
    network.eval()


def _batches(
    sets: dict[str, Examples], steps: int, generator: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    for _ in range(steps):
        parts = []
        for name, examples in sets.items():
            chosen = torch.randint(len(examples.images), (round(_BATCH * _SHARES[name]),), generator=generator)
            parts.append((examples.images[chosen], examples.marks[chosen], examples.side[chosen]))
        yield tuple(torch.cat(part) for part in zip(*parts, strict=True))


def self_labelled(network: LandmarkNet, examples: Examples) -> Examples:
    """The same eyes with the network's own marks where it is sure, and the same for the mirrored pictures.

    An eye is marked when disc and fovea of all four mirrorings agree, are confident and as far apart as in anatomy, and the
    disc lies on the side it must; all others stay without marks.
    """
    marks = examples.marks.clone()
    for start in range(0, len(marks), 64):
        batch = as_batch(list(examples.images[start : start + 64].numpy()))
        views = []
        for across, down in ((False, False), (True, False), (False, True), (True, True)):
            turned = batch.flip([axis for axis, flip in ((3, across), (2, down)) if flip])
            views.append([mirrored(one, across=across, down=down) for one in decoded(look(network, turned))])
        for offset, answers in enumerate(zip(*views, strict=True)):
            agreed = _agreed(answers, float(examples.side[start + offset]))
            if agreed is not None:
                marks[start + offset] = torch.from_numpy(agreed).float()
    return Examples(examples.images, marks, examples.side)


def _agreed(answers: tuple[Landmarks, ...], side: float) -> np.ndarray | None:
    """The mean of answers that agree, as `MARKS`; None when they do not."""
    found = np.array([[getattr(answer, name) for name in MARKS] for answer in answers])
    mean = found.mean(0)
    off_disc = np.hypot(*(found[:, :2] - mean[:2]).T).max()
    off_fovea = np.hypot(*(found[:, 3:] - mean[3:]).T).max()
    sure = min(min(answer.disc_confidence, answer.fovea_confidence) for answer in answers) > VISIBLE
    apart = np.hypot(*(mean[3:] - mean[:2])) / mean[2]
    good = sure and off_disc < _SAME_DISC and off_fovea < _SAME_FOVEA and 3.2 < apart < 7.5
    return mean if good and not side * (mean[0] - mean[3]) < 0 else None


def save(network: LandmarkNet, path: Path, facts: dict[str, str]) -> None:
    """Write the weights in half precision, with `facts` in the metadata."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=facts)


def disc_errors(found: list[Landmarks], marks: np.ndarray) -> tuple[float, float]:
    """Share of discs whose centre is found within one radius, and the mean distance as a fraction of the width."""
    far = np.hypot([one.disc_x for one in found] - marks[:, 0], [one.disc_y for one in found] - marks[:, 1])
    return float((far <= marks[:, 2]).mean()), float(far.mean())


def main() -> None:
    """The command; prints the error on the held-out discs after each stage."""
    options = _options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    discs, odir = (FundusDataset.open(options.real / name) for name in ("diaretdb1", "odir"))
    sets = {
        "phantoms": _cached_phantoms(options),
        "diaretdb1": marked_discs(discs, held_out=False),
        "odir": sided_eyes(odir, held_out=False, limit=options.eyes),
    }
    held_out = marked_discs(discs, held_out=True)
    network = LandmarkNet().to(memory_format=torch.channels_last)
    for stage in range(2):
        if stage:
            sets["odir"] = self_labelled(network, sets["odir"])
            marked = int(sets["odir"].marks.isfinite().all(1).sum())
            print(f"{marked} of {len(sets['odir'].side)} ODIR eyes mark themselves")
        train(network, sets, options.steps[stage], (3e-3, 2e-3)[stage], options.seed + stage)
        answers = decoded(look(network, as_batch(list(held_out.images.numpy()))))
        share, far = disc_errors(answers, held_out.marks.numpy())
        print(f"stage {stage + 1}: {share:.0%} of held-out discs within one radius, mean error {far:.2%} of the width")
        save(network, options.out, {"seed": str(options.seed), "stage": str(stage + 1)})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the network that finds optic disc and fovea.")
    parser.add_argument("--real", type=Path, required=True, help="folder with the dataset folders diaretdb1 and odir")
    parser.add_argument("--out", type=Path, required=True, help="weights to write, .safetensors")
    parser.add_argument("--phantoms", type=int, default=200, help="simulated eyes of each class")
    parser.add_argument("--cache", type=Path, help="file (.npz) that keeps the simulated eyes for the next time")
    parser.add_argument("--eyes", type=int, default=1600, help="ODIR eyes")
    parser.add_argument("--steps", type=int, nargs=2, default=(340, 230), help="of the two stages")
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _cached_phantoms(options: argparse.Namespace) -> Examples:
    if options.cache and options.cache.is_file():
        with np.load(options.cache, allow_pickle=False) as kept:
            return _examples(list(kept["images"]), kept["marks"])
    made = phantoms(options.phantoms, options.seed)
    if options.cache:
        with atomic_path(options.cache) as temporary:
            np.savez(temporary, images=made.images.numpy(), marks=made.marks.numpy())
    return made


if __name__ == "__main__":
    main()
