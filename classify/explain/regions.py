"""`fundus-classify regions`: does the disc matter? How much of the maps lies in each region, and what falls without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...preprocess.dataset_masks import read_masks
from ...runtime.errors import UserError
from ...runtime.files import write_json, write_text
from ...runtime.progress import Progress
from ..decision import load_decision
from ..evidence import Interval, SeedPredictions, interval
from .methods import attribute, check_method
from .region_fills import FILLS
from .region_masks import region_masks
from .region_mass import RegionMass, Shares, joined, map_shares, region_mass
from .region_removal import REMOVED, Removal, Told, judge_removals, removed_area, removed_predictions
from .retinal_frame import frame_matrices
from .scores import Scores
from .unseen_eyes import UnseenEyes, map_targets, open_unseen

_BATCH = 64


@dataclass(frozen=True)
class RegionStudy:
    """What `regions` found.

    Attributes:
        folder: where report.html, mass.csv, removal.csv and summary.json are.
        auroc: with everything in place; of the positive class of two, else averaged over the classes.
        mass: of the maps, by region.
        removals: by region and way.
        images, without_landmarks, seen: images used; left out because disc or fovea was not found; left out because the
            classifier knows their patients.
    """

    folder: Path
    auroc: Interval
    mass: tuple[RegionMass, ...]
    removals: tuple[Removal, ...]
    images: int
    without_landmarks: int
    seen: int

    @property
    def matter(self) -> tuple[str, ...]:
        """The regions whose loss, in at least one way, costs more than that of as much elsewhere."""
        return tuple(name for name in REMOVED if any(one.matters for one in self.removals if one.region == name))

    @property
    def untested(self) -> tuple[str, ...]:
        """The regions of which no removal could be tested: too few patients of each class have them."""
        tried = [name for name in REMOVED if any(one.region == name for one in self.removals)]
        return tuple(name for name in tried if not any(one.tested for one in self.removals if one.region == name))

    def verdict(self) -> str:
        """The answer in a sentence or two."""
        if not self.auroc.low > 0.5:
            return f"It hardly tells the classes apart (AUROC {self.auroc}), so nothing can be said of what it needs."
        told = f"AUROC {self.auroc} with everything in place."
        if self.untested:
            told += f" Not testable, as too few patients of each class have it: {', '.join(self.untested)}."
        if self.matter:
            return f"It needs the {' and the '.join(self.matter)}: without, more is lost than without as much elsewhere. {told}"
        if not any(one.tested for one in self.removals):
            return f"Nothing can be said of what it needs. {told}"
        return f"No single region is needed: without none of them more is lost than without as much elsewhere. {told}"

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "folder": str(self.folder), "images": self.images, "without_landmarks": self.without_landmarks, "seen": self.seen,
            "auroc": asdict(self.auroc), "matter": list(self.matter),
            "untested": list(self.untested), "mass": [asdict(one) for one in self.mass],
            "removals": [{**asdict(one), "matters": one.matters} for one in self.removals],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        told = [f"share of the maps, {one.region}: {one.ratio} times its area" for one in self.mass]
        told += [
            f"{one.region}, {one.fill}: AUROC falls by {one.fall}, at random places by {one.control:.3f}; "
            f"beyond that {one.beyond}, adjusted p {one.adjusted_p:.3f}"
            if one.tested
            else f"{one.region}, {one.fill}: not testable, too few patients of each class have it"
            for one in self.removals
        ]
        return [self.verdict(), *told, f"report: {self.folder / 'report.html'}"]


def regions(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    method: str = "grad-cam",
    fills: Sequence[str] | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> RegionStudy:
    """Measure the maps in disc, macula, vessels, lesions and what is left, and take disc, macula, vessels, lesions, centre and
    rim away to see what the classifier tells without them, on unseen patients.

    Maps show the evidence for the positive class of two, else for each image's true class; of the heads for grades, for a
    higher grade. Images without optic disc and fovea are left out. Vessels and lesions are measured where the dataset has masks.

    Args:
        method: see `methods.attribute`.
        fills: some of FILLS; all by default.
        out: RUN/regions-<dataset> by default.

    Raises:
        UserError: as `open_unseen`; an unknown word; fewer than two patients with optic disc and fovea, or all of one class.
    """
    fills = tuple(dict.fromkeys(fills)) if fills else FILLS
    check_method(method)
    for name in fills:
        if name not in FILLS:
            raise UserError(f"--fills {name} is not known; expected some of {', '.join(FILLS)}")
    eyes = open_unseen(run, dataset, device, quiet)
    targets, scores, about = map_targets(eyes, "")
    matrices = frame_matrices(eyes.dataset.table)
    usable = np.flatnonzero(np.isfinite(matrices).all(axis=(1, 2)))
    if len(set(eyes.patients[usable])) < 2:
        raise UserError("optic disc and fovea were found in unseen images of fewer than two patients; expected at least two",
                        path=eyes.dataset.path)  # fmt: skip
    present = np.unique(eyes.labels[usable])
    if len(present) < 2:
        only = eyes.about.classes[present[0]]
        raise UserError(f"unseen images with optic disc and fovea are all {only}; the AUROC needs two classes",
                        path=eyes.dataset.path)  # fmt: skip
    shares, told, areas = _measured(eyes, usable, targets, scores, matrices, method, fills, seed, quiet)
    decision, labels, patients = load_decision(run, eyes.about), eyes.labels[usable], eyes.patients[usable]
    found = RegionStudy(
        Path(out) if out is not None else Path(run) / f"regions-{eyes.dataset.name}",
        interval([SeedPredictions(labels, decision.calibrated(eyes.probabilities[usable]), patients)], "auroc", seed=seed),
        tuple(region_mass(shares, patients, seed)),
        tuple(judge_removals(labels, patients, eyes.probabilities[usable], told, areas, decision, seed)),
        len(usable), len(eyes) - len(usable), eyes.left_out,
    )  # fmt: skip
    _write(found)
    from .region_report import examples, write_report

    facts = {"classifier": eyes.model.name, "method": method, "evidence for": about, "dataset": eyes.dataset.name}
    write_report(found, examples(eyes, usable, matrices, fills, seed), facts)
    return found


def _measured(
    eyes: UnseenEyes, usable: np.ndarray, targets: np.ndarray, scores: Scores, matrices: np.ndarray, method: str,
    fills: Sequence[str], seed: int, quiet: bool,
) -> tuple[dict[str, Shares], dict[tuple[str, str], Told], dict[str, np.ndarray]]:  # fmt: skip
    """Shares, answers and replaced areas of the images `usable`, a lot at a time."""
    shares, told, areas = [], [], []
    with Progress(len(usable), "taking regions away", quiet=quiet) as progress:
        for start in range(0, len(usable), _BATCH):
            part = usable[start : start + _BATCH]
            masks = [masks_of(eyes, index) for index in part]
            maps = attribute(
                eyes.model, eyes.images(part), targets[part], method, scores=scores, seed=seed, device=eyes.device
            )
            shares.append(map_shares(maps, masks, seed, start))
            told.append(removed_predictions(eyes, part, masks, matrices, fills, seed))
            areas.append({name: np.array([removed_area(one, name) for one in masks]) for name in REMOVED})
            progress.advance(len(part))
    answers = {
        key: Told(*(np.concatenate([getattr(one[key], side) for one in told]) for side in ("removed", "control")))
        for key in told[0]
    }
    return joined(shares), answers, {name: np.concatenate([one[name] for one in areas]) for name in REMOVED}


def masks_of(eyes: UnseenEyes, index: int) -> dict[str, np.ndarray]:
    """`region_masks` of one of the eyes at the classifier's size."""
    return region_masks(eyes.dataset.table.iloc[index].to_dict(), read_masks(eyes.dataset, index), eyes.model.size)


