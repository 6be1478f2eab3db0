"""`fundus-classify mean-maps`: where a classifier looks in groups of patients, in one retinal frame."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.cache import fit_square
from ...data.dataset import FundusDataset
from ...data.image_file import read_image
from ...preprocess.dataset_masks import whole_field
from ...runtime.errors import UserError
from ...runtime.files import write_bytes, write_json
from ...runtime.progress import Progress
from ..decision import load_decision
from ..evidence import holm
from .map_groups import Grouping, make_groups
from .map_statistics import GroupMap, MapDifference, group_map, permutation_test
from .methods import attribute, check_method
from .retinal_frame import fields_in_frame, frame_matrices, to_frame
from .scores import Scores
from .unseen_eyes import UnseenEyes, map_targets, open_unseen

FRAME = 64
"""Side of the frame in pixels: the maps are no finer, and the test's time grows with its area."""

SCALES = ("strength", "share")
_BATCH = 64
_LEAST = 5  # patients in each of two groups; of fewer, there are too few ways to deal them


@dataclass(frozen=True)
class Comparison:
    """Two groups. `adjusted_p` is corrected for the comparisons being several (Holm); `found` is None, and it nan, when a group
    has fewer than 5 patients."""

    first: str
    second: str
    found: MapDifference | None
    adjusted_p: float

    def line(self) -> str:
        """In a sentence."""
        if self.found is None:
            return f"{self.first} against {self.second}: fewer than {_LEAST} patients in one of them; not tested."
        of = f"{self.first} ({self.found.patients[0]} patients) against {self.second} ({self.found.patients[1]})"
        told = f"Holm-adjusted permutation p {self.adjusted_p:.4f}"
        share = self.found.where().sum() / max(np.isfinite(self.found.adjusted).sum(), 1)
        if self.adjusted_p <= 0.05:
            return f"{of}: the maps differ ({told}), in {share:.0%} of the retina seen."
        return f"{of}: no evidence that the maps differ ({told})."


@dataclass(frozen=True)
class MeanMaps:
    """What `mean_maps` found.

    Attributes:
        folder: where report.html, mean_maps.npz and summary.json are.
        groups: {group: its map}.
        images, without_landmarks, seen: images used; left out because disc or fovea was not found; left out because the
            classifier knows their patients.
    """

    folder: Path
    groups: dict[str, GroupMap]
    comparisons: tuple[Comparison, ...]
    images: int
    without_landmarks: int
    seen: int

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "folder": str(self.folder), "images": self.images, "without_landmarks": self.without_landmarks, "seen": self.seen,
            "groups": {name: {"images": one.images, "patients": one.patients} for name, one in self.groups.items()},
            "comparisons": [
                {"first": c.first, "second": c.second, "p": c.found.p if c.found else None, "adjusted_p": c.adjusted_p,
                 "significant_places": int(c.found.where().sum()) if c.found else None}
                for c in self.comparisons
            ],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people."""
        left_out = f"{self.without_landmarks} left out without optic disc or fovea, {self.seen} of patients it has seen"
        return [f"{self.images} images in the retinal frame ({left_out})", *(c.line() for c in self.comparisons),
                f"report: {self.folder / 'report.html'}"]  # fmt: skip


def mean_maps(
    run: Path | str,
    dataset: FundusDataset | Path | str,
    *,
    method: str = "grad-cam",
    groups: str = "class",
    of: str = "",
    scale: str = "strength",
    permutations: int = 2000,
    out: Path | str | None = None,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> MeanMaps:
    """Lay the maps of unseen patients on one retinal frame by optic disc and fovea, average them in groups, and test where
    groups differ, with patients as units.

    Args:
        method: see `methods.attribute`.
        groups: see `map_groups.make_groups`.
        of: the class whose evidence the maps show, "true" or "predicted"; "" takes the positive class of two, else "true". Of the
            heads for grades "lower" or "higher", which "" takes.
        scale: "strength" leaves the maps as they are; "share" makes the absolute values of each add up to 1 in its field, so
            that only the place counts. Maps of zeros stay zeros.
        out: RUN/mean-maps-<dataset> by default.

    Raises:
        UserError: as `open_unseen` and `make_groups`; an unknown word; no image with optic disc and fovea.
    """
    check_method(method)
    if scale not in SCALES:
        raise UserError(f"--scale {scale} is not known; expected {' or '.join(SCALES)}")
    eyes = open_unseen(run, dataset, device, quiet)
    targets, scores, about = map_targets(eyes, of)
    matrices = frame_matrices(eyes.dataset.table)
    usable = np.flatnonzero(np.isfinite(matrices).all(axis=(1, 2)))
    if not len(usable):
        raise UserError("optic disc and fovea were not found in any unseen image, so that no map can be registered",
                        path=eyes.dataset.path)  # fmt: skip
    predicted = load_decision(run, eyes.about).decide(eyes.probabilities)
    grouping = make_groups(
        groups, eyes.dataset.table.iloc[usable], eyes.labels[usable], predicted[usable], eyes.about.classes
    )
    maps, photographs = framed(eyes, usable, matrices, targets, scores, method, seed, quiet)
    fields = fields_in_frame(matrices[usable], FRAME, [field_of(eyes, index) for index in usable])
    maps = shares(maps, fields) if scale == "share" else maps
    folder = Path(out) if out is not None else Path(run) / f"mean-maps-{eyes.dataset.name}"
    patients = eyes.patients[usable]
    found = MeanMaps(
        folder,
        {name: group_map(maps[there], fields[there], patients[there]) for name, there in grouping.members.items()},
        compare(grouping, maps, fields, patients, permutations, seed),
        len(usable), len(eyes) - len(usable), eyes.left_out,
    )  # fmt: skip
    _write(found)
    from .mean_maps_report import write_report

    write_report(found, grouping, photographs, {"classifier": eyes.model.name, "method": method, "evidence for": about,
                                                "scale": scale, "dataset": eyes.dataset.name})  # fmt: skip
    return found


def framed(
    eyes: UnseenEyes, usable: np.ndarray, matrices: np.ndarray, targets: np.ndarray, scores: Scores, method: str, seed: int,
    quiet: bool,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Maps and photographs of the images `usable` in the retinal frame: float32 (n, FRAME, FRAME) and uint8
    (n, 2 FRAME, 2 FRAME, 3)."""
    maps, photographs = [], []
    with Progress(len(usable), f"{method} maps", quiet=quiet) as progress:
        for start in range(0, len(usable), _BATCH):
            part = usable[start : start + _BATCH]
            source = eyes.images(part)
            raw = attribute(eyes.model, source, targets[part], method, scores=scores, seed=seed, device=eyes.device)
            maps.append(to_frame(raw, matrices[part], FRAME))
            photographs.append(to_frame(source.take(np.arange(len(part))), matrices[part], 2 * FRAME))
            progress.advance(len(part))
    return np.concatenate(maps), np.concatenate(photographs)


