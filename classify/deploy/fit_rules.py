"""What a trained classifier needs to know when to say nothing: `answer.Rules`, fitted on its own patients.

The sets and the limit of what is familiar come from the validation patients, what familiar photographs look like from the
training patients. Test patients are not looked at. The validation patients also chose the epoch and fitted the temperature,
so they are not quite new to the network; benchmarks/decision.py measures what that costs in coverage, against rules fitted on
patients that nothing was chosen on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...data.cache import image_cache
from ...data.dataset import FundusDataset
from ...data.labels import WHO_ADULTS
from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...data.wider_targets import target_of
from ...runtime.devices import choose_device
from ...runtime.errors import UserError
from ..checkpoint import About, load_classifier
from ..decision import Decision, load_decision
from ..images import ImageSource
from ..tasks import task_of
from ..trained_on import known_rows_of_split
from .answer import Rules
from .conformal import LEVEL, ClassSets, fit_class_sets, fit_half_width, fit_presence, patient_quantile
from .familiarity import Familiarity, fit_familiarity
from .features import told_and_features

_LIMITS = tuple(sorted(cutoffs.anemia for cutoffs in WHO_ADULTS.values()))
_ANEMIA = (
    f"Anaemia begins below {WHO_ADULTS['female'].anemia:.1f} g/dL in women and below {WHO_ADULTS['male'].anemia:.1f} in men (WHO, "
    "adults); what may lie on either side is referred."
)


def fit_rules(
    run: Path | str, dataset: FundusDataset | Path | str, *, level: float = LEVEL, device: str = "auto", quiet: bool = False
) -> Rules:  # fmt: skip
    """Fit the rules of a run on its own training and validation patients.

    Args:
        run: a run folder of `train`.
        dataset: what it was trained on; images of other patients are left out.
        level: share of the patients of each class whose set is to hold the right answer, 0..1.

    Raises:
        UserError: no classifier, one whose features are the same for every image, or no image of its training or of its
            validation patients in the dataset.
    """
    where = choose_device(device)
    model, about = load_classifier(run, where)
    decision = load_decision(run, about)
    dataset = dataset if isinstance(dataset, FundusDataset) else FundusDataset.open(dataset)
    rows = {split: known_rows_of_split(dataset, about, split) for split in ("train", "val")}
    source = ImageSource(image_cache(dataset, model.size, quiet=quiet), np.concatenate(list(rows.values())))
    told, features = told_and_features(model, source, task_of(about.target), device=where, quiet=quiet)
    learned = len(rows["train"])
    patients = np.asarray(dataset.patient_keys, dtype=str)
    truth = target_of(about.target, about.classes).labels(dataset)
    try:
        familiarity = fit_familiarity(
            features[:learned], _groups(about, truth[rows["train"]]), patients[rows["train"]],
            features[learned:], patients[rows["val"]],
        )  # fmt: skip
    except ValueError as error:
        raise UserError(
            f"tells nothing apart ({error})", path=run, hint="Train it for longer, or at a smaller learning rate."
        ) from error
    return rules_of(about, decision, truth[rows["val"]], told[learned:], patients[rows["val"]], familiarity, level)


def rules_of(
    about: About, decision: Decision, truth: np.ndarray, told: np.ndarray, patients: np.ndarray,
    familiarity: Familiarity | None = None, level: float = LEVEL,
) -> Rules:  # fmt: skip
    """The rules for what a classifier told about images of patients that it did not learn from.

    Args:
        truth: int (n,); of several labels 0/1 (n, k); of haemoglobin g/dL, float (n,).
        told: of `predict_images`, not yet calibrated.
        patients: (n,).
    """
    calibrated = told if about.target == HEMOGLOBIN else decision.calibrated(told)
    return _rules_of_calibrated(about, decision, truth, calibrated, patients, familiarity, level)


def refitted(
    rules: Rules, about: About, decision: Decision, truth: np.ndarray, told: np.ndarray, features: np.ndarray, patients: np.ndarray
) -> Rules:  # fmt: skip
    """The rules for a model file, whose smaller numbers may say something else than the network: what familiar photographs look
    like stays, and how far that reaches and the sets follow from what the file says of the validation images.

    Args:
        rules: of `fit_rules`.
        truth, patients: as in `rules_of`.
        told: calibrated, as the file tells it: float (n, k).
        features: float (n, d), as the file gives them.
    """
    known = rules.familiarity
    if known is not None:
        known = replace(known, limit=patient_quantile(known.distances(features), patients, known.level))
    return _rules_of_calibrated(about, decision, truth, told, patients, known, rules.level)


def _rules_of_calibrated(
    about: About, decision: Decision, truth: np.ndarray, told: np.ndarray, patients: np.ndarray,
    familiarity: Familiarity | None, level: float,
) -> Rules:  # fmt: skip
    shared = {
        "classes": about.classes, "level": level, "temperature": decision.temperature, "multipliers": decision.multipliers,
        "cuts": decision.cuts, "thresholds": decision.thresholds, "familiarity": familiarity,
    }  # fmt: skip
    if about.target == HEMOGLOBIN:
        half, attained = fit_half_width(told[:, 0] - truth, patients, level)
        notes = (_ANEMIA, *_notes_of_interval(len(np.unique(patients)), attained, level))
        return Rules(**shared, half_width=half, limits=_LIMITS, attained=attained, notes=notes)
    if about.target == MULTILABEL:
        present, absent = fit_presence(truth, told, patients, level)
        notes = (*_notes(about, present, level), *_notes(about, absent, level, "no "))
        return Rules(
            **shared, present=present, absent=absent, attained=min(*present.levels, *absent.levels), notes=notes
        )
    sets = fit_class_sets(truth, told, patients, level)
    return Rules(**shared, sets=sets, attained=min(sets.levels), notes=_notes(about, sets, level))


def _groups(about: About, truth: np.ndarray) -> np.ndarray:
    """Who has a mean of their own: the classes; where there are none, all are one."""
    return np.zeros(len(truth), dtype=int) if about.target in (HEMOGLOBIN, MULTILABEL) else truth


def _notes_of_interval(patients: int, attained: float, level: float) -> tuple[str, ...]:
    if attained >= level:
        return ()
    return (
        f"{patients} validation patient{'s' * (patients != 1)} cannot show {level:.0%}; the interval is guaranteed to hold the "
        f"right number for {math.floor(100 * attained + 1e-9)}% only.",
    )


def _notes(about: About, sets: ClassSets, level: float, before: str = "") -> tuple[str, ...]:
    """What is not guaranteed as asked."""
    return tuple(
        f"{before}{name}: {patients} validation patient{'s' * (patients != 1)} cannot show {level:.0%}; "
        + (
            f"its coverage is guaranteed to {math.floor(100 * at + 1e-9)}% only."
            if patients
            else "it can never be excluded."
        )
        for name, at, patients in zip(about.classes, sets.levels, sets.patients, strict=True)
        if at < level
    )
