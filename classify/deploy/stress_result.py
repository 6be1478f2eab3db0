"""From the units of a stress test to falls with intervals, and to sentences that claim no more than these allow.

How far the AUC falls is asked of each damage from its worst severity downwards, and no further than the first that shows
nothing (a fixed sequence: Maurer, Hothorn and Lehmacher 1995); the p-values are multiplied by the number of damages
(Bonferroni). So no more than 5 % of stress tests claim a fall that is none. Whether more pictures are answered wrongly is asked
of all units at once, corrected by Holm's method: there the worst pictures need not be the most misleading ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from ..evidence import HARMS, HELPS, Difference, Interval, SeedPredictions, claim, holm, interval, paired_difference
from ..predictions import decided_predictions, seed_predictions
from .answer import ANSWER, REFER, RETAKE
from .attacks import ATTACKS, EPSILONS
from .damages import DAMAGES
from .stress_units import NONE

COSTLY = 0.05
"""Of AUC: of the falls that there is evidence of (tested against 0), those found to be larger are named."""
AUC = "macro_auroc"
_RESAMPLES = 2000
_RESAMPLES_OF_SHARES = 10_000  # cheap, and Holm's smallest p-value must be reached with 75 units


@dataclass(frozen=True)
class UnitResult:
    """One damage at one severity. Shares are of all test pictures.

    Attributes:
        kind, severity: as in `stress_units`.
        level: of the damage, in its unit, e.g. "0.035 share of D".
        auc, accuracy: of all pictures; the accuracy is that of the classifier's decisions.
        coverage: share of pictures whose true class is in the conformal set.
        set_size: mean number of classes in it.
        answered, referred, retaken: shares of the actions.
        wrong: share of pictures that were answered, and wrongly.
        auc_change, accuracy_change, coverage_change, wrong_change: against the undamaged pictures; None for these themselves.
        auc_p, wrong_p: of the changes, corrected for there being several, see above.
    """

    kind: str
    severity: int
    level: str
    auc: Interval
    accuracy: Interval
    coverage: Interval
    set_size: float
    answered: Interval
    referred: Interval
    retaken: Interval
    wrong: Interval
    auc_change: Difference | None = None
    accuracy_change: Difference | None = None
    coverage_change: Difference | None = None
    wrong_change: Difference | None = None
    auc_p: float = float("nan")
    wrong_p: float = float("nan")

    @property
    def wrong_of_answered(self) -> float:
        """Share of the answered pictures that were answered wrongly; nan where none was answered."""
        return self.wrong.estimate / self.answered.estimate if self.answered.estimate else float("nan")

    @property
    def lowers_auc(self) -> bool:
        """Whether there is evidence of it."""
        return claim(self.auc_change, self.auc_p) == HARMS

    @property
    def costs(self) -> bool:
        """Whether there is evidence of a fall, and the fall found is more than `COSTLY`."""
        return self.lowers_auc and self.auc_change.estimate < -COSTLY

    @property
    def misleads(self) -> bool:
        """Whether there is evidence that more pictures are answered wrongly."""
        return claim(self.wrong_change, self.wrong_p) == HELPS


@dataclass(frozen=True)
class StressResult:
    """What a stress test found.

    Attributes:
        facts: classifier, dataset, images, patients.
        undamaged: the pictures as they are.
        units: in the order they were asked for.
        verdicts: one sentence a kind, the worst first, then about wrong answers.
    """

    facts: dict
    undamaged: UnitResult
    units: tuple[UnitResult, ...]
    verdicts: tuple[str, ...]

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "kind": "fundus-synth stress",
            **self.facts,
            "verdicts": list(self.verdicts),
            "undamaged": asdict(self.undamaged),
            "units": [asdict(unit) for unit in self.units],
        }

    def of_kind(self, kind: str) -> list[UnitResult]:
        """Its units, the mildest first."""
        return sorted((unit for unit in self.units if unit.kind == kind), key=lambda unit: unit.severity)

    @property
    def kinds(self) -> list[str]:
        """In the order they were asked for."""
        return list(dict.fromkeys(unit.kind for unit in self.units))


def stress_result(
    tables: Mapping[tuple[str, int], pd.DataFrame], classes: tuple[str, ...], facts: Mapping[str, object]
) -> StressResult:
    """Metrics, changes against the undamaged pictures with patients resampled, and verdicts.

    Args:
        tables: {(kind, severity): table of `stress_units.unit_table`}, (NONE, 0) among them.
        facts: what the result says of classifier and data.
    """
    plain = tables[NONE, 0]
    undamaged = _unit(NONE, 0, plain, classes)
    units = [_unit(*unit, table, classes, plain) for unit, table in tables.items() if unit != (NONE, 0)]
    wrong = holm([unit.wrong_change.p for unit in units])
    units = [
        replace(unit, auc_p=p, wrong_p=float(w)) for unit, p, w in zip(units, _in_sequence(units), wrong, strict=True)
    ]
    facts = {**facts, "images": len(plain), "patients": int(plain["patient_id"].nunique())}
    result = StressResult(facts, undamaged, tuple(units), ())
    return StressResult(facts, undamaged, tuple(units), tuple(_verdicts(result)))


def _in_sequence(units: Sequence[UnitResult]) -> list[float]:
    """p-values of the AUC's changes: the largest of the severity and all worse ones, times the number of damages."""
    kinds = len({unit.kind for unit in units})
    worse = [[o.auc_change.p for o in units if o.kind == u.kind and o.severity >= u.severity] for u in units]
    # A comparison that could not be made is no evidence, of what is milder either.
    return [1.0 if np.isnan(p_values).any() else min(1.0, kinds * max(p_values)) for p_values in worse]


