"""A whole study again: its own settings, its published figures beside ours, and its flaw measured or mended beside them.

    fundus-classify reproduce A|B|C|D|E --data DATASET

- A (anaemia): its three networks, on patients that were held back; and what its split by image would have shown.
- B (retinopathy on a smartphone): its networks, on patients that were held back; and what its copies before the split showed.
- C (grading): its network and the small one that it wished for, with quality and cost.
- D (transfer learning): its table, from scratch and on 10 to 100 % of the patients, with intervals.
- E (eight diseases): default, classical and synthetic augmentation on normal against diabetes, at equal steps; and its networks on
  all classes.

Each part is an experiment of its own, with its own page; see compare_backbones, compare_augmentations, learning_curve, leakage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from ...data.dataset import FundusDataset
from ...runtime.files import write_json
from ...runtime.report import Report
from ...runtime.runs import RunFolder, default_run_path, latest_run_path
from ..presets import Study, study_named
from .compare_augmentations import compare_augmentations
from .compare_backbones import compare_backbones, weight_files
from .leakage import leakage
from .learning_curve import learning_curve, refuse_random_start

_AUGMENT = {"A": "classical:anemia", "B": "classical:dr"}
_COPIES = {"A": 2, "B": 4}  # of each photograph; A made 12 of an anaemic one and 2 of the others
_ARMS = ["default", "classical:odir", "gan"]
_COMPARED = ["normal", "diabetes"]
_SHORT = 2  # sentences


class Found(Protocol):
    """What every experiment returns."""

    run: RunFolder
    verdict: list[str]

    def table(self) -> pd.DataFrame: ...
    def summary(self) -> dict: ...


@dataclass(frozen=True)
class Settings:
    """What the user may change of a study; None takes the study's own.

    Attributes:
        backbones: instead of the study's.
        target, size, epochs, seeds, batch_size: as in the experiments.
        weights: {backbone: file}.
        pretrained: fetch timm's weights for the other backbones.
        generator_steps: of study E's generators.
        common: where and how trainings run: workers, ray, slurm, seed, device, precision, quiet.
    """

    backbones: Sequence[str] | None
    target: str | None
    size: int | None
    epochs: int
    seeds: int
    batch_size: int
    weights: Mapping[str, str]
    pretrained: bool
    generator_steps: int | None
    common: Mapping[str, object]

    def weights_of(self, backbone: str) -> Path | None:
        """The local file of a backbone, if one was given."""
        return Path(self.weights[backbone]) if backbone in self.weights else None


@dataclass(frozen=True)
class Reproduction:
    """A study that was run again.

    Attributes:
        run: its run folder; each part has a folder in it.
        study: which.
        parts: {what was asked: what was found}.
    """

    run: RunFolder
    study: Study
    parts: dict[str, Found]

    def summary(self) -> dict:
        """Plain values, for --json and summary.json."""
        return {
            "study": self.study.letter,
            "report": str(self.run.path / "report.html"),
            "parts": {title: found.summary() for title, found in self.parts.items()},
        }

    def settings(self) -> dict[str, str]:
        """What was run here, and where that is not what the study did."""
        config, study = self.run.config, self.study
        networks, size, target = config["backbones"], config["size"], config["target"]
        weights = [
            f"{backbone}: {Path(file).name}" for backbone, file in (one.split("=", 1) for one in config["weights"])
        ]
        weights += ["others fetched by timm"] if config["pretrained"] else []
        found = {
            "data": Path(config["data"]).name,
            "networks": _instead(", ".join(networks), ", ".join(study.backbones)),
            "image size": _instead(f"{size} px" if size else "", f"{study.size} px"),
            "target": _instead(target or "", study.target),
            "weights": "; ".join(weights) or "random: none were given",
            "trainings": f"{config['epochs']} passes over the training images, {_counted(config['seeds'], 'seed')}",
        }
        if study.letter == "E":
            steps = config["generator_steps"]
            found["generators"] = (
                f"{_counted(steps, 'step')} each" if steps else "as many steps as fundus-synth train takes"
            )
        return found

    def lines(self) -> list[str]:
        """What the command prints."""
        lines = [f"Study {self.study.letter}: {self.study.title}", self.study.flaw, *self.study.notes, ""]
        lines += [*(f"{name}: {value}" for name, value in self.settings().items()), ""]
        for title, found in self.parts.items():
            tables = [found.table(), *([found.published_table()] if _is_published(found) else [])]
            lines += [title, "", *(f"{table.to_string(index=False)}\n" for table in tables), *found.verdict, ""]
        return [*lines, f"report: {self.run.path / 'report.html'}"]


def reproduce(
    letter: str, dataset: FundusDataset, *, backbones: Sequence[str] | None = None, target: str | None = None,
    size: int | None = None, epochs: int = 10, seeds: int = 3, batch_size: int = 32, weights: Sequence[str] = (),
    pretrained: bool = False, generator_steps: int | None = None, workers: int = 1, ray: str | None = None,
    slurm: str | None = None, seed: int = 0, out: Path | None = None, resume: bool = False, device: str = "auto",
    precision: str = "auto", quiet: bool = False,
) -> Reproduction:  # fmt: skip
    """Run a study's experiments and write report.html and summary.json.

    Args:
        letter: A to E, see `presets.STUDIES`.
        dataset: of the study's kind: A wants haemoglobin or labels of anaemia, B to D grades, E labels.
        backbones, target, size: instead of the study's.
        epochs: passes over the training images in each experiment.
        seeds: trainings of each arm, backbone or split.
        weights: "BACKBONE=FILE" each.
        resume: continue a run that was interrupted; finished trainings are not repeated.

    Raises:
        UserError: no such study, or what its experiments refuse.
        JobError: a training failed.
    """
    study = study_named(letter)
    common = {"workers": workers, "ray": ray, "slurm": slurm, "seed": seed, "device": device, "precision": precision,
              "quiet": quiet}  # fmt: skip
    files = weight_files(weights, backbones or study.backbones)
    settings = Settings(backbones, target, size, epochs, seeds, batch_size, files, pretrained, generator_steps, common)
    if study.letter == "D":
        backbone = _first(study, settings)
        refuse_random_start(settings.weights_of(backbone), pretrained)
    if out is None:
        name = f"study-{study.letter}"
        out = latest_run_path("reproduce", name) if resume else default_run_path("reproduce", name)
    run = RunFolder.open_or_create(out, {
        "command": "fundus-classify reproduce", "study": study.letter, "data": str(dataset.path),
        "fingerprint": dataset.fingerprint, "backbones": list(backbones or ()), "target": target, "size": size,
        "epochs": epochs, "seeds": seeds, "batch_size": batch_size, "weights": list(weights), "pretrained": pretrained,
        "generator_steps": generator_steps, "seed": seed,
    }, resume)  # fmt: skip
    parts = {
        title: experiment(study, dataset, settings, out=run.path / folder, resume=True)
        for title, (folder, experiment) in _EXPERIMENTS[study.letter].items()
    }
    found = Reproduction(run, study, parts)
    _write_report(found)
    return found


def _first(study: Study, settings: Settings) -> str:
    return list(settings.backbones or study.backbones)[0]


def _networks(study: Study, dataset: FundusDataset, settings: Settings, **where) -> Found:
    files = [f"{name}={file}" for name, file in settings.weights.items()]
    return compare_backbones(
        dataset, study=study.letter, backbones=settings.backbones, target=settings.target, size=settings.size,
        epochs=settings.epochs, seeds=settings.seeds, batch_size=settings.batch_size, weights=files,
        pretrained=settings.pretrained, augment=_AUGMENT.get(study.letter, "default"), **settings.common, **where,
    )  # fmt: skip


def _leak(study: Study, dataset: FundusDataset, settings: Settings, **where) -> Found:
    backbone = _first(study, settings)
    return leakage(
        dataset, target=settings.target or study.target, seeds=settings.seeds, copies=_COPIES[study.letter],
        backbone=backbone, size=settings.size or study.size, epochs=settings.epochs, batch_size=settings.batch_size,
        weights=settings.weights_of(backbone), **settings.common, **where,
    )  # fmt: skip


def _curve(study: Study, dataset: FundusDataset, settings: Settings, **where) -> Found:
    backbone = _first(study, settings)
    return learning_curve(
        dataset, target=settings.target or study.target, backbone=backbone, weights=settings.weights_of(backbone),
        pretrained=settings.pretrained, size=settings.size or study.size, epochs=settings.epochs, seeds=settings.seeds,
        frozen_epochs=min(2, settings.epochs - 1), batch_size=settings.batch_size, **settings.common, **where,
    )  # fmt: skip


def _arms(study: Study, dataset: FundusDataset, settings: Settings, **where) -> Found:
    backbone = _first(study, settings)
    return compare_augmentations(
        dataset, arms=_ARMS, classes=_COMPARED, target=settings.target or study.target, backbone=backbone,
        weights=settings.weights_of(backbone), size=settings.size or study.size, epochs=settings.epochs,
        seeds=settings.seeds, batch_size=settings.batch_size, generator_steps=settings.generator_steps,
        **settings.common, **where,
    )  # fmt: skip


_BACKBONES: tuple[str, Callable[..., Found]] = ("backbones", _networks)
_EXPERIMENTS: dict[str, dict[str, tuple[str, Callable[..., Found]]]] = {
    "A": {"Its networks on patients that were held back": _BACKBONES,
          "Its flaw: what the same network seems to reach when it is split by image": ("leakage", _leak)},
    "B": {"Its networks on patients that were held back": _BACKBONES,
          "Its flaw: what the same network seems to reach when copies are made before the split": ("leakage", _leak)},
    "C": {"Its network, and the small one that it wished for: quality and cost": _BACKBONES},
    "D": {"What transfer learning buys": ("learning-curve", _curve)},
    "E": {"Default, classical and synthetic, normal against diabetes, at equal steps": ("augmentations", _arms),
          "Its networks on all classes": _BACKBONES},
}  # fmt: skip


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _instead(ours: str, theirs: str) -> str:
    """What was used, and what of the study it replaces; "" of ours is the study's own."""
    return theirs if ours in ("", theirs) else f"{ours} (instead of {theirs})"


def _is_published(found: Found) -> bool:
    return hasattr(found, "published_table")


def _write_report(found: Reproduction) -> Path:
    study, run = found.study, found.run
    # A long verdict begins with its gist; a short one is the gist.
    gists = (part.verdict if len(part.verdict) <= _SHORT else part.verdict[:1] for part in found.parts.values())
    lead = " ".join(sentence for gist in gists for sentence in gist)
    report = Report(f"Study {study.letter} again: {study.title}", lead)
    report.section("How it was run here").facts(found.settings())
    report.section("What is wrong with the study").points([study.flaw, *study.notes])
    for title, part in found.parts.items():
        report.section(title).table(
            part.table(), "Mean over the seeds, 95 % intervals over held-out patients and seeds."
        )
        if _is_published(part):
            report.table(part.published_table(), "Published figures were measured on other patients.")
        report.points(part.verdict)
        report.link(part.run.path.relative_to(run.path) / "report.html", "The whole page of this experiment")
    write_json(run.path / "summary.json", found.summary())
    return report.write(run.path / "report.html")
