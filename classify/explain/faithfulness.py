"""Is a map faithful to the classifier it explains? What is measured for one method, and the verdict on it.

A method passes when both hold:

- Its order of the pixels matters: insertion area minus deletion area (see `insertion_deletion`) is larger than for random maps
  of the same grain, in a paired bootstrap test over patients, corrected by Holm for the methods that are tested together.
- It needs what the network learned: between its maps of the trained and of the fully randomised network (see
  `randomization`) the mean rank correlation is below 0.5, the upper end of its interval too. Two maps with 0.5 have a quarter
  of the variance of their ranks in common; above that, what a reader sees is more the photograph than the network.

With fewer than 10 patients nothing passes: a bootstrap over so few is too sure of itself.

How well maps agree with masks (see `pointing`) is told and not judged: a classifier may look elsewhere than a person would,
and the map that shows so is right.

The result is kept as faithfulness.json in the run folder, the form of which is

    {"kind": "fundus-synth faithfulness", "dataset": ..., "weights": SHA-256 of the checkpoint,
     "methods": {name: {"passes": bool, "why": "one sentence", ...}}}

`why` is written for readers; a method that was not checked is not among `methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ...runtime.errors import UserError
from ...runtime.files import read_json
from ..checkpoint import weights_hash
from ..evidence import HELPS, Difference, Interval, adjusted_p_values, claim
from .faithfulness_cases import Cases
from .insertion_deletion import Curves, Probability, insertion_deletion, random_maps
from .patient_means import mean_difference, mean_interval
from .pointing import SCORES, Location, locate, located_by_chance
from .randomization import Cascade, cascade

KIND = "fundus-synth faithfulness"
FILE = "faithfulness.json"
MOST_ALIKE = 0.5
FEWEST_PATIENTS = 10

Attribute = Callable[[nn.Module, np.ndarray, np.ndarray], np.ndarray]
"""A classifier, uint8 images (n, s, s, 3), targets int (n,) -> maps float (n, s, s)."""


@dataclass(frozen=True)
class Measured:
    """What was measured for one method.

    Attributes:
        maps: of the trained network, float32 (n, s, s).
        curves, chance: of these maps, and of random ones of the same grain.
        cascade: of the first images, see `measure`.
        found, turned: where the maps point, and where they would point turned; over all images.
        found_randomized: the same for the maps of the randomised network, of the first images.
        patients: str (n,).
    """

    maps: np.ndarray
    curves: Curves
    chance: Curves
    cascade: Cascade
    found: Location
    turned: Location
    found_randomized: Location
    patients: np.ndarray

    @property
    def better_than_random(self) -> Difference:
        """Insertion minus deletion area, against that of the random maps."""
        return mean_difference(self.curves.gain, self.chance.gain, self.patients)

    @property
    def alike_when_random(self) -> Interval:
        """Rank correlation of the maps with those of the fully randomised network; nan when more than half of the pairs have
        none, because a map is constant."""
        values = self.cascade.rank_correlation[-1]
        few = np.isnan(values).mean() > 0.5
        return mean_interval(np.full_like(values, np.nan) if few else values, self.patients[: len(values)])

    def located(self, score: str) -> tuple[Interval, Difference, Difference]:
        """One of `pointing.SCORES`: the score, its difference from the turned maps', and from the randomised network's."""
        ours, random = getattr(self.found, score), getattr(self.found_randomized, score)
        first = slice(len(random))
        # Where the randomised network's map is empty it found nothing.
        none = np.where(np.isnan(ours[first]), np.nan, 0)
        random = np.where(np.isnan(random), none, random)
        return (
            mean_interval(ours, self.patients),
            mean_difference(ours, getattr(self.turned, score), self.patients),
            mean_difference(ours[first], random, self.patients[first]),
        )

    def summary(self) -> dict:
        """Plain values for faithfulness.json."""
        stages = zip(self.cascade.stages, *_stage_means(self.cascade), strict=True)
        return {
            "insertion": _plain(mean_interval(self.curves.insertion_area, self.patients)),
            "deletion": _plain(mean_interval(self.curves.deletion_area, self.patients)),
            "random_insertion": _plain(mean_interval(self.chance.insertion_area, self.patients)),
            "random_deletion": _plain(mean_interval(self.chance.deletion_area, self.patients)),
            "gain_over_random": _plain(self.better_than_random),
            "alike_when_random": _plain(self.alike_when_random),
            "alike_of_another_image": nan_mean(self.cascade.other_image),
            "stages": [{"down_to": n, "rank_correlation": r, "structural_similarity": s} for n, r, s in stages],
            "masks": {score: self._mask_summary(score) for score in SCORES} if self.has_masks else None,
        }

    @property
    def has_masks(self) -> bool:
        """Whether any image has a mask."""
        return bool(np.isfinite(self.found.area).any())

    def _mask_summary(self, score: str) -> dict:
        score_, turned, random = self.located(score)
        share = self.found.near if score == "pointing" else self.found.area
        return {
            **_plain(score_), "area_share": float(np.nanmean(share)), "over_turned": _plain(turned),
            "over_randomized": _plain(random),
        }  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Whether a method may be trusted with this classifier, and one sentence that says why."""

    passes: bool
    why: str