def field_of(eyes: UnseenEyes, index: int) -> np.ndarray:
    """Where one of the eyes was photographed: its mask `fov`, or the inscribed circle where that is missing or empty; uint8
    (2 FRAME, 2 FRAME)."""
    path = eyes.dataset.mask_path(index, "fov")
    mask = None if path is None else fit_square(read_image(path).max(axis=2), 2 * FRAME)
    return mask if mask is not None and mask.any() else whole_field(2 * FRAME)


def shares(maps: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Maps float32 (n, s, s) whose absolute values add up to 1 in each field, bool (n, s, s); zeros stay zeros."""
    total = np.abs(np.where(fields, maps, 0)).sum(axis=(1, 2), keepdims=True)
    return np.divide(maps, total, out=np.zeros_like(maps), where=total > 0)


def compare(
    grouping: Grouping, maps: np.ndarray, fields: np.ndarray, patients: np.ndarray, permutations: int, seed: int
) -> tuple[Comparison, ...]:
    """Every pair of groups, with p-values corrected for the pairs; arguments as `group_map`."""
    found: list[MapDifference | None] = []
    for pair in grouping.pairs:
        sides = [(maps[there], fields[there], patients[there]) for there in (pair.of_first, pair.of_second)]
        enough = min(len(set(side[2])) for side in sides) >= _LEAST
        found.append(permutation_test(*sides, permutations=permutations, seed=seed) if enough else None)
    adjusted = holm([one.p if one else np.nan for one in found])
    return tuple(
        Comparison(pair.first, pair.second, one, float(p))
        for pair, one, p in zip(grouping.pairs, found, adjusted, strict=True)
    )


def _write(found: MeanMaps) -> None:
    arrays = {}
    for number, one in enumerate(found.groups.values()):
        arrays |= {f"mean_{number}": one.mean, f"spread_{number}": one.spread, f"seen_{number}": one.seen}
    for number, one in enumerate(found.comparisons):
        if one.found:
            arrays |= {f"difference_{number}": one.found.difference, f"p_{number}": one.found.adjusted}
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    write_bytes(found.folder / "mean_maps.npz", stream.getvalue())
    write_json(found.folder / "summary.json", found.summary())
