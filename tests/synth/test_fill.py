"""Every class brought to so many images: which, how many, where, killed and continued."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth import fill as fill_module
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.fill import class_folders, fill

ODD = "../a b/Ç"
OPTIONS = {"size": 16, "steps": 2, "batch_size": 4, "hold_back": 0.0, "device": "cpu", "precision": "32", "seed": 3,
           "keep_all": True, "quiet": True}  # fmt: skip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> FundusDataset:
    """20 normal, 12 "../a b/Ç" (two of them in the test split), 9 anemic and 2 rare images; 20 px, random."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("fill") / "set"
    labels = ["normal"] * 20 + [ODD] * 12 + ["anemic"] * 9 + ["rare"] * 2
    with DatasetWriter(path, {"name": "set"}) as writer:
        for i, label in enumerate(labels):
            row = {
                "file_name": f"images/{i}.png", "patient_id": f"p{i}", "label": label,
                "split": "test" if i in (20, 21) else "train",
            }  # fmt: skip
            writer.add(row, random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    return FundusDataset.open(path)


def pictures(folder) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def filled(dataset, tmp_path_factory):
    return fill(dataset, 14, tmp_path_factory.mktemp("filled") / "out", model="light", **OPTIONS)


def test_every_class_gets_what_it_lacks_and_says_why_not(dataset, filled):
    table = filled.table.set_index("label")
    assert table["real"].to_dict() == {"normal": 20, ODD: 10, "anemic": 9, "rare": 2}
    assert table["wanted"].to_dict() == {"normal": 0, ODD: 4, "anemic": 5, "rare": 12}
    assert table["made"].to_dict() == {"normal": 0, ODD: 4, "anemic": 5, "rare": 0}
    assert table["why_not"].to_dict() == {
        "normal": "has enough", ODD: "", "anemic": "", "rare": "fewer than 8 images to train on",
    }  # fmt: skip
    for label in (ODD, "anemic"):
        made = FundusDataset.open(table["dataset"][label])
        assert made.class_counts() == {label: table["made"][label]} and set(made.column("synthetic")) == {"true"}
    kept = pd.read_csv(filled.path / "summary.csv", keep_default_na=False)
    assert kept.astype(str).equals(filled.table.astype(str))
    assert filled.lines()[-1] == "rare: 2 real, fewer than 8 images to train on"
    json.dumps(filled.summary())


def test_one_shared_start_and_nobody_of_the_test_split(filled):
    assert (filled.path / "shared" / "finished.json").exists()
    runs = sorted((filled.path / "generators").iterdir())
    assert len(runs) == 2 and not any((run / "shared").exists() for run in runs)
    shared = load_generator(filled.path / "shared")[1]
    for run in runs:
        info = load_generator(run)[1]
        assert info.trained_on_patients == shared.trained_on_patients and len(shared.trained_on_patients) == 41


def test_nothing_leaves_the_folder(filled):
    assert {path.name for path in filled.path.parent.iterdir()} == {"out"}
    names = {path.name for path in (filled.path / "synthetic").iterdir()}
    assert "anemic" in names and len(names) == 2 and all(name.isascii() for name in names)


def test_folders_of_classes_are_different_also_for_a_file_system_without_capitals():
    labels = ["a b", "a-b", "a_b", "A_b", "..", "", "é", "e", "x" * 300, "con/aux"]
    folders = class_folders(labels)
    assert len({name.lower() for name in folders.values()}) == len(labels)
    assert folders["a-b"] == "a-b" and folders["e"] == "e"
    assert all(name.strip("._-") and len(name) < 100 and "/" not in name for name in folders.values())


def test_killed_and_continued_it_is_the_same(dataset, filled, tmp_path, monkeypatch):
    calls, generate = [], fill_module.generate

    def fails(*words, **more):
        calls.append(words[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(*words, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fill_module, "generate", fails)
        fill(dataset, 14, tmp_path / "out", model="light", **OPTIONS)
    assert not (tmp_path / "out" / "summary.csv").exists()
    first = sha256_file(tmp_path / "out" / "shared" / "checkpoints" / "state.pt")
    with pytest.raises(UserError, match="already exists"):
        fill(dataset, 14, tmp_path / "out", model="light", **OPTIONS)
    with pytest.raises(UserError, match="fill_to"):
        fill(dataset, 15, tmp_path / "out", model="light", resume=True, **OPTIONS)
    again = fill(dataset, 14, tmp_path / "out", model="light", resume=True, **OPTIONS)
    assert sha256_file(tmp_path / "out" / "shared" / "checkpoints" / "state.pt") == first, "not trained again"
    assert pictures(again.path / "synthetic") == pictures(filled.path / "synthetic")


def test_the_caller_s_table_counts_not_the_folder_s(dataset, tmp_path):
    """A split made in memory: the generators must not see its test patients."""
    table = dataset.table.assign(split=["test" if i < 32 and i % 4 == 0 else "train" for i in range(len(dataset))])
    mine = FundusDataset(dataset.path, dataset.info, table)
    done = fill(mine, 16, tmp_path / "out", model="dcgan", shared_start="none", **OPTIONS)
    real = done.table.set_index("label")["real"].to_dict()
    assert real == {"normal": 15, ODD: 9, "anemic": 9, "rare": 2}
    assert not (done.path / "shared").exists(), "none was asked for"
    assert len(load_generator(done.table.set_index("label")["run"]["normal"])[1].trained_on_patients) == 15


@pytest.mark.slow
def test_side_by_side_it_is_the_same(dataset, filled, tmp_path):
    options = {**OPTIONS, "workers": 2, "cores": 1}
    assert pictures(fill(dataset, 14, tmp_path / "out", model="light", **options).path / "synthetic") == pictures(
        filled.path / "synthetic"
    )


def test_a_class_of_which_no_image_is_good_is_named_and_the_shared_start_stays(tmp_path):
    """Half of every field of view is black, so that no image can pass."""
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "set", {"name": "half"}) as writer:
        for i in range(20):
            image = random.integers(100, 256, (16, 16, 3), dtype=np.uint8)
            image[:8] = 0
            row = {"file_name": f"images/{i}.png", "patient_id": f"p{i}", "label": "normal" if i < 11 else "anemic"}
            writer.add(row, image)
    half = FundusDataset.open(tmp_path / "set")
    with pytest.raises(JobError, match="job class-anemic failed .*kept 0 of 20 draws, 1 are wanted .*field_of_view"):
        fill(half, 10, tmp_path / "out", model="light", **{**OPTIONS, "keep_all": False})
    assert (tmp_path / "out" / "shared" / "finished.json").exists()
    assert not (tmp_path / "out" / "synthetic" / "anemic").exists()


def test_bad_requests(dataset, tmp_path):
    for count, options, message in (
        (0, {}, "--fill-to is 0"),
        (5, {}, r"no class of 8 to 4 images; its classes are normal \(20\)"),
        (14, {"model": "nothing"}, "--model nothing"),
        (14, {"size": 17}, "--size is 17"),
    ):
        with pytest.raises(UserError, match=message):
            fill(dataset, count, tmp_path / "out", **{**OPTIONS, **options})
    assert not (tmp_path / "out").exists()
