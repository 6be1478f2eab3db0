"""python benchmarks/disc_experiment.py [--patients 150] [--steps 120] [--out FOLDER] [--sheet FILE.png]

Study A asked whether the optic disc is important for telling anaemia. Here the truth is planted: healthy phantoms, of which
every other patient's eyes are made paler in the disc only, along the vessels only, or everywhere in the field (as pallor
is). A small network learns to tell them, and `fundus-classify regions` has to say which of the three it was. Prints, for
each, the test AUROC, what falls without each region beyond what falls at random places, and the share of the maps in it;
the last line says how many were recovered. --sheet lays planted eyes below untouched ones as one picture.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fundus_synth.classify.explain.regions import RegionStudy, regions
from fundus_synth.classify.train import train
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import write_image
from fundus_synth.data.phantom.cohort import render_cohort

# Cooler than any healthy eye of these cameras: what is tested is the experiment, so the label must be easy to learn.
_PALE = np.array([205, 205, 235], np.float32)
# How far towards that colour. The disc is pale already, and vessels are thin: both need more than the whole field does.
STRENGTH = {"disc": 0.7, "vessels": 0.6, "everywhere": 0.3}
_MASKS = {"disc": "optic_disc", "vessels": "vessels", "everywhere": "fov"}
# What the experiment must say is needed; a label that is everywhere is not missed when one region is gone.
_TRUTH = {"disc": {"disc"}, "vessels": {"vessels"}, "everywhere": set()}
_JUDGED = ("disc", "macula", "vessels")
_FILLS = ("blank", "swap")  # a blur leaves a colour where it is


def planted(image: np.ndarray, mask: np.ndarray, strength: float) -> np.ndarray:
    """The eye, uint8 (s, s, 3), paler where the mask, uint8 (s, s), says."""
    share = strength * (mask[..., None] > 127)
    return np.rint(image * (1 - share) + _PALE * share).astype(np.uint8)


def write_planted(path: Path, where: str, eyes: list, seed: int) -> FundusDataset:
    """A dataset in which every other patient is `pale` in one place, split by patient."""
    names = sorted({row["patient_id"] for row, _, _ in eyes})
    order = np.random.default_rng(seed).permutation(len(names))
    rank = {names[index]: number for number, index in enumerate(order)}
    with DatasetWriter(path, {"name": f"pale-{where}", "source": "simulated eyes, fundus-synth"}) as writer:
        for row, image, masks in eyes:
            number = rank[row["patient_id"]]
            pale, share = number % 2 == 1, number / len(names)
            part = "test" if share >= 0.6 else "val" if share >= 0.5 else "train"
            image = planted(image, masks[_MASKS[where]], STRENGTH[where]) if pale else image
            writer.add({**row, "label": "pale" if pale else "normal", "split": part}, image, masks)
    return FundusDataset.open(path)


def told(where: str, found: RegionStudy, auroc: float) -> bool:
    """Print one experiment; whether it was recovered."""
    print(f"\nplanted in the {where}; test AUROC {auroc:.3f}, {found.images} eyes")
    for one in found.removals:
        print(f"  {one.region:8} {one.fill:5} AUROC falls {one.fall}, at random places {one.control:+.3f}, beyond {one.beyond}, "
              f"adjusted p {one.adjusted_p:.3f}{'  <- needed' if one.matters else ''}")  # fmt: skip
    for one in found.mass:
        chance = "" if np.isnan(one.chance) else f", at random places {one.chance / one.area:.2f} x"
        print(f"  share of the maps, {one.region}: {one.ratio} x its area{chance}")
    needed = {name for name in found.matter if name in _JUDGED}
    print(f"  needed of {', '.join(_JUDGED)}: {', '.join(sorted(needed)) or 'none'}; "
          f"{'recovered' if needed == _TRUTH[where] else 'NOT recovered'}")  # fmt: skip
    return needed == _TRUTH[where]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--backbone", default="simple_cnn")
    parser.add_argument("--method", default="grad-cam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=sorted(STRENGTH))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp())
    eyes = list(render_cohort(2 * options.patients, 2 * options.size, options.seed, True, ("normal",), workers=None))
    if options.sheet:
        shown = eyes[:: max(1, len(eyes) // 6)][:6]
        rows = [[image for _, image, _ in shown]]
        rows += [[planted(i, m[_MASKS[where]], STRENGTH[where]) for _, i, m in shown] for where in STRENGTH]
        write_image(options.sheet, np.vstack([np.hstack(row) for row in rows]))
    recovered = []
    for where in [options.only] if options.only else STRENGTH:
        dataset = write_planted(folder / where, where, eyes, options.seed)
        run = train(dataset, backbone=options.backbone, size=options.size, steps=options.steps, out=folder / f"{where}-run",
                    seed=options.seed, device="cpu", quiet=True)  # fmt: skip
        found = regions(
            run.path, dataset, method=options.method, fills=_FILLS, seed=options.seed, device="cpu", quiet=True
        )
        recovered.append(told(where, found, found.auroc.estimate))
    print(f"\nrecovered {sum(recovered)} of {len(recovered)}")


if __name__ == "__main__":
    main()
