"""What is known of a trained classifier: gathered from its run folder, its dataset, and the tests that lie beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.dataset import FundusDataset
from ...data.schema import SPLITS
from ...data.targets import HEMOGLOBIN, MULTILABEL
from ...data.wider_targets import target_of
from ...runtime.errors import UserError
from ...runtime.files import read_json
from ...runtime.runs import RunFolder
from ..backbones import Classifier
from ..checkpoint import About, load_classifier, weights_hash
from ..decision import Decision, load_decision
from ..explain.faithfulness import read_faithfulness
from ..predictions import read_predictions
from ..trained_on import named_dataset, rows_of_split
from .stress import OPTIONS
from .subgroups import COLUMNS, Subgroup, age_band, subgroups

NOT_REPORTED = "not reported"


@dataclass(frozen=True)
class CardFacts:
    """A run as a card sees it.

    Attributes:
        run: the folder.
        model, about, decision: the classifier.
        config: of the training.
        environment: environment.json; {} without one.
        metrics: {split: {metric: {"estimate", "low", "high"}}}, of metrics.json.
        dataset: that it was trained on; None where it is no longer there.
        file: what an exported model file says of itself; {} for a card of the run alone.
    """

    run: Path
    model: Classifier
    about: About
    decision: Decision
    config: dict
    environment: dict
    metrics: dict
    dataset: FundusDataset | None
    file: dict

    @classmethod
    def gather(cls, run: Path | str, file: dict | None = None, dataset: FundusDataset | None = None) -> CardFacts:
        """Read everything.

        Args:
            dataset: what it was trained on; by default what its config.yaml names, where that is still there.

        Raises:
            UserError: no run folder with a classifier, or a damaged file in it.
        """
        run = Path(run)
        model, about = load_classifier(run)
        config, metrics, decision = RunFolder(run).config, ended_metrics(run), load_decision(run, about)
        environment = read_json(run / "environment.json") if (run / "environment.json").is_file() else {}
        dataset = dataset or named_dataset(run)
        return cls(run, model, about, decision, config, environment, metrics, dataset, file or {})

    @property
    def one_class(self) -> bool:
        """Whether it tells one class of several."""
        return self.about.target not in (MULTILABEL, HEMOGLOBIN)

    @cached_property
    def nameless(self) -> float:
        """Share of the run's images whose patient the dataset does not name, 0..1: each counts as a patient of its own."""
        if self.dataset is not None:
            rows = np.concatenate(list(self.rows_of.values()))
            return float((self.dataset.column("patient_id").to_numpy()[rows] == "").mean()) if len(rows) else 0.0
        path = self.run / "predictions.csv"
        if not path.is_file():
            return 0.0
        try:
            told = pd.read_csv(path, usecols=["patient_id"], dtype=str, keep_default_na=False)["patient_id"]
        except (OSError, ValueError) as error:
            raise UserError(f"cannot be read ({error})", path=path) from error
        return float(told.str.startswith("image ").mean()) if len(told) else 0.0

    @property
    def people(self) -> str:
        """What the splits hold: "patients", or "photographs" where the dataset names no patients."""
        return "photographs" if self.nameless == 1 else "patients"

    def said(self, name: str) -> str:
        """An entry of the dataset's dataset.json, or "not reported"."""
        value = self.dataset.info.get(name) if self.dataset is not None else None
        return str(value) if value not in (None, "") else NOT_REPORTED

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """{split: rows of the dataset that the run used so}; {} without a dataset."""
        if self.dataset is None:
            return {}
        return {split: rows_of_split(self.dataset, self.about, split) for split in SPLITS}

    def patients_table(self) -> pd.DataFrame:
        """One row a split: patients (see `people`), and, where the dataset is there, images and images of each class."""
        rows = [{"split": split, self.people: len(self.about.patients.get(split, []))} for split in SPLITS]
        for row in rows if self.dataset is not None else ():
            part = self.dataset.subset(self.rows_of[row["split"]])
            row["images"] = len(part)
            row |= target_of(self.about.target, self.about.classes).counts(part)
        return pd.DataFrame(rows)

    def people_table(self) -> pd.DataFrame:
        """One row a split: sex, median age with quartiles, cameras of its patients' images; "not reported" where missing."""
        rows = []
        for split, chosen in self.rows_of.items():
            part = self.dataset.subset(chosen)
            sexes, ages = part.column("sex"), part.column("age_years").astype(float).dropna()
            known = sexes[sexes != ""]
            quartiles = [f"{value:g}" for value in np.percentile(ages, [50, 25, 75])] if len(ages) else []
            rows.append({
                "split": split,
                "images of women": f"{100 * (known == 'female').mean():.0f} %" if len(known) else NOT_REPORTED,
                "age, median (quartiles)": f"{quartiles[0]} ({quartiles[1]} to {quartiles[2]})" if quartiles else NOT_REPORTED,
                "cameras": ", ".join(sorted(set(part.column("camera")) - {""})) or NOT_REPORTED,
            })  # fmt: skip
        return pd.DataFrame(rows)

    @cached_property
    def subgroups(self) -> list[Subgroup]:
        """Of the test images; [] where the dataset is gone, says nothing of people, or the run tells no single class."""
        path = self.run / "predictions.csv"
        if self.dataset is None or not self.one_class or not path.is_file():
            return []
        table, classes = read_predictions(path)
        table = table[table["split"] == "test"].reset_index(drop=True)
        place = {name: row for row, name in enumerate(self.dataset.table["file_name"])}
        known = table["file_name"].isin(place)
        table = table[known].reset_index(drop=True)
        part = self.dataset.subset([place[name] for name in table["file_name"]])
        return subgroups(table, classes, _people(part)) if len(table) else []

    def stress(self) -> list[dict]:
        """The results of `fundus-classify stress` on these weights that lie in the run folder."""
        weights = weights_hash(self.run)
        folders = [path.parent for path in sorted(self.run.glob("stress-*/stress.json"))]
        folders = [folder for folder in folders if (folder / OPTIONS).is_file()]
        found = [read_json(f / "stress.json") for f in folders if read_json(f / OPTIONS).get("classifier") == weights]
        return [one for one in found if one.get("kind") == "fundus-synth stress"]

    def explanations(self) -> list[str]:
        """One sentence a method of explanation that was checked."""
        found = read_faithfulness(self.run)
        return [f"{name}: {'passes' if one.passes else 'fails'}. {one.why}" for name, one in found.items()]

    def evaluations(self) -> dict[str, dict]:
        """{folder: metrics} of `fundus-classify evaluate` on other datasets, in the run folder."""
        found = {path.parent.name: read_json(path) for path in sorted(self.run.glob("evaluation-*/metrics.json"))}
        return {name: one["test"] for name, one in found.items() if isinstance(one.get("test"), dict)}


def ended_metrics(run: Path | str) -> dict:
    """metrics.json of a run.

    Raises:
        UserError: there is none, because its training has not ended.
    """
    path = Path(run) / "metrics.json"
    if not path.is_file():
        raise UserError("has no metrics.json: its training has not ended", path=run,
                        hint="End it with fundus-classify train --resume.")  # fmt: skip
    return read_json(path)


def _people(part: FundusDataset) -> pd.DataFrame:
    """The columns of `subgroups.COLUMNS` that hold anything."""
    bands = [age_band(age) for age in part.column("age_years").astype(float)]
    people = pd.DataFrame({name: bands if name == "age" else part.column(name).to_numpy() for name in COLUMNS})
    return people[[name for name in COLUMNS if (people[name] != "").any()]]
