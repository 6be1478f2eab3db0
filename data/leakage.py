"""The audit: what is on both sides of a split, or in two datasets that are meant to be disjoint.

Patients, eyes, copies of photographs, copies with different labels, and synthetic images whose generator was trained on a
patient that is held out.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ..runtime.errors import UserError
from ..runtime.files import read_json, write_text
from .dataset import FundusDataset
from .duplicates import COPIES, SAME_EYE, DuplicateReport, find_duplicates
from .schema import SPLITS, patient_hash, read_csv, validate_table
from .splits import NO_PATIENTS

_SHOWN = 5
_NAMED = 4
_MESSIDOR = {"messidor": 1, "messidor1": 1, "messidor2": 2}
MEANINGS = {
    "patient": "patients on two sides",
    "eye": "eyes on two sides",
    "exact": "photographs on two sides, the same pixels",
    "near": "photographs on two sides, as near copies",
    "sibling": "photographs on two sides, as turned copies",
    "same_eye": "eyes on two sides, photographed twice, under different patient ids or none",
    "labels": "photographs whose copies bear different labels",
    "generator": "held-out patients that a generator of synthetic images was trained on",
    "collection": "collections that contain one another",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of `MEANINGS`.
        what: who or what crosses, in words.
        where: the images or sides concerned.
    """

    kind: str
    what: str
    where: tuple[str, ...]


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        findings: the kinds in the order of `MEANINGS`.
        notes: what the audit could not know.
        duplicates: the search for copies behind it.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    duplicates: DuplicateReport

    @property
    def ok(self) -> bool:
        """True when nothing was found."""
        return not self.findings

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {
            "ok": self.ok,
            "images": len(self.duplicates),
            "findings": dict(Counter(finding.kind for finding in self.findings)),
            "details": [{"kind": f.kind, "what": f.what, "where": list(f.where)} for f in self.findings],
            "notes": list(self.notes),
            "duplicates": self.duplicates.summary(),
        }

    def lines(self) -> list[str]:
        """The same for people: a line a kind, and the first few of each."""
        found = defaultdict(list)
        for finding in self.findings:
            found[finding.kind].append(finding)
        lines = [*self.notes, *self.duplicates.lines()]
        for kind, findings in found.items():
            lines.append(f"{kind}: {len(findings)} {MEANINGS[kind]}")
            lines += [f"  {f.what}: {_shortly(f.where)}" for f in findings[:_SHOWN]]
            if len(findings) > _SHOWN:
                lines.append(f"  and {len(findings) - _SHOWN} more")
        return [*lines, "nothing leaks" if self.ok else f"{len(self.findings)} findings"]

    def write_csv(self, path: Path | str) -> None:
        """Write the findings as a table: kind, what, where (separated by "; ")."""
        stream = io.StringIO()
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("kind", "what", "where"))
        rows.writerows((f.kind, f.what, "; ".join(f.where)) for f in self.findings)
        write_text(Path(path), stream.getvalue())


def audit(datasets: Sequence[FundusDataset], workers: int | None = None, quiet: bool = True) -> AuditReport:
    """Look for whatever makes a result on these datasets too good.

    Two datasets given together are taken to be meant as disjoint: one to learn from, one to test on. Within a dataset
    the sides are train, val and test.

    Raises:
        UserError: no dataset, one folder twice, or an image that cannot be read.
    """
    if not datasets:
        raise UserError("no dataset to audit", hint="Name one or more dataset folders.")
    folders = Counter(dataset.path.resolve() for dataset in datasets)
    for folder in (path for path, times in folders.items() if times > 1):
        raise UserError("is named twice; a dataset always overlaps with itself", path=folder)
    report = find_duplicates(datasets, workers, quiet)
    sides = _Sides(report)
    findings = [
        *_people(sides),
        *_copies(sides),
        *_same_eyes(sides),
        *_label_conflicts(sides),
        *_generators(datasets),
        *_messidor(sides),
    ]
    order = list(MEANINGS)
    findings.sort(key=lambda finding: order.index(finding.kind))
    return AuditReport(tuple(findings), tuple(_notes(datasets)), report)


def open_for_audit(path: Path | str) -> FundusDataset:
    """Open a dataset folder even when patients of it are in two splits, so that the audit can list them all.

    Raises:
        UserError: as in `FundusDataset.open`, but for that.
    """
    path = Path(path)
    if not (path / "metadata.csv").is_file():
        return FundusDataset.open(path)
    table = read_csv(path / "metadata.csv")
    split = table.pop("split").str.strip() if "split" in table else None
    for index in () if split is None else split.index[~split.isin(("", *SPLITS))]:
        raise UserError(f"split is {split[index]!r}; expected {' or '.join(SPLITS)}", path=path / "metadata.csv",
                        row=index + 2)  # fmt: skip
    table = validate_table(table, path / "metadata.csv")
    info = read_json(path / "dataset.json") if (path / "dataset.json").is_file() else {}
    return FundusDataset(path, info, table if split is None else table.assign(split=split))


class _Sides:
    """Which side each image of a search is on: (position of its dataset, its split or "")."""

    def __init__(self, report: DuplicateReport):
        self.report = report
        splits = report.column("split")
        self.of = [(report.where(image)[0], splits[image]) for image in range(len(report))]
        self.patients = report.column("patient_id")

    def cross(self, images: Sequence[int]) -> bool:
        """True when these images are on two sides; images without a split are on none of their dataset's."""
        sets = {self.of[i][0] for i in images}
        return len(sets) > 1 or len({self.of[i][1] for i in images} - {""}) > 1

    def where(self, images: Sequence[int]) -> tuple[str, ...]:
        """The images in words, those of one side together."""
        return tuple(
            f"{self.report.name(i)} ({self.of[i][1]})" if self.of[i][1] else self.report.name(i)
            for i in sorted(images, key=lambda i: (self.of[i], i))
        )


