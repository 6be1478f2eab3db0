"""What to do with a photograph: answer, refer the patient to an expert, or take the photograph again, and why.

Asked in this order; the first that objects decides:

1. Is it a picture of a retina? Below `RETINA`: again.
2. Can it be judged? Below `QUALITY`: again, and refer if it stays so, for a cataract makes a picture hazy as a poor camera does.
3. Is it like those that the classifier learned from? If not (see `familiarity`): refer. Another photograph of the same eye
   with the same camera would be as foreign.
4. Does exactly one answer remain in the conformal set (see `conformal`), and is it the one that the classifier decides for? If
   not: refer. For several labels an image, each must be either possible or excluded, and as decided.

A number such as haemoglobin has no classes: it is told with the interval around it, and 4 asks instead whether the interval
leaves open on which side of a limit that matters, such as that of anaemia, the number is: then refer.

Nothing but numpy is imported, and the arithmetic is what a page can do as well. Comparisons are written so that what is not a
number is never answered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from .conformal import ClassSets
from .familiarity import Familiarity

ANSWER, REFER, RETAKE = ACTIONS = ("answer", "refer", "retake")

QUALITY = 0.2
"""Gradability below which a photograph is to be taken again. Of the EyePACS eyes that EyeQ judged it stops none of 156 good,
2 of 33 usable and 22 of 42 rejected ones; 0.5 would stop 33 of the 42, and 14 of the usable ones. (The score was fitted on half
of these patients.)"""


RETINA = 0.5
"""Probability of a retina below which a photograph is to be taken again. `preprocess.picture_kind` refuses files below 2 %,
because an eye that is refused there is lost; here only another photograph is asked for, and an answer must not be a guess. Most
empty frames that pass there have less than a half, of 250 ODIR-5K eyes one."""


@dataclass(frozen=True)
class Rules:
    """All that an answer follows from, beside what the network says of one photograph.

    Attributes:
        classes: names, in the order of the probabilities.
        sets: of one class an image; None for other targets.
        present, absent: of several labels an image, on the probability and on 1 - probability; None for other targets.
        half_width: of a number, in its units; None for other targets.
        limits: of a number, where its meaning changes, in its units: a number equal to a limit is above it.
        level: coverage asked for, 0..1.
        attained: the least coverage that is guaranteed of any class, 0..1.
        multipliers, cuts, thresholds, temperature: how the classifier decides, see `classify.decision`.
        familiarity: None where the network has no features.
        quality: least gradability, 0..1.
        retina: least probability of showing a retina, 0..1.
        notes: what the reader must know of these rules, whole sentences.
    """

    classes: tuple[str, ...]
    sets: ClassSets | None = None
    present: ClassSets | None = None
    absent: ClassSets | None = None
    half_width: float | None = None
    limits: tuple[float, ...] = ()
    level: float = 0.9
    attained: float = 0.9
    multipliers: tuple[float, ...] | None = None
    cuts: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    temperature: float = 1.0
    familiarity: Familiarity | None = None
    quality: float = QUALITY
    retina: float = RETINA
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        facts = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in _NESTED}
        facts |= {name: None if getattr(self, name) is None else _plain(asdict(getattr(self, name))) for name in _SETS}
        facts["familiarity"] = self.familiarity and self.familiarity.to_dict()
        return _plain(facts)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Rules:
        """Back from `to_dict`.

        Raises:
            ValueError: incomplete or damaged; says what.
        """
        facts = {"limits": [], **facts} if isinstance(facts, dict) else facts  # the first files had none
        try:
            plain = {name: _tuple(facts[name]) for name in cls.__dataclass_fields__ if name not in _NESTED}
            sets = {name: facts[name] and ClassSets(**{k: _tuple(v) for k, v in facts[name].items()}) for name in _SETS}
            known = facts["familiarity"] and Familiarity.from_dict(facts["familiarity"])
            rules = cls(**plain, **sets, familiarity=known)
            _check(rules)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"rules that are incomplete or damaged ({error})") from error
        return rules


_SETS = ("sets", "present", "absent")
_NESTED = (*_SETS, "familiarity")


@dataclass(frozen=True)
class Answer:
    """What to do with one photograph.

    Attributes:
        action: one of `ACTIONS`.
        label: what the classifier decides for, whatever the action; of several labels those present, with semicolons between;
            a number with one decimal.
        set: the answers that are possible; of several labels those that cannot be excluded; of a number its ends.
        reason: one sentence for who took the photograph.
        unfamiliarity: distance over its limit, above 1 is unfamiliar; nan where the network has no features.
    """

    action: str
    label: str
    set: tuple[str, ...]
    reason: str
    unfamiliarity: float


def give_answer(
    rules: Rules, probabilities: np.ndarray, features: np.ndarray | None, quality: float, quality_reason: str, retina: float
) -> Answer:  # fmt: skip
    """Decide what to do with one photograph.

    Args:
        probabilities: calibrated, float (k,); of a number the number, (1,).
        features: float (d,), see `features.features_of`; None where the rules have no familiarity.
        quality, quality_reason: of `preprocess.quality`.
        retina: of `preprocess.picture_kind`.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    far = (
        math.nan if rules.familiarity is None else float(rules.familiarity.unfamiliarity(np.asarray(features)[None])[0])
    )
    label, possible, doubt = _judged(rules, values)
    if not retina >= rules.retina:
        action, reason = RETAKE, "The picture does not seem to show a retina: take the photograph again."
    elif not quality >= rules.quality:
        action, reason = RETAKE, f"{_fault(quality_reason)}: take it again, and refer to an expert if it stays so."
    elif rules.familiarity is not None and not far <= 1:
        action, reason = REFER, "The photograph is unlike those that the model learned from: refer to an expert."
    elif doubt:
        action, reason = REFER, f"{doubt}: refer to an expert."
    else:
        action, reason = ANSWER, _told(rules, label, possible)
    return Answer(action, label, possible, reason, far)


