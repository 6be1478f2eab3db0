from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import ODIR_CODES, read_table
from fundus_synth.data.splits import (
    NO_PATIENTS,
    k_folds,
    patient_groups,
    split,
    split_by_patient,
    split_lines,
    split_of_folds,
)
from fundus_synth.runtime.errors import UserError

RATIOS = st.sampled_from([(0.8, 0.1, 0.1), (0.7, 0.0, 0.3), (0.34, 0.33, 0.33)])
SEEDS = st.integers(0, 2**32)
rows = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["normal", "anemic", "x", ""])), min_size=1, max_size=120)
# One class a patient, one to three images each.
cohorts = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 3)), min_size=3, max_size=60)


def of_cohort(patients: list[tuple[str, int]]) -> pd.DataFrame:
    table = [(f"p{i}", label) for i, (label, images) in enumerate(patients) for _ in range(images)]
    return pd.DataFrame(table, columns=["patient_id", "label"])


@settings(max_examples=60, deadline=None)
@given(rows, SEEDS, RATIOS)
def test_no_patient_in_two_splits(rows, seed, ratios):
    table = pd.DataFrame(rows, columns=["patient_id", "label"]).astype(str)
    wanted = {name for name, share in zip(("train", "val", "test"), ratios, strict=True) if share > 0}
    if table["patient_id"].nunique() < len(wanted):
        with pytest.raises(UserError, match="patients"):
            split_by_patient(table, ratios, seed)
        return
    sides = split_by_patient(table, ratios, seed)
    assert set(sides) == wanted
    assert (sides.groupby(table["patient_id"]).nunique() == 1).all()
    pd.testing.assert_series_equal(sides, split_by_patient(table, ratios, seed))


@settings(max_examples=60, deadline=None)
@given(cohorts, SEEDS, RATIOS)
def test_every_class_has_its_share_to_within_one_patient_and_is_everywhere(patients, seed, ratios):
    table = of_cohort(patients)
    sides = split_by_patient(table, ratios, seed)
    for label, images in table.groupby("label"):
        sizes = images.groupby("patient_id").size()
        found = sides[images.index].value_counts().reindex(["train", "val", "test"], fill_value=0)
        expected = np.asarray(ratios) * len(images)
        is_open = np.asarray(ratios) > 0
        if len(sizes) >= is_open.sum():
            assert (found[is_open] > 0).all(), label
        if (expected[is_open] >= sizes.max()).all():  # else a place in every split comes before proportions
            assert np.abs(found - expected).max() <= sizes.max() + 1e-9, label


@settings(max_examples=60, deadline=None)
@given(rows, SEEDS, st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, seed, random):
    table = pd.DataFrame(rows, columns=["patient_id", "label"]).astype(str)
    table["patient_id"] = table["patient_id"].where(table["patient_id"].astype(int) < 15, "")  # some have no patient
    table["file_name"] = [f"{i}.png" for i in range(len(table))]
    table["camera"] = np.where(np.arange(len(table)) % 3, "a", "b")
    groups = pd.Series(np.arange(len(table)) // 2)
    if len(set(patient_groups(table, groups))) < 3:
        return
    order = random.sample(range(len(table)), len(table))
    renumbered = groups.iloc[order].map(lambda g: (7 * g + 3) % 1009).to_numpy()
    for assign in (split_by_patient, lambda table, **how: k_folds(table, 3, **how)):
        before = assign(table, seed=seed, groups=groups)
        pd.testing.assert_series_equal(assign(table.iloc[order], seed=seed, groups=renumbered), before.iloc[order])


@settings(max_examples=50, deadline=None)
@given(rows, SEEDS, st.integers(3, 6))
def test_folds_are_disjoint_complete_and_of_whole_patients(rows, seed, k):
    table = pd.DataFrame(rows, columns=["patient_id", "label"]).astype(str)
    if table["patient_id"].nunique() < k:
        with pytest.raises(UserError, match=f"expected at least {k}"):
            k_folds(table, k, seed)
        return
    folds = k_folds(table, k, seed)
    assert set(folds) == set(range(k))
    assert (folds.groupby(table["patient_id"]).nunique() == 1).all()
    sides = [split_of_folds(folds, fold) for fold in range(k)]
    for name in ("val", "test"):  # every image is tested, and validated on, exactly once
        assert (sum((side == name).astype(int) for side in sides) == 1).all()
    assert all(((side == "test") == (folds == fold)).all() for fold, side in enumerate(sides))
    assert (sides[k - 1] == "val").equals(folds == 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 25)), min_size=8, max_size=40), SEEDS)
def test_duplicates_never_cross_and_take_their_patients_along(pairs, seed):
    patients = [f"p{patient}" if patient else "" for patient, _ in pairs]
    table = pd.DataFrame({"patient_id": patients, "label": "normal"})
    groups = np.array([group for _, group in pairs])
    joined = patient_groups(table, groups)
    # The reference walks from image to image.
    same = (groups[:, None] == groups) | ((table["patient_id"].to_numpy()[:, None] == table["patient_id"].to_numpy())
                                          & (table["patient_id"] != "").to_numpy()[:, None])  # fmt: skip
    reached = np.linalg.matrix_power(same.astype(object), len(pairs)) > 0
    assert ((joined[:, None] == joined) == reached).all()
    if len(set(joined)) >= 3:
        sides = split_by_patient(table, seed=seed, groups=groups)
        assert (sides.groupby(joined).nunique() == 1).all()


