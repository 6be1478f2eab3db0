"""From a camera frame to a verdict, through the commands that users type."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset

TINY = ("--device", "cpu", "--quiet")


def test_demo_run_split(call, tmp_path):
    done = call("fundus-preprocess", "demo", "camera", "--images-per-class", 3, "--size", 128, "--quiet", "--json")
    assert done.code == 0 and json.loads(done.out)["classes"] == {"normal": 3, "anemic": 3, "diabetes": 3}
    done = call("fundus-preprocess", "run", "camera", "eyes", "--size", 64, "--quiet", "--workers", 1)
    assert done.code == 0, done.err
    done = call("fundus-preprocess", "split", "eyes", "--ratios", "0.5,0.25,0.25")
    assert done.code == 0 and "train:" in done.out
    eyes = FundusDataset.open(tmp_path / "eyes")
    assert len(eyes) == 9 and eyes.has_split and eyes.read(0).shape == (64, 64, 3)
    assert {"fov_x", "fov_y", "fov_r", "camera_width", "disc_x", "hemoglobin_g_dl", "sha256"} <= set(eyes.table.columns)
    truth = FundusDataset.open(tmp_path / "camera").table.set_index("file_name")
    for row in eyes.table.to_dict("records"):
        known = truth.loc[row["camera_file"]]
        assert abs(row["fov_x"] - known["fov_x"]) < 1.28 and abs(row["fov_r"] - known["fov_r"]) < 1.28


@pytest.fixture(scope="module")
def generator(eyes, tmp_path_factory):
    from fundus_synth.synth.train import train

    out = tmp_path_factory.mktemp("generator") / "anemic"
    return train(FundusDataset.open(eyes), "anemic", steps=2, batch_size=4, shared_start="none", out=out, device="cpu",
                 quiet=True).path  # fmt: skip


def test_synth_train_and_generate(call, eyes, tmp_path):
    done = call(
        "fundus-synth",
        "train",
        "--data",
        eyes,
        "--class",
        "anemic",
        "--steps",
        2,
        "--batch-size",
        4,
        "--shared-start",
        "none",
        "--out",
        "gan",
        *TINY,
    )
    assert done.code == 0, done.err
    info = json.loads((tmp_path / "gan" / "checkpoints" / "generator.json").read_text())
    train_patients = FundusDataset.open(eyes).split("train").of_class("anemic").patients
    assert len(info["trained_on_patients"]) == len(train_patients) > 0
    assert not any(patient in json.dumps(info) for patient in train_patients)
    done = call("fundus-synth", "generate", "gan", "--count", 5, "--out", "made", "--keep-all", *TINY)
    assert done.code == 0, done.err
    made = FundusDataset.open(tmp_path / "made")
    assert len(made) == 5 and set(made.table["synthetic"]) == {"true"} and made.class_counts() == {"anemic": 5}
    with Image.open(made.image_path(0)) as image:
        assert "Synthetic" in image.text["Description"] and image.text["fundus-synth:class"] == "anemic"


def test_classify_train_evaluate_predict_explain(call, eyes, camera_frames, tmp_path):
    done = call("fundus-classify", "train", "--data", eyes, "--classes", "normal,anemic", "--steps", 4, "--batch-size", 4,
                "--out", "run", *TINY)  # fmt: skip
    assert done.code == 0, done.err
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert np.allclose(predictions[["p_normal", "p_anemic"]].sum(1), 1)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    done = call("fundus-classify", "evaluate", "run", "--data", eyes, "--json", *TINY)
    assert done.code == 0, done.err
    json.loads(done.out)
    done = call("fundus-classify", "predict", "run", camera_frames / "images", "--json", *TINY)
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert len(rows) == 60 and {row["predicted"] for row in rows} <= {"normal", "anemic"}
    (tmp_path / "text.jpg").write_text("not a picture")
    done = call("fundus-classify", "predict", "run", tmp_path / "text.jpg", FundusDataset.open(camera_frames).image_path(0),
                "--json", *TINY)  # fmt: skip
    bad, good = json.loads(done.out, parse_constant=pytest.fail)
    assert done.code == 0 and bad["p_normal"] is None and "text" in bad["problem"] and good["p_normal"] is not None
    done = call("fundus-classify", "predict", "run", tmp_path / "text.jpg", *TINY)
    assert done.code == 2 and "text.jpg" in done.err
    done = call("fundus-classify", "explain", "run", "--data", eyes, "--out", "maps", "--count", 1, *TINY)
    assert done.code == 0, done.err
    assert (tmp_path / "maps" / "report.html").exists()


def test_compare_augmentations(call, eyes, generator, tmp_path):
    words = ("--data", eyes, "--classes", "normal,anemic", "--arms", "default,classical,gan", "--seeds", 2, "--epochs", 2,
             "--batch-size", 4, "--generator", generator, "--generator-steps", 2, "--out", "cmp", *TINY)  # fmt: skip
    done = call("fundus-classify", "compare-augmentations", *words)
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "cmp" / "summary.json").read_text())
    assert len(summary["verdict"]) == 2 and set(summary["scores"]) == {"default", "classical", "gan"}
    steps = {len(pd.read_csv(p)) for p in (tmp_path / "cmp" / "arms").rglob("metrics.csv")}
    assert steps == {2}
    assert "<svg" in (tmp_path / "cmp" / "report.html").read_text()
    again = call("fundus-classify", "compare-augmentations", *words, "--resume", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["scores"] == summary["scores"]


def test_generator_that_saw_held_out_patients_is_refused(call, eyes, generator, tmp_path):
    dataset = FundusDataset.open(eyes)
    swapped = dataset.with_split(dataset.table["split"].map({"train": "test", "val": "val", "test": "train"}))
    shutil.copytree(eyes, tmp_path / "swapped")
    swapped = FundusDataset(tmp_path / "swapped", dataset.info, swapped.table)
    swapped.save_table()
    done = call("fundus-classify", "compare-augmentations", "--data", "swapped", "--classes", "normal,anemic", "--arms",
                "default,gan", "--seeds", 1, "--epochs", 1, "--generator", generator, "--out", "cmp", *TINY)  # fmt: skip
    assert done.code == 2 and len(done.err.strip().splitlines()) == 1
    leaked = swapped.split("test").of_class("anemic").patients
    assert leaked[0] in done.err and not (tmp_path / "cmp").exists()


def test_class_names_never_become_paths(call, eyes, tmp_path):
    dataset = FundusDataset.open(eyes)
    labels = dataset.table["label"].replace({"anemic": "../iron / Eisen"})
    shutil.copytree(eyes, tmp_path / "named")
    FundusDataset(tmp_path / "named", dataset.info, dataset.table.assign(label=labels)).save_table()
    done = call("fundus-classify", "compare-augmentations", "--data", "named", "--classes", "normal,../iron / Eisen", "--arms",
                "default,gan", "--seeds", 1, "--epochs", 1, "--batch-size", 8, "--generator-steps", 2, "--out", "cmp/run",
                *TINY)  # fmt: skip
    assert done.code == 0, done.err
    assert sorted(p.name for p in (tmp_path / "cmp").iterdir()) == ["run"]
    assert sorted(p.name for p in (tmp_path / "cmp/run/generators").iterdir()) == ["-iron-Eisen", "normal"]


def test_no_data_uses_simulated_eyes_and_says_so(call, monkeypatch):
    from fundus_synth.data.phantom import cohort

    seen = []
    monkeypatch.setattr(cohort, "default_phantom_dataset", lambda **options: seen.append(1) or pytest.fail("stop"))
    with pytest.raises(pytest.fail.Exception, match="stop"):
        call("fundus-synth", "train", "--class", "anemic")
    assert seen


def test_killed_run_continues_to_the_same_files(camera_frames, tmp_path):
    """kill -9 in the middle of `fundus-preprocess run`; the second start ends with the bytes of an unbroken run."""
    code = "import sys; from fundus_synth.cli import preprocess_main; preprocess_main()"
    words = [sys.executable, "-c", code, "run", str(camera_frames), "out", "--size", "256", "--workers", "1", "--quiet"]
    process = subprocess.Popen(words, cwd=tmp_path, start_new_session=True)
    journal = tmp_path / "out.partial" / "rows.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_text().count("\n") >= 5):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists(), "it finished before it was killed"
    subprocess.run(words, cwd=tmp_path, check=True)
    words[5] = "unbroken"
    subprocess.run(words, cwd=tmp_path, check=True)
    files = sorted(p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert files == sorted(
        p.relative_to(tmp_path / "unbroken") for p in (tmp_path / "unbroken").rglob("*") if p.is_file()
    )
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