def _judged(rules: Rules, values: np.ndarray) -> tuple[str, tuple[str, ...], str]:
    """Label, set, and what speaks against answering ("" for nothing)."""
    if rules.sets is not None:
        return _one_class(rules, values)
    if rules.present is not None:
        return _several_labels(rules, values)
    value, half = float(values[0]), rules.half_width
    within = [f"{limit:.1f}" for limit in rules.limits if value - half < limit <= value + half]
    doubt = f"It cannot be told on which side of {' and '.join(within)} the value lies" if within else ""
    doubt = doubt if math.isfinite(value) else "How far the number is off is not known"
    return f"{value:.1f}", (f"{value - half:.1f}", f"{value + half:.1f}"), doubt


def _one_class(rules: Rules, values: np.ndarray) -> tuple[str, tuple[str, ...], str]:
    label = rules.classes[_decided(rules, values)]
    possible = _named(rules.classes, rules.sets.members(values))
    if not possible:
        return label, possible, "No answer is likely enough"
    if len(possible) > 1:
        return label, possible, f"More than one answer is possible ({', '.join(possible)})"
    differ = f"The likeliest answer ({label}) is not the only possible one ({possible[0]})"
    return label, possible, "" if possible == (label,) else differ


def _decided(rules: Rules, values: np.ndarray) -> int:
    """As `classify.decision.Decision.decide`."""
    if rules.cuts is not None:
        # The head "regression" gives neighbours a and b the odds exp((value - (a + b) / 2) / temperature). The likeliest pair
        # is taken: far from the value the probabilities vanish.
        low = int(np.argmax(values[:-1] * values[1:]))
        if not values[low] * values[low + 1] > 0:  # so near one grade that no other has a probability
            return int(np.argmax(values))
        value = low + 0.5 + rules.temperature * float(np.log(values[low + 1]) - np.log(values[low]))
        return int(sum(value >= cut for cut in rules.cuts))
    return int(np.argmax(values if rules.multipliers is None else values * np.asarray(rules.multipliers)))


def _several_labels(rules: Rules, values: np.ndarray) -> tuple[str, tuple[str, ...], str]:
    there, not_there = rules.present.members(values), rules.absent.members(1 - values)
    decided = values >= np.asarray(rules.thresholds)
    sure = (there != not_there) & (there == decided)
    label = "; ".join(_named(rules.classes, decided))
    unsure = ", ".join(_named(rules.classes, ~sure))
    return label, _named(rules.classes, there), f"It cannot be told whether there is {unsure}" if unsure else ""


def _told(rules: Rules, label: str, possible: Sequence[str]) -> str:
    share = f"{math.floor(100 * rules.attained + 1e-9)} %"
    if rules.sets is not None:
        return (
            f"The only possible answer is {label}, by a rule that keeps the right one for at least {share} of patients."
        )
    if rules.present is not None:
        return f"Every finding is told for sure ({label or 'none of them'}), each for at least {share} of patients."
    return f"The value is {label}, and for at least {share} of patients the true one lies in {' to '.join(possible)}."


def _fault(reason: str) -> str:
    """ "too dark" -> "The photograph is too dark"; a sentence stays one."""
    if not reason:
        return "The photograph is not clear enough"
    return reason[0].upper() + reason[1:] if " is " in reason else f"The photograph is {reason}"


def _named(classes: Sequence[str], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, taken in zip(classes, chosen, strict=True) if taken)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value


def _check_types(rules: Rules) -> None:
    for name in ("classes", "notes"):
        words = getattr(rules, name)
        if not isinstance(words, tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"rules whose {name} are not texts")
    tuples = {name: getattr(rules, name) for name in ("multipliers", "thresholds", "cuts", "limits")}
    for name in filter(partial(getattr, rules), _SETS):
        tuples |= {f"{name}: {part}": values for part, values in vars(getattr(rules, name)).items()}
    plain = {name: (getattr(rules, name),) for name in ("quality", "retina", "level", "attained", "temperature")}
    plain["half_width"] = None if rules.half_width is None else (rules.half_width,)
    for name, values in (tuples | plain).items():
        if values is not None and not (isinstance(values, tuple) and all(map(_is_number, values))):
            raise ValueError(f"rules in which {name} is no finite number")
    if not rules.temperature > 0:
        raise ValueError("rules with a temperature that is not above 0")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check(rules: Rules) -> None:
    _check_types(rules)
    classes = len(rules.classes)
    wanted = {"multipliers": classes, "thresholds": classes, "cuts": classes - 1}
    for name, number in wanted.items():
        if getattr(rules, name) is not None and len(getattr(rules, name)) != number:
            raise ValueError(f"rules with {len(getattr(rules, name))} {name} for {classes} classes")
    for name in _SETS:
        sets = getattr(rules, name)
        if sets is not None and {len(part) for part in (sets.least, sets.levels, sets.patients)} != {classes}:
            raise ValueError(f"rules whose {name} are not about {classes} classes")
    ways = (
        rules.sets is not None,
        rules.present is not None and rules.absent is not None,
        rules.half_width is not None,
    )
    if sum(ways) != 1 or (rules.present is not None and rules.thresholds is None):
        raise ValueError("rules that give neither sets of classes, nor of labels, nor an interval, or several of them")