def test_classes_keep_their_proportions():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(500), 2)
    rare = rng.random(500) < 0.06
    table = pd.DataFrame(
        {"patient_id": [f"p{i}" for i in patients], "label": np.where(rare[patients], "rare", "normal")}
    )
    sides = split_by_patient(table, (0.8, 0.1, 0.1), 3)
    shares = pd.crosstab(table["label"], sides, normalize="index")
    assert abs(shares.loc["rare", "test"] - 0.1) < 0.03 and abs(shares.loc["normal", "test"] - 0.1) < 0.003
    assert abs(shares.loc["rare", "train"] - 0.8) < 0.03


def test_cameras_keep_their_share_of_each_class():
    rng = np.random.default_rng(1)
    label, camera = rng.choice(["a", "b"], 600, p=[0.8, 0.2]), rng.choice(["x", "y", "z"], 600, p=[0.7, 0.2, 0.1])
    table = pd.DataFrame({"patient_id": np.arange(600).astype(str), "label": label, "camera": camera})
    sizes = pd.crosstab([table["label"], table["camera"]], split_by_patient(table))
    assert (sizes["test"] - 0.1 * sizes.sum(axis=1)).abs().max() < 1.5
    blind = pd.crosstab([table["label"], table["camera"]], split_by_patient(table.drop(columns="camera")))
    assert (blind["test"] - 0.1 * blind.sum(axis=1)).abs().max() > 1.5


def test_labels_given_are_what_is_balanced():
    table = pd.DataFrame({"patient_id": np.arange(100).astype(str), "label": "normal"})
    rare = np.where(np.arange(100) < 10, "rare", "")
    assert split_by_patient(table, labels=rare)[:10].value_counts().to_dict() == {"train": 8, "val": 1, "test": 1}


def test_another_seed_is_another_split():
    table = pd.DataFrame({"patient_id": [f"p{i}" for i in range(200)], "label": "normal"})
    assert (split_by_patient(table, seed=0) != split_by_patient(table, seed=1)).any()
    assert (k_folds(table, seed=0) != k_folds(table, seed=1)).any()


def test_images_without_patients_are_their_own():
    table = pd.DataFrame({"patient_id": [""] * 100, "label": "normal"})
    assert split_by_patient(table).value_counts().to_dict() == {"train": 80, "val": 10, "test": 10}


@pytest.mark.parametrize("ratios", [(0.8, 0.1), (0.8, 0.1, 0.3), (1.2, -0.1, -0.1), (0, 0.5, 0.5)])
def test_bad_ratios(ratios):
    with pytest.raises(UserError, match="three shares"):
        split_by_patient(pd.DataFrame({"patient_id": list("abcd")}), ratios)


def test_a_split_is_saved_with_its_folds(small_dataset):
    divided = split(small_dataset, folds=3, fold=1, seed=2)
    divided.save_table()
    saved = FundusDataset.open(small_dataset.path).table
    fold = saved["fold"].astype(int)
    assert saved["split"].tolist() == fold.map({0: "train", 1: "test", 2: "val"}).tolist()
    assert fold.tolist() == split(small_dataset, folds=3, fold=0, seed=2).table["fold"].tolist()
    assert "fold" not in split(divided).table  # another split makes old folds stale


def test_the_target_is_what_a_split_balances(small_dataset):
    young = small_dataset.column("age_years") < 46  # three patients of six
    counted = split(small_dataset, target="young: age_years < 46").column("split")[young].value_counts()
    assert counted.to_dict() == {"train": 2, "val": 2, "test": 2}
    with pytest.raises(UserError, match="no column 'hb'"):
        split(small_dataset, target="a: hb < 12")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"folds": 2}, "at least 3"),
        ({"folds": 7}, "has 6 patients; expected at least 7"),
        ({"folds": 3, "fold": 3}, "no fold 3; expected 0 to 2"),
        ({"folds": 3, "ratios": (0.8, 0.1, 0.1)}, "both ratios and folds"),
    ],
)
def test_splits_that_cannot_be(small_dataset, more, told):
    with pytest.raises(UserError, match=told):
        split(small_dataset, **more)


def test_a_dataset_without_patients_says_whether_duplicates_were_grouped(small_dataset):
    table = small_dataset.table.assign(patient_id="")
    divided = split(FundusDataset(small_dataset.path, {}, table), groups=np.arange(12) // 4)
    assert divided.table.groupby(np.arange(12) // 4)["split"].nunique().tolist() == [1, 1, 1]
    assert split_lines(divided)[-1] == NO_PATIENTS


def test_real_odir_is_stratified_better_than_scikit_learn_does(real_data):
    table = read_table(real_data / "odir" / "metadata.csv")
    codes = table[list(ODIR_CODES)].to_numpy()

    def deviation(folds: np.ndarray) -> float:
        held = np.array([codes[folds == fold].sum(0) for fold in range(10)])
        return np.abs(held / codes.sum(0) - 0.1).max()

    ours, theirs = k_folds(table, 10, seed=0).to_numpy(), np.zeros(len(table), dtype=int)
    reference = StratifiedGroupKFold(10, shuffle=True, random_state=0)
    for fold, (_, test) in enumerate(reference.split(codes, table["label"], table["patient_id"])):
        theirs[test] = fold
    assert deviation(ours) < 0.01 < deviation(theirs)
    sides = split_by_patient(table, seed=0)
    assert (sides.groupby(table["patient_id"]).nunique() == 1).all()
    for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert np.abs(codes[sides == name].sum(0) / codes.sum(0) - share).max() < 0.01
