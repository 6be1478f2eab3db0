"""The privacy audit of a synthetic dataset: copies of training eyes, nearest patients, membership.

fundus-synth audit SYNTHETIC --against TRAIN [--holdout REAL] [--run RUN]

A picture is a copy when it is an outright copy of a training eye, or lies nearer to one than the eyes of held-out patients do
(`limits`). The verdict is on the generator: it fails when it copies more often than chance would call a stranger's eye a
copy, or when its pictures give away who was in the training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...runtime.errors import UserError
from ..feature_spaces import comparable, feature_space
from ..features.base import SMALLEST, FeatureSpace
from .limits import FEWEST_EYES, Limits, cross_fitted_alarms, limits_of, share
from .membership import Membership, membership
from .nearest import MEASURES, Looks, Nearest, find_nearest, look_at, nearest_picture
from .result import Picture, PrivacyAudit
from .sides import Sides, find_sides

_LARGEST = 256  # pixels; nothing is looked at in more detail
_FARTHEST = 9.0  # limits; a distance of any more says no more


def audit(
    synthetic: FundusDataset, against: FundusDataset, holdout: FundusDataset | None = None, *, run: Path | str | None = None,
    features: str = "retina", feature_weights: Path | str | None = None, seed: int = 0, workers: int | None = None,
    quiet: bool = False,
) -> PrivacyAudit:  # fmt: skip
    """Look for whatever a synthetic dataset gives away of the photographs that its generator was trained on.

    Args:
        synthetic: what a generator made; images of 64 pixels or more, compared at their own size, at most at 256.
        against: the real images that it was trained on.
        holdout: real images of other patients; by default those of `against` that the generator has not seen.
        run: the run folder of the generator, whose discriminator is then questioned as well.
        features, feature_weights: see `feature_spaces.feature_space`.
        seed: of the bootstrap and the halves.
        workers: processes; None = one a core.

    Raises:
        UserError: as in `find_sides`; images smaller than 64 pixels or not readable; a `run` that made other images.
        JobError: a worker was killed.
    """
    if not len(synthetic):
        raise UserError("has no images to audit", path=synthetic.path)
    space = feature_space(features, feature_weights)
    sides = find_sides(synthetic, against, holdout, seed)
    scored = {} if run is None else _discriminator_membership(run, synthetic, sides, seed)
    size = compared_at(synthetic)
    made, seen, unseen = _looks(synthetic, sides, size, space, workers, quiet)
    near = find_nearest(made, seen, workers, quiet)
    sides, strangers, unseen = _without_hidden_copies(sides, find_nearest(unseen, seen, workers, quiet), unseen)
    limits = alarms = None
    if len(unseen) >= FEWEST_EYES:
        limits = limits_of(strangers.distance)
        alarms = cross_fitted_alarms(strangers.distance, sides.held_out.patient_keys, seed)
    pictures = _pictures(near, limits)
    told = {**_distance_membership(synthetic, sides, (made, seen, unseen), seed), **scored}
    given = {"--holdout": holdout and holdout.path, "--run": run, "--feature-weights": feature_weights,
             "--features": features, "--seed": seed}  # fmt: skip
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return PrivacyAudit(
        synthetic, against, sides, size, space.name, pictures, int((near.copy_of >= 0).sum()),
        share(sum(one.copy for one in pictures), len(pictures)), limits, alarms, told, _nearest_first(strangers, limits),
        ["fundus-synth", "audit", str(synthetic.path), "--against", str(against.path), *words],
    )  # fmt: skip


def _without_hidden_copies(sides: Sides, strangers: Nearest, looks: Looks) -> tuple[Sides, Nearest, Looks]:
    """The held-out eyes without those that show an eye of the training under another patient's name.

    Collections hold such; they would set the limits to 0.
    """
    unlike = strangers.copy_of < 0
    if unlike.all():
        return sides, strangers, looks
    note = (
        f"{int((~unlike).sum())} held-out images show eyes of the training under other patient ids; they are left out"
    )
    sides = replace(sides, held_out=sides.held_out.subset(unlike), notes=[*sides.notes, note])
    strangers = Nearest(strangers.index[unlike], strangers.distance[unlike], strangers.copy_of[unlike])
    return sides, strangers, looks.subset(unlike)


def compared_at(synthetic: FundusDataset) -> int:
    """The side in pixels at which its images are compared with real ones: their own, at most 256.

    Raises:
        UserError: they are smaller than 64 pixels.
    """
    side = max(synthetic.read(0).shape[:2])
    if side < SMALLEST:
        raise UserError(f"its images are {side} pixels wide; expected at least {SMALLEST}", path=synthetic.path)
    return min(side, _LARGEST)


def _looks(
    synthetic: FundusDataset, sides: Sides, size: int, space: FeatureSpace, workers: int | None, quiet: bool
) -> tuple[Looks, Looks, Looks]:
    """The synthetic, training and held-out images, their features in units of the spread among the training eyes."""
    parts = [
        look_at(_pixels(one, size, quiet), space, workers, quiet) for one in (synthetic, sides.training, sides.held_out)
    ]
    made, seen, unseen = (one.features for one in parts)
    seen, made, unseen = comparable(space, seen, made, unseen)
    return tuple(Looks(one.appearances, one.patterns, f) for one, f in zip(parts, (made, seen, unseen), strict=True))


def _pixels(dataset: FundusDataset, size: int, quiet: bool = True) -> np.ndarray:
    return image_cache(dataset, size, quiet=quiet) if len(dataset) else np.zeros((0, size, size, 3), np.uint8)


def _pictures(near: Nearest, limits: Limits | None) -> list[Picture]:
    """What is said of each synthetic image."""
    nearness = near.distance if limits is None else limits.nearness(near.distance)
    found = []
    for number, row in enumerate(nearness):
        measure, original = int(row.argmin()), int(near.copy_of[number])
        close = [f"{name} {value:.2f}" for name, value in zip(MEASURES, row, strict=True) if value < 1]
        if original >= 0:
            why = "an outright copy"
        elif limits is not None and close:
            why = f"nearer than held-out eyes: {', '.join(close)} of the limit"
        else:
            why = ""
        nearest = original if original >= 0 else int(near.index[number, measure])
        found.append(Picture(bool(why), nearest, round(min(float(row[measure]), _FARTHEST), 4), why))
    return found


def _nearest_first(strangers: Nearest, limits: Limits | None) -> list[tuple[int, int, float]]:
    if limits is None:
        return []
    nearness = limits.nearness(strangers.distance)
    measure, rows = nearness.argmin(1), np.arange(len(nearness))
    order = np.argsort(nearness[rows, measure], kind="stable")
    return [
        (int(i), int(strangers.index[i, measure[i]]), min(float(nearness[i, measure[i]]), _FARTHEST)) for i in order
    ]


def _distance_membership(
    synthetic: FundusDataset, sides: Sides, looks: tuple[Looks, Looks, Looks], seed: int
) -> dict[str, Membership]:
    """Whether training eyes lie nearer to a synthetic image than held-out eyes of the same classes do."""
    members, others = (_of_classes(synthetic, one) for one in (sides.training, sides.held_out))
    both = [look.subset(rows) for look, rows in zip(looks[1:], (members, others), strict=True)]
    if not all(map(len, both)):
        return {}
    nearness = -nearest_picture(looks[0], _joined(*both))
    patients = [_keys(one, rows) for one, rows in ((sides.training, members), (sides.held_out, others))]
    cut = len(both[0])
    found = {name: membership(nearness[:cut, i], nearness[cut:, i], *patients, seed) for i, name in enumerate(MEASURES)}
    return {name: one for name, one in found.items() if one is not None}


def _discriminator_membership(
    run: Path | str, synthetic: FundusDataset, sides: Sides, seed: int
) -> dict[str, Membership]:
    """The same by the discriminator's scores.

    Raises:
        UserError: the run's generator is not the one that made `synthetic`.
    """
    from .discriminator_scores import discriminator_of, run_info, scores

    info = run_info(run)
    maker = synthetic.info.get("generator") or {}
    if not isinstance(maker, dict) or maker.get("weights_sha256") != info.weights_sha256:
        raise UserError(f"its generator is {info.name}; {synthetic.name} was made by another", path=run)
    discriminator = discriminator_of(run)
    if discriminator is None:
        return {}
    values, patients = [], []
    for eyes in (sides.training, sides.held_out):
        chosen = eyes.subset(_of_classes(synthetic, eyes))
        values.append(scores(discriminator, _pixels(chosen, info.architecture["size"])))
        patients.append(chosen.patient_keys)
    found = membership(*values, *patients, seed)
    return {} if found is None else {"discriminator": found}


def _of_classes(synthetic: FundusDataset, eyes: FundusDataset) -> np.ndarray:
    """Which eyes are of the classes that were made, bool (n,); all when no classes are named.

    Eyes of another class are further from what was made, whether they were in the training or not.
    """
    labels = set(synthetic.column("label")) - {""}
    return eyes.column("label").isin(labels).to_numpy() if labels else np.ones(len(eyes), dtype=bool)


def _keys(eyes: FundusDataset, rows: np.ndarray) -> list[str]:
    return [key for key, wanted in zip(eyes.patient_keys, rows, strict=True) if wanted]


def _joined(one: Looks, other: Looks) -> Looks:
    return Looks(
        [*one.appearances, *other.appearances],
        np.concatenate([one.patterns, other.patterns]),
        np.concatenate([one.features, other.features]),
    )
