import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth import recording
from fundus_synth.synth.adversarial import AdversarialTraining
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.train import train
from fundus_synth.synth.training_state import read_training

KILLED = """
import json, sys
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.synth.train import train
data, out, options = sys.argv[1:]
train(FundusDataset.open(data), "anemic", steps=10**6, save_every=2, out=out, **json.loads(options))
"""


def weights(run):
    return sha256_file(run.path / "checkpoints" / "generator.safetensors")


def test_resume_is_exact_in_bfloat16_too(tiny_dataset, tiny_options, tmp_path):
    options = {**tiny_options, "precision": "bf16"}
    whole = train(tiny_dataset, "anemic", steps=4, out=tmp_path / "whole", **options)
    train(tiny_dataset, "anemic", steps=2, out=tmp_path / "halves", **options)
    resumed = train(tiny_dataset, "anemic", steps=4, out=tmp_path / "halves", resume=True, **options)
    assert weights(resumed) == weights(whole)


def test_resumed_run_ends_with_the_same_bytes(tiny_dataset, tiny_run, tiny_options, tmp_path):
    options = {**tiny_options, "save_every": 2, "out": tmp_path / "halves"}
    half = train(tiny_dataset, "anemic", steps=3, **options)
    assert weights(half) != weights(tiny_run)
    resumed = train(tiny_dataset, "anemic", steps=6, resume=True, **options)
    assert weights(resumed) == weights(tiny_run)
    last = "samples/step_0000006.png"
    assert sha256_file(resumed.path / last) == sha256_file(tiny_run.path / last)