def _people(sides: _Sides) -> Iterator[Finding]:
    eyes = sides.report.column("eye")
    by_patient, by_eye = defaultdict(list), defaultdict(list)
    for image, patient in enumerate(sides.patients):
        if patient:
            by_patient[patient].append(image)
            if eyes[image]:
                by_eye[f"{eyes[image]} eye of {patient}"].append(image)
    for kind, groups in (("patient", by_patient), ("eye", by_eye)):
        for name, images in groups.items():
            if sides.cross(images):
                yield Finding(kind, name, sides.where(images))


def _copies(sides: _Sides) -> Iterator[Finding]:
    """One finding a group, of the closest kind of copies by which it crosses."""
    levels = {kind: sides.report.groups(*COPIES[: i + 1]) for i, kind in enumerate(COPIES)}
    for images in sides.report.copies():
        if not sides.cross(images):
            continue
        kind = next(kind for kind, group in levels.items() if _crosses_within(sides, images, group))
        yield Finding(kind, f"{len(images)} copies of one photograph", sides.where(images))


def _crosses_within(sides: _Sides, images: np.ndarray, group: np.ndarray) -> bool:
    return any(sides.cross(images[group[images] == number]) for number in set(group[images].tolist()))


def _same_eyes(sides: _Sides) -> Iterator[Finding]:
    """Photographs of one eye that neither patient ids nor copies give away."""
    copies = sides.report.groups()
    for pair in sides.report.of_kind(SAME_EYE):
        one, other = sides.patients[pair.a], sides.patients[pair.b]
        if sides.cross((pair.a, pair.b)) and copies[pair.a] != copies[pair.b] and not (one and one == other):
            said = f"{one or 'no patient id'} and {other or 'no patient id'}"
            yield Finding(SAME_EYE, f"one eye under {said}", sides.where((pair.a, pair.b)))


def _label_conflicts(sides: _Sides) -> Iterator[Finding]:
    for images, column, values in sides.report.conflicts():
        yield Finding("labels", f"{column} {' and '.join(values)} of one photograph", sides.where(images))


def _generators(datasets: Sequence[FundusDataset]) -> Iterator[Finding]:
    """Held-out patients (val and test) among those that dataset.json of a generated set names, hashed."""
    for generated in datasets:
        known, known_images = _trained_on(generated)
        if not known and not known_images:
            continue
        for dataset in datasets:
            held_out = dataset.subset(dataset.column("split").isin(("val", "test")).to_numpy())
            seen = defaultdict(list)
            for row, (name, digest) in enumerate(zip(held_out.patient_keys, held_out.image_digests, strict=True)):
                if patient_hash(name) in known or digest in known_images:
                    seen[name].append(f"{held_out.table['file_name'][row]} ({held_out.table['split'][row]})")
            for name, images in seen.items():
                what = f"the generator of {generated.path.name} saw {name} of {dataset.path.name}"
                yield Finding("generator", what, tuple(images))


def _trained_on(generated: FundusDataset) -> tuple[set[str], set[str]]:
    said = (generated.info.get("trained_on_patients"), generated.info.get("trained_on_images"))
    patients, images = (set(map(str, value)) if isinstance(value, list) else set() for value in said)
    return patients, images


def _messidor(sides: _Sides) -> Iterator[Finding]:
    """Messidor-2 was made from 1 058 images of Messidor and new ones (Abramoff et al. 2013, JAMA Ophthalmol. 131:351)."""
    report = sides.report
    version = np.array([_MESSIDOR.get(str(s).lower().replace("-", "").replace(" ", ""), 0)
                        for s in report.column("source")])  # fmt: skip
    first, second = np.flatnonzero(version == 1), np.flatnonzero(version == 2)
    if not len(first) or not len(second):
        return
    stems = _stems(report)
    names = {stems[i] for i in first} & {stems[i] for i in second}
    group = report.groups()
    pictures = set(group[first].tolist()) & set(group[second].tolist())
    what = "Messidor-2 contains 1058 images of Messidor"
    yield Finding(
        "collection", what, (f"{len(names)} file names are in both", f"{len(pictures)} photographs are in both")
    )


def _stems(report: DuplicateReport) -> list[str]:
    """Name of each image's camera file, or of the image, without folders and suffix."""
    names = zip(report.column("camera_file"), report.column("file_name"), strict=True)
    return [PurePosixPath(camera_file or file_name).stem.casefold() for camera_file, file_name in names]


def _notes(datasets: Sequence[FundusDataset]) -> Iterator[str]:
    for dataset in datasets:
        if _is_generated(dataset):
            if not any(_trained_on(dataset)):
                yield f"{dataset.path}: does not say on which patients its generator was trained"
            continue
        if not dataset.patients:
            yield f"{dataset.path}: {NO_PATIENTS.removeprefix('WARNING: ')}"
        if not dataset.has_split:
            unsplit = int((dataset.column("split") == "").sum())
            yield f"{dataset.path}: {unsplit} of {len(dataset)} images are in no split, so nothing of theirs is held out"


def _is_generated(dataset: FundusDataset) -> bool:
    """Made by a generator; phantoms are simulated, from no one."""
    synthetic, maker = dataset.column("synthetic"), dataset.column("generator")
    return bool(((synthetic == "true") & (maker != "phantom")).any())


def _shortly(where: tuple[str, ...]) -> str:
    more = f" and {len(where) - _NAMED} more" if len(where) > _NAMED else ""
    return ", ".join(where[:_NAMED]) + more
