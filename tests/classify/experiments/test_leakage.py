from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from typer.testing import CliRunner

from fundus_synth.classify.evidence import Difference, Interval, SeedPredictions, independent_difference
from fundus_synth.classify.experiments import trainings
from fundus_synth.classify.experiments.leakage import leakage
from fundus_synth.classify.experiments.leakage_result import measure, sentence
from fundus_synth.classify.experiments.leaky_splits import (
    COPIES,
    IMAGES,
    PATIENTS,
    UNITS,
    draw_sides,
    overlap,
    with_leaky_split,
    write_pool,
)
from fundus_synth.cli.experiments import classify  # with its own commands
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.data.targets import Target
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.runs import RunFolder

EYES = Target("label", ("normal", "diabetes"))
QUICK = {"copies": 2, "size": 32, "epochs": 2, "batch_size": 16, "seeds": 1, "device": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> FundusDataset:
    """24 patients, two photographs each: a bright patch at a place of the patient's own, which says nothing of the class."""
    random = np.random.default_rng(0)
    labels = random.permutation([0, 1] * 12)
    with DatasetWriter(tmp_path_factory.mktemp("eyes") / "eyes", {"name": "eyes"}) as writer:
        for index in range(48):
            patient = index // 2
            image = random.integers(0, 40, (40, 40, 3)).astype(np.uint8)
            image[8 + patient % 5 * 5 :, 8 + patient // 5 * 5 :, patient % 3] += 150
            row = {
                "file_name": f"images/{index:02}.png",
                "patient_id": f"eyes-{patient}",
                "label": EYES.classes[labels[patient]],
            }
            writer.add(row, image)
    return FundusDataset.open(writer.path)


@pytest.fixture(scope="module")
def pool(eyes, tmp_path_factory) -> FundusDataset:
    return write_pool(eyes, EYES, tmp_path_factory.mktemp("pool") / "pool", size=40, copies=3, seed=0, quiet=True)


def split_of(eyes: FundusDataset) -> FundusDataset:
    sides = {0: "test", 1: "val"}
    return eyes.with_split([sides.get(int(name.split("-")[1]) % 6, "train") for name in eyes.column("patient_id")])


def test_a_pool_holds_each_photograph_and_its_turned_copies(eyes, pool):
    assert len(pool) == 48 * 4 and not pool.has_split and pool.patients == eyes.patients
    assert list(pool.column("photograph")) == [name for name in eyes.column("file_name") for _ in range(4)]
    assert list(pool.column("label")) == [name for name in eyes.column("label") for _ in range(4)]
    for index in (0, 17):
        original, *copies = (pool.read(4 * index + k) for k in range(4))
        assert (original == eyes.read(index)).all()
        centre = np.s_[12:28, 12:28]
        for copy in copies:
            # What turns within the frame keeps its brightness, and the corners come from outside it.
            assert copy[centre].mean() == pytest.approx(original[centre].mean(), abs=12) and (copy != original).any()
        assert len({copy.tobytes() for copy in copies}) == 3


def test_an_interrupted_pool_is_the_same(eyes, pool, tmp_path, monkeypatch):
    read, how = FundusDataset.read, {"size": 40, "copies": 3, "seed": 0, "quiet": True}

    def fails(self, index):
        if index == 30:
            raise KeyboardInterrupt
        return read(self, index)

    monkeypatch.setattr(FundusDataset, "read", fails)
    with pytest.raises(KeyboardInterrupt):
        write_pool(eyes, EYES, tmp_path / "pool", **how)
    assert not (tmp_path / "pool").exists()
    done = []
    monkeypatch.setattr(FundusDataset, "read", lambda self, index: done.append(index) or read(self, index))
    assert write_pool(eyes, EYES, tmp_path / "pool", **how).fingerprint == pool.fingerprint
    assert done == list(range(30, 48))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_only_the_unit_of_the_splits_differs(eyes, pool, seed):
    divided = split_of(eyes)
    sides = draw_sides(divided, EYES, pool, seed)
    counts = [pd.crosstab(of, EYES.labels(pool)) for of in sides.values()]
    assert list(sides) == list(UNITS) and all(table.equals(counts[0]) for table in counts)
    for unit, column in ((PATIENTS, "patient_id"), (IMAGES, "photograph")):
        assert (pd.Series(sides[unit]).groupby(pool.column(column).to_numpy()).nunique() == 1).all()
    shared = {unit: overlap(pool, of) for unit, of in sides.items()}
    assert shared[PATIENTS]["known patient"] == shared[PATIENTS]["known photograph"] == 0
    assert shared[IMAGES]["known photograph"] == 0 < shared[IMAGES]["known patient"]
    # Study B: of three other pictures of a photograph, seldom none is in training. (The least over all these seeds: 0.66 and 0.78.)
    assert shared[COPIES]["known photograph"] > 0.5 and shared[COPIES]["known patient"] > 0.7


def test_overlap_is_counted_in_test_pictures():
    table = pd.DataFrame({"patient_id": list("aaabbc"), "photograph": ["a1", "a1", "a2", "b1", "b1", "c1"]})
    sides = np.array(["train", "test", "test", "test", "val", "test"])
    found = overlap(FundusDataset(Path("pool"), {}, table), sides)
    assert found == {
        "training pictures": 1,
        "test pictures": 4,
        "test patients": 3,
        "known patient": 0.5,
        "known photograph": 0.25,
    }


def test_a_leaky_split_is_for_pools_only_and_says_what_it_is(eyes, pool):
    sides = draw_sides(split_of(eyes), EYES, pool, 0)[COPIES]
    with pytest.raises(ValueError, match="is not a pool of the leakage experiment"):
        with_leaky_split(eyes, sides[:48])
    with pytest.raises(UserError, match="expected every patient in one split only"):
        pool.with_split(sides)
    leaky = with_leaky_split(pool, sides)
    assert leaky.name == "LEAKY split of eyes with rotated copies" and leaky.patients == eyes.patients
    assert not FundusDataset.open(pool.path).has_split


def side(rate: float, patients: int, random: np.random.Generator, first: int = 0) -> SeedPredictions:
    """Two images a patient, both right or both wrong; right with chance `rate`."""
    right = np.repeat(random.random(patients) < rate, 2)
    true = np.arange(2 * patients) % 2
    p = np.where(right == (true == 1), 0.9, 0.1)
    return SeedPredictions(true, np.stack([1 - p, p], 1), np.array([f"p{first + i // 2}" for i in range(2 * patients)]))


def test_every_figure_comes_from_the_predictions(tmp_path):
    random = np.random.default_rng(0)
    rates = {PATIENTS: 0.7, IMAGES: 0.7, COPIES: 0.95}
    predictions = {unit: [side(rate, 100, random) for _ in range(2)] for unit, rate in rates.items()}
    shared = pd.DataFrame([{"split by": unit, "training pictures": 10 + n, "test pictures": 5, "test patients": 3,
                            "known patient": 0.2 * n, "known photograph": 0.0} for n in range(2) for unit in UNITS])  # fmt: skip
    run = RunFolder.open_or_create(tmp_path / "run", {}, resume=False)
    found = measure(run, EYES, predictions, shared)
    for unit, runs in predictions.items():
        told = [(one.true, one.probabilities.argmax(1), one.probabilities[:, 1]) for one in runs]
        expected = {"accuracy": [accuracy_score(true, said) for true, said, _ in told],
                    "macro_f1": [f1_score(true, said, average="macro") for true, said, _ in told],
                    "auroc": [roc_auc_score(true, p) for true, _, p in told]}  # fmt: skip
        for metric, values in expected.items():
            assert found.scores[unit][metric].estimate == pytest.approx(np.mean(values))
    assert found.differences[COPIES]["auroc"] == independent_difference(
        predictions[COPIES], predictions[PATIENTS], "auroc"
    )
    assert found.adjusted_p[COPIES] == pytest.approx(2 * found.differences[COPIES]["accuracy"].p)
    assert found.largest_class == 0.5
    accuracy = {unit: found.scores[unit]["accuracy"].estimate for unit in UNITS}
    study, images, copies = found.verdict
    assert f"scores {100 * accuracy[COPIES]:.1f} %; on patients it never saw, {100 * accuracy[PATIENTS]:.1f} %" in study
    assert "no evidence of memory" in images and copies.endswith("is memory of eyes seen in training.")
    assert f"{accuracy[COPIES] - accuracy[PATIENTS]:+.3f} (95 % interval" in copies
    assert found.overlap_table().iloc[0].to_list() == [PATIENTS, 10, 5, 3, "10 %", "0 %"]
    json.dumps(found.summary())


@pytest.mark.parametrize(
    ("low", "high", "p", "words"),
    [
        (0.1, 0.3, 0.01, "+0.200 (95 % interval +0.100 to +0.300, Holm-adjusted p 0.010) is memory"),
        (0.1, 0.3, 0.06, "no evidence of memory"),
        (-0.1, 0.3, 0.01, "no evidence of memory"),
        (-0.3, -0.1, 0.01, "which memory cannot explain"),
        (float("nan"), float("nan"), 0.01, "too few patients"),
    ],
)
def test_the_sentence_claims_what_the_interval_allows(low, high, p, words):
    scores = {unit: {"accuracy": Interval(value, 0, 1, 10, 20, 1)} for unit, value in ((PATIENTS, 0.7), (COPIES, 0.9))}
    middle = 0.2 if not low < high < 0 else -0.2
    told = sentence(COPIES, scores, Difference(middle, low, high, 10, 20, 1), p)
    assert told.startswith("Split by copy, as study B did, accuracy is 0.900 against 0.700 on patients never seen")
    assert words in told


def test_the_experiment_measures_all_splits_and_an_interrupted_one_goes_on(eyes, tmp_path, monkeypatch):
    trained, fit = [], trainings.fit

    def counted(*args, **kwargs):
        trained.append(kwargs["run"].path.name)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(trainings, "fit", counted)
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        leakage(eyes, classes=EYES.classes, out=out, **QUICK)
    words = [
        "leakage", "--data", str(eyes.path), "--classes", "normal,diabetes", "--copies", "2", "--size", "32", "--epochs", "2",
        "--batch-size", "16", "--seeds", "1", "--device", "cpu", "--out", str(out), "--resume", "--quiet", "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(classify, words)
    assert done.exit_code == 0, done.output
    assert trained == ["patients-seed0", "LEAKY-images-seed0", "LEAKY-images-seed0", "LEAKY-copies-seed0"]
    told = json.loads(done.stdout)
    assert told == json.loads((out / "summary.json").read_text())
    results = [json.loads(path.read_text())["result"] for path in (out / "jobs").glob("*.json")]
    assert len(results) == 3 and len({(result["steps"], result["images"]) for result in results}) == 1
    patients = {path.parent.name: set(pd.read_csv(path)["patient_id"]) for path in out.glob("arms/*/predictions.csv")}
    trues = set(eyes.patients)
    assert all(names <= trues for names in patients.values())
    about = json.loads((out / "arms" / "LEAKY-copies-seed0" / "checkpoints" / "classifier.json").read_text())
    assert about["dataset"].startswith("LEAKY")
    # It says that it has seen whom it was tested on, so that no one can evaluate it on them as on new patients.
    assert {patient_hash(name) for name in patients["LEAKY-copies-seed0"]} <= {
        *about["patients"]["train"],
        *about["patients"]["test"],
    }
    assert set(about["patients"]["train"]) & set(about["patients"]["test"])
    honest = json.loads((out / "arms" / "patients-seed0" / "checkpoints" / "classifier.json").read_text())
    assert not set(honest["patients"]["train"]) & set(honest["patients"]["test"])
    page = (out / "report.html").read_text()
    assert "How much is memory?" in page and "One eye on both sides" in page and "known photograph" in page
    assert isinstance(CliRunner().invoke(classify, [*words[:-3], "--quiet"]).exception, UserError)


def test_without_patients_there_is_nothing_to_compare(tmp_path):
    with DatasetWriter(tmp_path / "nobody", {"name": "nobody"}) as writer:
        for index in range(16):
            row = {"file_name": f"images/{index}.png", "label": EYES.classes[index % 2]}
            writer.add(row, np.full((32, 32, 3), index, np.uint8))
    with pytest.raises(UserError, match=r"nobody: names no patients \(column patient_id\)"):
        leakage(FundusDataset.open(writer.path), out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()