def level_of(kind: str, severity: int) -> str:
    """What a severity means, e.g. "0.035 share of D"."""
    if kind in ATTACKS:
        return f"{EPSILONS[severity - 1]}/255"
    if kind == NONE:
        return ""
    return f"{DAMAGES[kind].levels[severity - 1]:g} {DAMAGES[kind].unit}"


def _unit(
    kind: str, severity: int, table: pd.DataFrame, classes: tuple[str, ...], plain: pd.DataFrame | None = None
) -> UnitResult:
    ours, shares = _metrics(table, classes), _shares(table)
    found = {name: interval([run], metric, resamples=_RESAMPLES) for name, (run, metric) in (ours | shares).items()}
    changes = {}
    if plain is not None:
        before = _metrics(plain, classes) | _shares(plain)
        for name in ("auc", "accuracy", "coverage", "wrong"):
            run, metric = (ours | shares)[name]
            resamples = _RESAMPLES if name in ours else _RESAMPLES_OF_SHARES
            changes[f"{name}_change"] = paired_difference([run], [before[name][0]], metric, resamples=resamples)
    size = table["set"].map(lambda text: len(text.split("; ")) if text else 0).mean()
    return UnitResult(kind, severity, level_of(kind, severity), set_size=float(size), **found, **changes)


def _metrics(table: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, tuple[SeedPredictions, str]]:
    return {
        "auc": (seed_predictions(table, classes), AUC),
        "accuracy": (decided_predictions(table, classes), "accuracy"),
    }


def _shares(table: pd.DataFrame) -> dict[str, tuple[SeedPredictions, str]]:
    answered = table["action"] == ANSWER
    covered = [true in text.split("; ") for true, text in zip(table["true"], table["set"], strict=True)]
    flags = {
        "coverage": np.array(covered),
        "answered": answered,
        "referred": table["action"] == REFER,
        "retaken": table["action"] == RETAKE,
        "wrong": answered & (table["said"] != table["true"]),
    }
    return {name: (_share(flag, table["patient_id"]), "accuracy") for name, flag in flags.items()}


def _share(flag: Sequence[bool], patients: pd.Series) -> SeedPredictions:
    """A share as an accuracy: every picture is of class 1, and those with the flag are told so."""
    told = np.eye(2)[np.asarray(flag, dtype=int)]
    return SeedPredictions(np.ones(len(told), dtype=int), told, patients.to_numpy(dtype=str))


def _verdicts(result: StressResult) -> list[str]:
    by_kind = {kind: result.of_kind(kind) for kind in result.kinds}
    worst = sorted(by_kind, key=lambda kind: min(map(_auc_change, by_kind[kind])))
    return [*(_auc_verdict(kind, by_kind[kind]) for kind in worst), _wrong_verdict(result, by_kind)]


def _auc_verdict(kind: str, units: list[UnitResult]) -> str:
    costly = _from_where([unit.costs for unit in units])
    if costly is not None:
        first, last = units[costly], units[-1]
        more = f", at {last.severity} {_change(last.auc_change)}" if last is not first else ""
        return (f"{kind}: evidence that the AUC falls; from severity {first.severity} ({first.level}) on the fall found is more "
                f"than {COSTLY}: {_change(first.auc_change)}{more}; corrected p of a fall {first.auc_p:.3f}.")  # fmt: skip
    lower = [unit for unit in units if unit.lowers_auc]
    least = min(lower or units, key=_auc_change)
    if np.isnan(least.auc_change.low):
        return f"{kind}: the AUC of so few pictures cannot be compared."
    told = f"severity {least.severity}: {_change(least.auc_change)}; corrected p {least.auc_p:.3f}"
    if lower:
        where = f"severity {_listed([u.severity for u in lower])}, most at " if len(lower) > 1 else ""
        return f"{kind}: evidence that it lowers the AUC at {where}{told}."
    return f"{kind}: no evidence that it lowers the AUC; the largest change at {told}."


def _wrong_verdict(result: StressResult, by_kind: Mapping[str, list[UnitResult]]) -> str:
    before = result.undamaged
    shares = _percent(before.answered.estimate), _percent(before.wrong.estimate)
    told = "Of all undamaged pictures {} were answered, {} wrongly".format(*shares)
    misled = {kind: [unit for unit in units if unit.misleads] for kind, units in by_kind.items()}
    parts = [
        f"{kind} (severity {max(units, key=lambda unit: unit.wrong.estimate).severity}: "
        f"{_percent(max(unit.wrong.estimate for unit in units))})"
        for kind, units in misled.items()
        if units
    ]
    if not parts:
        return f"{told}; no evidence that any damage makes that share larger."
    return f"{told}; that share grew under {_listed(parts)}."


def _auc_change(unit: UnitResult) -> float:
    """Of which the least is the worst; what is not known is none of the worst."""
    change = unit.auc_change
    return np.inf if np.isnan(change.low) else change.estimate


def _from_where(flags: Sequence[bool]) -> int | None:
    """The first place from which on all are true."""
    false = [place for place, flag in enumerate(flags) if not flag]
    start = false[-1] + 1 if false else 0
    return start if start < len(flags) else None


def _change(change: Difference) -> str:
    return f"{change.estimate:+.3f} (95 % interval {change.low:+.3f} to {change.high:+.3f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _listed(parts: Sequence[object]) -> str:
    told = [str(part) for part in parts]
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