def mass_table(found: RegionStudy) -> pd.DataFrame:
    """One row a region, with intervals as columns."""
    return pd.DataFrame([{
        "region": one.region, "images": one.images, "mass": one.mass, "area": one.area, "ratio": one.ratio.estimate,
        "ratio_low": one.ratio.low, "ratio_high": one.ratio.high, "at_random_places": one.chance,
        "beyond": one.beyond.estimate, "beyond_low": one.beyond.low, "beyond_high": one.beyond.high, "adjusted_p": one.adjusted_p,
    } for one in found.mass])  # fmt: skip


def removal_table(found: RegionStudy) -> pd.DataFrame:
    """One row a region and way, with intervals as columns."""
    return pd.DataFrame([{
        "region": one.region, "fill": one.fill, "images": one.images, "area": one.area, "auroc": one.auroc,
        "fall": one.fall.estimate, "fall_low": one.fall.low, "fall_high": one.fall.high, "fall_at_random_places": one.control,
        "beyond": one.beyond.estimate, "beyond_low": one.beyond.low, "beyond_high": one.beyond.high, "adjusted_p": one.adjusted_p,
        "certainty_fall": one.certainty.estimate, "certainty_low": one.certainty.low, "certainty_high": one.certainty.high,
    } for one in found.removals])  # fmt: skip


def _write(found: RegionStudy) -> None:
    write_text(found.folder / "mass.csv", mass_table(found).to_csv(index=False, lineterminator="\n"))
    write_text(found.folder / "removal.csv", removal_table(found).to_csv(index=False, lineterminator="\n"))
    write_json(found.folder / "summary.json", found.summary())
