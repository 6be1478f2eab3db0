from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_synth.data.splits import split_by_patient
from fundus_synth.runtime.errors import UserError

rows = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["normal", "anemic", "x", ""])), min_size=1, max_size=120)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(0, 2**32), st.sampled_from([(0.8, 0.1, 0.1), (0.7, 0.0, 0.3), (0.34, 0.33, 0.33)]))
def test_no_patient_in_two_splits(rows, seed, ratios):
    table = pd.DataFrame(rows, columns=["patient_id", "label"]).astype(str)
    wanted = {name for name, share in zip(("train", "val", "test"), ratios, strict=True) if share > 0}
    if table["patient_id"].nunique() < len(wanted):
        with pytest.raises(UserError, match="patients"):
            split_by_patient(table, ratios, seed)
        return
    split = split_by_patient(table, ratios, seed)
    assert set(split) == wanted
    assert (split.groupby(table["patient_id"]).nunique() == 1).all()
    pd.testing.assert_series_equal(split, split_by_patient(table, ratios, seed))


def test_classes_keep_their_proportions():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(500), 2)
    rare = rng.random(500) < 0.06
    table = pd.DataFrame(
        {"patient_id": [f"p{i}" for i in patients], "label": np.where(rare[patients], "rare", "normal")}
    )
    split = split_by_patient(table, (0.8, 0.1, 0.1), 3)
    shares = pd.crosstab(table["label"], split, normalize="index")
    assert abs(shares.loc["rare", "test"] - 0.1) < 0.04 and abs(shares.loc["normal", "test"] - 0.1) < 0.01
    assert abs(shares.loc["rare", "train"] - 0.8) < 0.04


def test_another_seed_is_another_split():
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(200)], "label": "normal"})
    assert (split_by_patient(table, seed=0) != split_by_patient(table, seed=1)).any()


def test_images_without_patients_are_their_own():
    table = pd.DataFrame({"patient_id": [""] * 100, "label": "normal"})
    assert split_by_patient(table).value_counts().to_dict() == {"train": 80, "val": 10, "test": 10}


@pytest.mark.parametrize("ratios", [(0.8, 0.1), (0.8, 0.1, 0.3), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_bad_ratios(ratios):
    with pytest.raises(UserError, match="three shares"):
        split_by_patient(pd.DataFrame({"patient_id": list("abcd")}), ratios)


def test_real_odir_is_stratified(real_data):
    table = pd.read_csv(real_data / "odir" / "metadata.csv", dtype=str, keep_default_na=False)
    split = split_by_patient(table, seed=0)
    assert (split.groupby(table["patient_id"]).nunique() == 1).all()
    shares = pd.crosstab(table["label"], split, normalize="index")
    assert (shares["train"].drop("") - 0.8).abs().max() < 0.03
