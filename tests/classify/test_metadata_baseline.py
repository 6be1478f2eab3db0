from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fundus_synth.classify.metadata_baseline import fit_metadata
from fundus_synth.classify.metrics import score
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import UserError

_TARGET = Target("label", ("normal", "amd", "other"))


def _dataset(n: int = 1200, seed: int = 0, **columns) -> FundusDataset:
    """amd where people are old, other where they are neither old nor young, and female: not linear in age."""
    random = np.random.default_rng(seed)
    age, sex = random.uniform(20, 90, n).round(), random.choice(["female", "male"], n)
    label = np.where(age > 70, "amd", np.where((age > 40) & (age < 55) & (sex == "female"), "other", "normal"))
    table = pd.DataFrame({
        "file_name": [f"images/{k}.png" for k in range(n)], "patient_id": [f"p{k // 2}" for k in range(n)],
        "label": label, "age_years": age, "sex": sex,
    })  # fmt: skip
    return FundusDataset(Path("eyes"), {}, table.assign(**columns))


def _held_out(dataset: FundusDataset) -> np.ndarray:
    return np.array([f"p{k}" for k in range(len(dataset) // 4)])


def test_age_and_sex_are_learned_though_not_linear_and_held_out_patients_are_not_used():
    dataset = _dataset()
    held = np.isin(dataset.patient_keys, _held_out(dataset))
    fitted = fit_metadata(dataset, _TARGET, _held_out(dataset))
    assert fitted.columns == ("age_years", "sex") and (fitted.images, fitted.patients) == (600, 300)
    true = _TARGET.labels(dataset)
    assert score("macro_auroc", true[held], fitted.predict(dataset.subset(held))) > 0.95
    # Held-out labels do not matter: other labels there, the same answers.
    lied = FundusDataset(dataset.path, {}, dataset.table.assign(label=np.where(held, "amd", dataset.table["label"])))
    np.testing.assert_array_equal(
        fit_metadata(lied, _TARGET, _held_out(dataset)).predict(dataset), fitted.predict(dataset)
    )


def test_only_training_images_where_the_dataset_is_split():
    dataset = _dataset()
    split = np.where(np.arange(1200) < 600, "test", np.where(np.arange(1200) < 800, "val", "train"))
    assert fit_metadata(dataset.with_split(split), _TARGET, _held_out(dataset)).images == 400


def test_missing_values_are_an_answer_of_their_own():
    dataset = _dataset()
    # Blood pressure was measured only where something was wrong.
    pressure = np.where(dataset.table["label"] == "normal", np.nan, 120.0 + np.arange(1200) % 7)
    age = dataset.table["age_years"].where(np.arange(1200) % 3 > 0)
    dataset = FundusDataset(dataset.path, {}, dataset.table.assign(age_years=age, systolic_mmhg=pressure, sex=""))
    fitted = fit_metadata(dataset, _TARGET, _held_out(dataset))
    assert fitted.columns == ("age_years", "systolic_mmhg")
    told = fitted.predict(dataset)
    assert np.isfinite(told).all() and told.sum(axis=1) == pytest.approx(1)
    normal = dataset.table["label"] == "normal"
    assert told[normal, 0].min() > 0.8 and told[~normal, 0].max() < 0.2


def test_sex_alone_and_a_sex_that_training_did_not_know():
    dataset = _dataset(age_years=np.nan)
    fitted = fit_metadata(dataset, _TARGET, _held_out(dataset))
    assert fitted.columns == ("sex",)
    told = fitted.predict(FundusDataset(dataset.path, {}, dataset.table.assign(sex="")))
    assert np.isfinite(told).all() and np.ptp(told, axis=0) == pytest.approx(0)


def test_nothing_to_learn_from():
    with pytest.raises(UserError, match="has no values of age_years, systolic_mmhg, diastolic_mmhg, sex"):
        fit_metadata(_dataset(age_years=np.nan, sex=""), _TARGET, np.array(["p0"]))
    dataset = _dataset()
    ill = dataset.table["patient_id"][dataset.table["label"] == "amd"].unique()
    with pytest.raises(UserError, match="no training image of amd"):
        fit_metadata(dataset, _TARGET, ill)
