"""What a privacy audit found, the verdict, and the files that say so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ...data.dataset import FundusDataset
from ...runtime.files import write_json
from ...version import __version__
from ..distance_intervals import Estimate
from .limits import FALSE_ALARMS, FEWEST_EYES, Limits
from .membership import Membership
from .nearest import MEASURES
from .sides import Sides

FORMAT = "fundus-synth audit 1"
AUDIT = "audit.json"
PAGE = "audit.html"
PHOTOGRAPHS = (
    "This page shows real photographs of patients: it is for those who may see the training data, never for publishing."
)
PASS, FAIL = "pass", "fail"
TELLING = 0.6
"""A membership AUC whose whole interval is above this fails the audit. A convention: 0.5 gives nothing away."""


@dataclass(frozen=True)
class Picture:
    """What was found for one synthetic image.

    Attributes:
        copy: whether it is too near to a training eye.
        nearest: number of the training eye in `Sides.training`; SHA-256 of its file in audit.json.
        distance: in units of the limit: 0 is the same picture, below 1 is too near; without held-out eyes, of the distance
            that is usual between eyes.
        why: for people.
    """

    copy: bool
    nearest: int
    distance: float
    why: str


@dataclass(frozen=True)
class PrivacyAudit:
    """Everything that an audit found.

    Attributes:
        synthetic, against: the datasets.
        sides: training and held-out eyes.
        size: pixels at which all were compared.
        features: name of the feature space.
        pictures: one for each synthetic image.
        outright: synthetic images that are outright copies.
        copies: share of the synthetic images that are copies.
        limits, alarms: of held-out eyes; None with too few.
        memberships: by score; empty with too few eyes.
        nearest_strangers: for each held-out eye its number in `sides.held_out`, the number of its nearest training eye, and
            the distance in units of the limit; the nearest first.
        command: what makes this again.
    """

    synthetic: FundusDataset
    against: FundusDataset
    sides: Sides
    size: int
    features: str
    pictures: list[Picture]
    outright: int
    copies: Estimate
    limits: Limits | None
    alarms: Estimate | None
    memberships: dict[str, Membership]
    nearest_strangers: list[tuple[int, int, float]]
    command: list[str]

    @property
    def verdict(self) -> tuple[str, str]:
        """ "pass" or "fail", and why. Without enough held-out eyes there is nothing to pass."""
        found = f"{sum(one.copy for one in self.pictures)} of {len(self.pictures)} images are copies"
        if self.limits is None:
            return FAIL, (f"no verdict: {len(self.sides.held_out)} eyes of held-out patients, expected at least "
                          f"{FEWEST_EYES}, and without them near has no meaning; {self.outright} outright copies")  # fmt: skip
        if self.sides.missing:
            return (
                FAIL,
                f"{self.sides.missing} images of the training are not in {self.against.name}; {found} of the others",
            )
        chance = max(FALSE_ALARMS, self.limits.bound)
        if self.copies.low > chance:
            return FAIL, f"{found} of training eyes, more than the {100 * chance:.1f} % that chance explains"
        for name, one in self.memberships.items():
            if name in MEASURES and one.tells(TELLING):
                return FAIL, f"by {name}, who was in the training can be told with an AUC of {one.auc}; {found}"
        return PASS, f"{found} of training eyes, not more than chance explains"

    def summary(self) -> dict:
        """audit.json without the single images."""
        verdict, reason = self.verdict
        real = self.against
        return {
            "format": FORMAT, "fingerprint": self.synthetic.fingerprint,
            "against": {"name": real.name, "fingerprint": real.fingerprint, "images": len(real), "patients": len(real.patients)},
            "command": self.command, "toolkit": f"fundus-synth {__version__}", "verdict": verdict, "reason": reason,
            "figures": self.figures(), "notes": self.sides.notes,
        }  # fmt: skip

    def figures(self) -> dict:
        """All figures, rounded."""
        limits = self.limits and dict(zip(MEASURES, self.limits.values.round(4).tolist(), strict=True))
        return {
            "images": len(self.pictures), "size": self.size, "features": self.features,
            "copies": sum(one.copy for one in self.pictures), "outright_copies": self.outright,
            "share_of_copies": _rounded(self.copies),
            "training_eyes": len(self.sides.training), "training_eyes_missing": self.sides.missing,
            "held_out_eyes": len(self.sides.held_out), "limits": limits,
            "false_alarms_at_most": self.limits and round(self.limits.bound, 5),
            "false_alarms_measured": self.alarms and _rounded(self.alarms),
            "membership": {
                name: {"auc": _rounded(one.auc), "control": _rounded(one.control), "members": one.members,
                       "held_out": one.held_out}
                for name, one in self.memberships.items()
            },
        }  # fmt: skip

    @property
    def passed(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.verdict[0] == PASS

    def lines(self, pictures: bool = True) -> list[str]:
        """The result for people; arguments as in `write`."""
        verdict, reason = self.verdict
        lines = [*self.sides.notes, f"share of copies {self.copies}, of them outright {self.outright}"]
        if self.alarms is not None:
            lines.append(f"of {len(self.sides.held_out)} held-out eyes as near: {self.alarms}")
        for name, one in self.memberships.items():
            doubt = "" if one.control_holds else "; the control is off, so do not trust it"
            lines.append(f"membership by {name}: AUC {one.auc}, control {one.control}{doubt}")
        warning = f". {PHOTOGRAPHS}" if pictures else ""
        return [*lines, f"{verdict}: {reason}", f"report: {self.synthetic.path / PAGE}{warning}"]

    def write(self, pictures: bool = True) -> tuple[Path, Path]:
        """Write audit.json and audit.html into the synthetic dataset's folder; returns their paths.

        Args:
            pictures: whether the page shows the nearest pairs, which are real photographs.
        """
        from .audit_report import write_page

        digests, names = self.sides.training.image_digests, self.synthetic.column("file_name")
        images = {
            name: {**asdict(one), "nearest": digests[one.nearest]}
            for name, one in zip(names, self.pictures, strict=True)
        }
        path = self.synthetic.path / AUDIT
        write_json(path, {**self.summary(), "images": images})
        return path, write_page(self, self.synthetic.path / PAGE, pictures)


def _rounded(value: Estimate) -> dict[str, float]:
    return {name: round(number, 5) for name, number in asdict(value).items()}
