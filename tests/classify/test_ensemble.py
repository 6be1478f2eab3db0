from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from fundus_synth.classify.ensemble import average, read_members
from fundus_synth.runtime.errors import UserError


def _table(seed: int = 0, n: int = 12) -> pd.DataFrame:
    share = np.random.default_rng(seed).uniform(0.1, 0.9, n)
    return pd.DataFrame(
        {
            "file_name": [f"images/{k}.png" for k in range(n)],
            "patient_id": [f"p{k // 2}" for k in range(n)],
            "split": ["val"] * (n // 2) + ["test"] * (n - n // 2),
            "true": ["normal", "anemic"] * (n // 2),
            "predicted": "normal",
            "p_normal": share,
            "p_anemic": 1 - share,
        }
    )


def _run(folder, name: str, table: pd.DataFrame):
    (folder / name).mkdir(parents=True)
    table.to_csv(folder / name / "predictions.csv", index=False)
    return folder / name


def test_runs_are_brought_into_one_order_of_images_and_classes(tmp_path):
    one, other = _table(1), _table(2)
    turned = other.sample(frac=1, random_state=0)[[*other.columns[:5], "p_anemic", "p_normal"]]
    members = read_members([_run(tmp_path, "a", one), _run(tmp_path, "b", turned)])
    assert members.classes == ("normal", "anemic") and list(members.probabilities) == ["a", "b"]
    assert members.table["file_name"].tolist() == one["file_name"].tolist()
    np.testing.assert_allclose(members.probabilities["b"], other[["p_normal", "p_anemic"]])
    assert members.true.tolist() == [0, 1] * 6


def test_rows_of_train_are_left_out_and_runs_of_one_name_are_told_apart(tmp_path):
    table = _table()
    table.loc[0, "split"] = "train"
    members = read_members([_run(tmp_path / "x", "run", table), _run(tmp_path / "y", "run", table)])
    assert len(members.table) == 11 and list(members.probabilities) == ["x/run", "y/run"]


def test_other_images_are_one_error_that_names_the_run_and_how_many(tmp_path):
    other = _table()
    other.loc[3, "true"] = "normal"
    other = other.drop(index=[5, 6])
    runs = [_run(tmp_path, "a", _table()), _run(tmp_path, "b", other)]
    with pytest.raises(UserError, match="b: was not tested on the same images as a: 3 of 12 files"):
        read_members(runs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[t["split"] == "test"], "no rows of split val"),
        (lambda t: t.drop(columns="split"), "no rows of split val"),
        (lambda t: t.rename(columns={"p_anemic": "p_ill"}).assign(true="normal"), "has the classes normal, ill"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "names 'images/0.png' twice"),
        (lambda t: t.assign(p_normal=[""] + ["0.5"] * 11), "row 2: a probability is missing"),
    ],
)
def test_unusable_predictions(tmp_path, change, message):
    runs = [_run(tmp_path, "a", _table()), _run(tmp_path, "b", change(_table()))]
    with pytest.raises(UserError, match=message):
        read_members(runs)


def test_not_a_run_and_a_run_twice(tmp_path):
    with pytest.raises(UserError, match="no predictions.csv; expected a run"):
        read_members([tmp_path])
    run = _run(tmp_path, "a", _table())
    with pytest.raises(UserError, match="is given twice"):
        read_members([run, run])


def test_the_average_never_loses_more_than_its_members_do_on_average():
    random = np.random.default_rng(0)
    true, members = random.integers(3, size=200), random.dirichlet(np.ones(3), (4, 200))
    losses = [log_loss(true, member) for member in members]
    assert log_loss(true, average(list(members))) < np.mean(losses)
    np.testing.assert_allclose(average([np.array([[1.0, 0]]), np.array([[0.5, 0.5]])]), [[0.75, 0.25]])