def measure(
    attribute: Attribute, model: nn.Module, networks: list[tuple[str, nn.Module]], cases: Cases, probability: Probability, *,
    randomized_images: int = 24, steps: int = 20, seed: int = 0, advance: Callable[[], None] = lambda: None,
) -> Measured:  # fmt: skip
    """All that is measured for one method.

    Args:
        attribute: the method.
        model: the trained network.
        networks: of `randomization.randomized`.
        probability: see `insertion_deletion.Probability`.
        randomized_images: on how many of the images, the first ones, maps of randomised networks are made.
        steps: of the curves.
        advance: called 2 len(cases) + len(networks) times.
    """
    images, fields, targets = cases.images, cases.fields, cases.targets
    maps = attribute(model, images, targets)
    told = {"steps": steps, "seed": seed, "advance": advance}
    curves = insertion_deletion(probability, images, cases.baselines, fields, maps, targets, **told)
    chance = insertion_deletion(
        probability, images, cases.baselines, fields, random_maps(maps, fields, seed), targets, **told
    )
    few = cases.first(randomized_images)
    ours = maps[: len(few)]
    change = cascade(lambda network: attribute(network, few.images, few.targets), networks, ours, few.fields, advance)
    return Measured(
        maps, curves, chance, change, locate(maps, cases.masks, fields),
        located_by_chance(maps, cases.masks, fields, seed), locate(change.last, few.masks, few.fields), cases.patients,
    )  # fmt: skip


def verdicts(measured: Mapping[str, Measured]) -> dict[str, Verdict]:
    """The verdict on each method; those given are one family of tests."""
    gains = {name: one.better_than_random for name, one in measured.items()}
    adjusted = adjusted_p_values(gains)
    return {name: judge(gains[name], adjusted[name], one.alike_when_random) for name, one in measured.items()}


def judge(gain: Difference, adjusted_p: float, alike: Interval) -> Verdict:
    """One method: see the head of this file.

    Args:
        gain: insertion minus deletion area, over that of random maps.
        adjusted_p: of it, see `evidence.holm`.
        alike: rank correlation with maps of the randomised network.
    """
    told = f"{gain.estimate:+.3f}, 95 % interval {gain.low:+.3f} to {gain.high:+.3f}, Holm-adjusted p {adjusted_p:.3f}"
    same = f"rank correlation {alike.estimate:.2f}, 95 % interval {alike.low:.2f} to {alike.high:.2f}"
    if gain.patients < FEWEST_PATIENTS:
        return Verdict(False, f"{gain.patients} patients are too few to tell; expected {FEWEST_PATIENTS} and more.")
    if not np.isfinite([gain.low, alike.low]).all():
        return Verdict(False, "There are too few maps with anything in them to tell.")
    if claim(gain, adjusted_p) != HELPS:
        return Verdict(False, f"Its order of the pixels is not shown to matter more than a random one (insertion minus deletion "
                              f"area, over random: {told}).")  # fmt: skip
    if alike.high >= MOST_ALIKE:
        return Verdict(False, f"Its maps hardly need what the network learned: those of a random network are too much like them "
                              f"({same}; expected below {MOST_ALIKE}).")  # fmt: skip
    return Verdict(True, f"Its order of the pixels matters (insertion minus deletion area, over random: {told}), and a random "
                         f"network has other maps ({same}).")  # fmt: skip


def read_faithfulness(run: Path | str) -> dict[str, Verdict]:
    """The verdicts that a run folder holds, {method: Verdict}; empty when its maps were never checked, or with other weights:
    a training that went on since has made another classifier.

    Raises:
        UserError: faithfulness.json is damaged or something else.
    """
    path = Path(run) / FILE
    if not path.is_file():
        return {}
    content = read_json(path)
    try:
        if content["kind"] != KIND:
            raise KeyError(content["kind"])
        if content.get("weights") != weights_hash(run):
            return {}
        return {name: Verdict(bool(one["passes"]), str(one["why"])) for name, one in content["methods"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            "is not a result of fundus-classify check-explanations", path=path, hint="Run the check again."
        ) from error


def _stage_means(one: Cascade) -> tuple[list[float], list[float]]:
    return tuple([nan_mean(row) for row in values] for values in (one.rank_correlation, one.structural_similarity))


def nan_mean(values: np.ndarray) -> float:
    """The mean of the values that are not nan; nan when there is none."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _plain(one: Interval) -> dict[str, float]:
    p = {"p": one.p} if isinstance(one, Difference) else {}
    return {"estimate": one.estimate, "low": one.low, "high": one.high, **p}
