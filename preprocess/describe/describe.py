"""Describe a dataset folder in one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...data.dataset import FundusDataset
from ...runtime.errors import UserError, counts
from ...runtime.report import Report
from .collect import Description, collect
from .copies import search_copies
from .findings import Finding, find
from .sections import write_sections

_OURS = b"fundus-synth"
_MOST = 5


@dataclass(frozen=True)
class DescribeResult:
    """A description and its page.

    Attributes:
        page: the HTML file.
        description: everything that was computed.
        findings: what stands out, the weightiest first.
    """

    page: Path
    description: Description
    findings: list[Finding]

    def summary(self) -> dict:
        """Plain numbers, for --json."""
        d = self.description
        return {
            "dataset": str(d.dataset.path),
            "page": str(self.page),
            "images": len(d.dataset),
            "patients": len(d.dataset.patients),
            "classes": dict(zip(d.class_table["class"], d.class_table["images"].tolist(), strict=True)),
            "patients_of_class": dict(zip(d.class_table["class"], d.class_table["patients"].tolist(), strict=True)),
            "missing": {c: round(d.missing_share(c), 4) for c in d.dataset.table.columns if d.missing_share(c)},
            "goes_with_class": {f.name: {"v": a.v, "low": a.low, "high": a.high, "images": a.rows}
                                for f in d.factors if (a := f.association)},
            "duplicate_groups": len(d.duplicates),
            "same_eye_other_patient": len(d.strangers),
            "rejected": len(d.left_out["rejected"]),
            "ignored": len(d.left_out["ignored"]),
            "unreadable": len(d.pictures.unreadable),
            "findings": [finding.text for finding in self.findings],
        }  # fmt: skip

    def lines(self) -> list[str]:
        """The same for people: what there is, the weightiest findings, and where the page lies."""
        d = self.description
        found = dict(zip(d.class_table["class"], d.class_table["images"].tolist(), strict=True))
        patients = f"{len(d.dataset.patients)} patients" if d.dataset.patients else "no patients named"
        lines = [f"{d.dataset.path}: {len(d.dataset)} images, {patients}: {counts(found)}"]
        lines += [f"- {finding.text}" for finding in self.findings[:_MOST]]
        more = len(self.findings) - _MOST
        return [*lines, f"{self.page}" + (f" ({more} more points there)" if more > 0 else "")]


def describe(
    dataset: FundusDataset, out: Path | str, *, images_per_class: int = 500, seed: int = 0, workers: int | None = None,
    quiet: bool = False,
) -> DescribeResult:  # fmt: skip
    """Write a page about a dataset: what it holds, how it looks, and what in it may mislead.

    Args:
        out: the HTML file to write; an older page of ours there is replaced.
        images_per_class: how many images of a class are decoded at most, for light, means and samples.
        seed: draws them.
        workers: processes that search for copies; None = one a core.

    Raises:
        UserError: the dataset is empty, or `out` is a folder or a file that is not such a page.
        JobError: a worker was killed.
    """
    out = Path(out)
    if not len(dataset):
        raise UserError("has no images; expected at least one", path=dataset.path)
    if out.is_dir():
        raise UserError("is a folder; expected the name of the HTML file to write", path=out)
    if out.exists() and _OURS not in out.read_bytes():
        raise UserError("already exists and is not a page of this command", path=out, hint="Name another file.")
    description = collect(dataset, search_copies(dataset, workers, quiet), seed, images_per_class, quiet)
    findings = find(description)
    report = Report(f"Dataset: {dataset.name}", _lead(description))
    write_sections(report, description, findings)
    return DescribeResult(report.write(out), description, findings)


def _lead(d: Description) -> str:
    patients = f"of {len(d.dataset.patients)} patients" if d.dataset.patients else "without named patients"
    classes = (
        f"{len(d.classes.names)} classes" if len(d.classes.names) > 1 else ", ".join(d.classes.names) or "no labels"
    )
    made = d.dataset.column("synthetic") == "true"
    warning = " All are synthetic: no eye here is real." if made.all() else " Some are synthetic." if made.any() else ""
    return f"{len(d.dataset)} images {patients}, {classes}.{warning}"
