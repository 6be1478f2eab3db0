"""Groups of images whose mean maps are made, and which groups are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...data.schema import is_missing
from ...runtime.errors import UserError

PRESETS = ("class", "outcome", "study-a")
_MOST = 12


@dataclass(frozen=True)
class Pair:
    """Two groups that are compared: names for people, and who belongs to each, bool (n,)."""

    first: str
    second: str
    of_first: np.ndarray
    of_second: np.ndarray


@dataclass(frozen=True)
class Grouping:
    """Groups and comparisons.

    Attributes:
        members: {group: bool (n,)}, none of them empty; they may overlap.
        pairs: what is compared.
    """

    members: dict[str, np.ndarray]
    pairs: tuple[Pair, ...]


def make_groups(
    groups: str, table: pd.DataFrame, labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]
) -> Grouping:
    """The groups that `groups` asks for.

    - "class": the true classes. Of two, the second is compared with the first; of more, each with all others.
    - "outcome": the images of each class that were told right and those that were not, compared with each other. Of two
      classes these are true and false positives and negatives.
    - "study-a": the four groups of study A, of all images instead of six: macula-centred and any centring, by class.
    - anything else: a column of metadata.csv, with at most 12 different values; compared as classes are.

    Args:
        table: of a dataset `with_landmarks`.
        labels, predicted: int (n,), class numbers.

    Raises:
        UserError: a column that is not there or has too many values, or fewer than two groups with images.
    """
    if groups == "class":
        found = _by_value(np.array(classes, dtype=object)[labels], classes)
    elif groups == "outcome":
        found = _outcomes(labels, predicted, classes)
    elif groups == "study-a":
        found = _study_a(table, labels, classes)
    else:
        found = _column(groups, table)
    if len(found.members) < 2:
        only = f"only {', '.join(found.members)}" if found.members else "no image in any group"
        raise UserError(f"--groups {groups}: there is {only}; expected at least two groups with images")
    return found


def _by_value(values: np.ndarray, names: tuple[str, ...], before: str = "") -> Grouping:
    members = {before + name: values == name for name in names if (values == name).any()}
    groups = list(members.items())
    if len(groups) == 2:
        # The second of two classes is the positive one: what it has more than the other.
        (second, of_second), (first, of_first) = groups
        return Grouping(members, (Pair(first, second, of_first, of_second),))
    anyone = np.isin(values, names)
    pairs = (
        [Pair(name, f"{before}the others", there, anyone & ~there) for name, there in groups] if len(groups) > 2 else []
    )
    return Grouping(members, tuple(pairs))


def _outcomes(labels: np.ndarray, predicted: np.ndarray, classes: tuple[str, ...]) -> Grouping:
    right, members, pairs = labels == predicted, {}, []
    for k, name in enumerate(classes):
        words = (f"{name} told right", f"{name} told wrong")
        if len(classes) == 2:
            words = (("true negative", "false positive"), ("true positive", "false negative"))[k]
        pair = Pair(*words, (labels == k) & right, (labels == k) & ~right)
        members |= {pair.first: pair.of_first, pair.second: pair.of_second}
        pairs += [pair] if pair.of_first.any() and pair.of_second.any() else []
    return Grouping({name: there for name, there in members.items() if there.any()}, tuple(pairs))


def _study_a(table: pd.DataFrame, labels: np.ndarray, classes: tuple[str, ...]) -> Grouping:
    names = np.array(classes, dtype=object)[labels]
    centred = _by_value(np.where(table["centred"] == "macula", names, ""), classes, "macula-centred, ")
    everyone = _by_value(names, classes, "any centring, ")
    return Grouping(centred.members | everyone.members, (*centred.pairs, *everyone.pairs))


def _column(name: str, table: pd.DataFrame) -> Grouping:
    if name not in table.columns:
        raise UserError(f"--groups {name} is not known; expected {', '.join(PRESETS)}, or a column of metadata.csv: "
                        f"{', '.join(table.columns)}")  # fmt: skip
    values = np.array([_word(value) for value in table[name]], dtype=object)
    kinds = sorted(set(values) - {""})
    if len(kinds) > _MOST:
        raise UserError(f"--groups {name} has {len(kinds)} different values; expected at most {_MOST}")
    return _by_value(values, tuple(kinds))


def _word(value: object) -> str:
    if is_missing(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
