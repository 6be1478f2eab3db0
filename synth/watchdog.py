"""The watchdog of a training: which state is the best so far, when to go back to it, and when to give up.

It only reads scores and answers; going back is the recorder's work. Its whole memory is a dict of plain values, so that
a resumed training has the watchdog of the unbroken one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

# So many measurements in a row must be clearly worse than the best before the training goes back: one may be chance.
PATIENCE = 3
# Samples with less than this share of the best state's diversity have collapsed.
_COLLAPSE = 0.5
# A discriminator that puts this share of the real images on its side of zero has learnt them by heart.
OVERPOWERING = 0.97
# Interventions without a new best state before the training stops.
MOST_INTERVENTIONS = 3

BEST, FINE, GO_BACK, ADAPT, STOP = "best", "fine", "go back", "adapt", "stop"


@dataclass(frozen=True)
class Verdict:
    """What to do now (BEST, FINE, GO_BACK, ADAPT or STOP), and why, in one line."""

    action: str
    reason: str = ""


@dataclass
class Watchdog:
    """Judges one measurement after another.

    Attributes:
        best: scores of the best state: step, kid, kid_high, diversity; empty before the first.
        last_kid: KID of the measurement before, to even out chance; NaN after going back.
        worse: measurements in a row that were clearly worse than the best.
        overpowered: measurements in a row at which the discriminator knew nearly every real image.
        interventions: how often in a row the training was changed without reaching a new best.
    """

    best: dict = field(default_factory=dict)
    last_kid: float = math.nan
    worse: int = 0
    overpowered: int = 0
    interventions: int = 0

    @property
    def memory(self) -> dict:
        """Everything it remembers, as plain values."""
        return asdict(self)

    @property
    def gave_up(self) -> bool:
        """True when it has stopped the training."""
        return self.interventions > MOST_INTERVENTIONS

    def judge(self, step: int, score: dict[str, float], real_side: float = math.nan) -> Verdict:
        """What to do after a measurement.

        Args:
            step: steps done.
            score: kid, kid_low, kid_high and diversity of the samples against held-out real eyes.
            real_side: share of the real images that the discriminator puts on the real side.
        """
        smooth = score["kid"] if math.isnan(self.last_kid) else (score["kid"] + self.last_kid) / 2
        self.last_kid = score["kid"]
        if self._collapsed(score):
            return self._intervene(
                GO_BACK, f"the samples of step {step} have lost their diversity ({score['diversity']:.2f})"
            )
        if not self.best or smooth < self.best["kid"]:
            self.best = {"step": step, "kid": smooth, "kid_high": score["kid_high"], "diversity": score["diversity"]}
            self.worse = self.overpowered = self.interventions = 0
            return Verdict(BEST)
        self.worse = self.worse + 1 if score["kid_low"] > self.best["kid_high"] else 0
        self.overpowered = self.overpowered + 1 if real_side > OVERPOWERING else 0
        if self.worse >= PATIENCE:
            best = self.best["step"]
            return self._intervene(
                GO_BACK, f"{PATIENCE} measurements up to step {step} are worse than that of step {best}"
            )
        if self.overpowered >= PATIENCE:
            return self._intervene(ADAPT, f"the discriminator knows the real images by heart (step {step})")
        return Verdict(FINE)

    def broke_down(self, step: int) -> Verdict:
        """What to do when a loss is not a number."""
        return self._intervene(GO_BACK, f"a loss of step {step} is not a number")

    def _intervene(self, action: str, reason: str) -> Verdict:
        self.worse = self.overpowered = 0
        self.last_kid = math.nan
        self.interventions += 1
        if self.gave_up:
            return Verdict(STOP, f"{reason}; {MOST_INTERVENTIONS} changes did not help")
        return Verdict(action, reason)

    def _collapsed(self, score: dict[str, float]) -> bool:
        return bool(self.best) and score["diversity"] < _COLLAPSE * self.best["diversity"]