def test_a_killed_run_resumes_to_the_same_bytes(tiny_dataset, tiny_options, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, str(tiny_dataset.path), str(out), json.dumps(tiny_options)]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        while not list(out.glob("samples/step_*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    reached = int(max(out.glob("samples/step_*.png")).stem.removeprefix("step_"))
    steps, options = reached + 5, {**tiny_options, "save_every": 2}
    resumed = train(tiny_dataset, "anemic", steps=steps, out=out, resume=True, **options)
    unbroken = train(tiny_dataset, "anemic", steps=steps, out=tmp_path / "unbroken", **options)
    assert weights(resumed) == weights(unbroken)


def test_what_a_run_leaves_behind(tiny_dataset, tiny_run):
    assert sorted(p.name for p in tiny_run.samples.glob("step_*.png")) == [f"step_000000{n}.png" for n in (2, 4, 6)]
    with Image.open(tiny_run.samples / "training.gif") as animation:
        assert animation.n_frames == 3
        assert animation.size == (6 * 16, 6 * 16)
    assert list((tiny_run.path / "tensorboard").glob("events.out.*"))
    assert not list(tiny_run.path.rglob(".partial-*"))
    _, info = load_generator(tiny_run.path)
    assert (info.label, info.steps, info.images, info.patients) == ("anemic", 6, 10, 5)
    assert info.dataset == {"name": "tiny set", "licence": "CC0-1.0", "fingerprint": tiny_dataset.fingerprint}


def test_only_patients_of_the_train_split_are_seen_and_recorded(tiny_dataset, tiny_run):
    _, info = load_generator(tiny_run.path)
    assert set(info.trained_on_patients) == {patient_hash(f"tiny-{number}") for number in range(5)}
    digests = tiny_dataset.image_digests
    assert set(info.trained_on_images) == set(digests[:10])


def test_color_is_left_alone_where_it_is_the_label(tiny_run):
    _, info = load_generator(tiny_run.path)
    assert info.recipe["policy"] == ["translation", "cutout"]


def test_metrics_are_logged_and_cut_on_resume(tiny_dataset, tiny_options, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_LOG_EVERY", 1)
    options = {**tiny_options, "save_every": 2, "out": tmp_path / "run"}
    run = train(tiny_dataset, "anemic", steps=2, **options)
    with open(run.path / "metrics.csv", "a") as stream:
        stream.write("3,9,9,9,9,9\n4,9,9")  # rows after the checkpoint, the last one cut short by a kill
    train(tiny_dataset, "anemic", steps=4, resume=True, **options)
    with open(run.path / "metrics.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert all(row["d_loss"] != "9" and float(row["images_per_second"]) > 0 for row in rows)


def test_augment_none_is_the_bare_study(tiny_dataset, tiny_options, tmp_path):
    run = train(tiny_dataset, "anemic", steps=1, augment="none", out=tmp_path / "run", **tiny_options)
    generator, info = load_generator(run.path)
    assert info.recipe == {
        "batch_size": 4, "learning_rate": 2e-4, "width": 64, "policy": [], "mirror": False, "black_surround": False,
        "average_images": 0,
    }  # fmt: skip
    assert generator.width == 64 and (generator.field_of_view == 1).all()


def test_minutes_end_a_run(tiny_dataset, tiny_options, tmp_path):
    run = train(tiny_dataset, "anemic", minutes=0.01, out=tmp_path / "run", **tiny_options)
    _, info = load_generator(run.path)
    assert 1 <= info.steps < 10_000


def test_images_without_a_patient_are_recorded_one_by_one(tiny_dataset, tiny_options, tmp_path):
    table = tiny_dataset.table.assign(patient_id="", split="")
    nameless = FundusDataset(tiny_dataset.path, tiny_dataset.info, table)
    run = train(nameless, "anemic", steps=1, out=tmp_path / "run", **tiny_options)
    _, info = load_generator(run.path)
    assert (info.images, info.patients) == (14, 0)
    assert set(info.trained_on_patients) == {patient_hash(f"image {d}") for d in tiny_dataset.image_digests[:14]}


def test_unknown_and_tiny_classes_are_refused_with_the_counts(tiny_dataset, tiny_options, tmp_path):
    with pytest.raises(UserError, match=r"'glaucoma'.*anemic \(14\), normal \(3\)"):
        train(tiny_dataset, "glaucoma", out=tmp_path / "run", **tiny_options)
    with pytest.raises(UserError, match="3 normal images.*at least 8"):
        train(tiny_dataset, "normal", out=tmp_path / "run", **tiny_options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("model", "vae", "dcgan"), ("size", 48, "64"), ("batch_size", 1, "at least 2"), ("augment", "spin", "cutout"),
     ("steps", 0, "at least 1"), ("device", "toaster", "cpu")],
)  # fmt: skip
def test_bad_options_write_nothing(tiny_dataset, tiny_options, tmp_path, option, value, message):
    with pytest.raises(UserError, match=message):
        train(tiny_dataset, "anemic", out=tmp_path / "run", **{**tiny_options, option: value})
    assert not (tmp_path / "run").exists()


def test_resume_with_other_options_or_a_damaged_state_is_refused(tiny_dataset, tiny_options, tmp_path):
    out = tmp_path / "run"
    run = train(tiny_dataset, "anemic", steps=1, out=out, **tiny_options)
    with pytest.raises(UserError, match="seed"):
        train(tiny_dataset, "anemic", steps=2, out=out, resume=True, seed=5, **tiny_options)
    (run.checkpoints / "state.pt").write_bytes(b"not a state")
    with pytest.raises(UserError, match="state.pt.*Start a new run"):
        train(tiny_dataset, "anemic", steps=2, out=out, resume=True, **tiny_options)


def test_a_training_that_stays_broken_ends_and_keeps_the_last_good_checkpoint(
    tiny_dataset, tiny_options, tmp_path, monkeypatch
):
    options = {**tiny_options, "save_every": 1, "out": tmp_path / "run"}
    run = train(tiny_dataset, "anemic", steps=2, **options)
    before = weights(run)
    monkeypatch.setattr(AdversarialTraining, "scores", lambda self, x: self.discriminator(x) * float("nan"))
    with pytest.raises(JobError, match="step 6"):  # after three attempts, at steps 3, 4 and 5
        train(tiny_dataset, "anemic", steps=9, resume=True, **options)
    assert weights(run) == before


def test_after_one_bad_step_a_training_goes_back_slows_down_and_goes_on(
    tiny_dataset, tiny_options, tmp_path, monkeypatch, capsys
):
    scores = AdversarialTraining.scores
    monkeypatch.setattr(
        AdversarialTraining, "scores", lambda self, x: scores(self, x) * (float("nan") if self.steps_done == 2 else 1)
    )
    options = {**tiny_options, "save_every": 1, "quiet": False}
    run = train(tiny_dataset, "anemic", steps=4, out=tmp_path / "run", **options)
    state = read_training(run.path)
    assert state["steps"] == 4 and state["networks"]["pace"] == 0.5
    assert all(value.isfinite().all() for value in state["networks"].values())
    assert "watchdog: a loss of step 3 is not a number; back to the last state" in capsys.readouterr().err


def test_starting_from_another_run_inherits_its_networks_and_its_patients(
    tiny_dataset, tiny_run, tiny_options, tmp_path
):
    others = tiny_dataset.subset(range(6, 14)).with_split(["train"] * 8)
    run = train(
        others, "anemic", steps=1, seed=9, out=tmp_path / "run", **{**tiny_options, "shared_start": tiny_run.path}
    )
    generator, info = load_generator(run.path)
    ancestor, ancestor_info = load_generator(tiny_run.path)
    assert (info.images, info.patients) == (8, 4)
    assert set(info.trained_on_patients) == {patient_hash(f"tiny-{number}") for number in range(7)}
    assert len(info.trained_on_images) == 14
    # One step with an average that starts at the ancestor's weights moves them by no more than the learning rate.
    moved = max((a - b).abs().max() for a, b in zip(generator.parameters(), ancestor.parameters(), strict=True))
    assert 0 < moved < 1e-3


def test_starting_from_other_networks_is_refused(tiny_dataset, tiny_run, tiny_options, tmp_path):
    with pytest.raises(UserError, match="other networks"):
        train(
            tiny_dataset, "anemic", out=tmp_path / "run", **{**tiny_options, "shared_start": tiny_run.path, "size": 32}
        )
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="holds no generator"):
        train(tiny_dataset, "anemic", out=tmp_path / "other", **{**tiny_options, "shared_start": tmp_path / "folder"})
    assert not (tmp_path / "run").exists() and not (tmp_path / "other").exists()
