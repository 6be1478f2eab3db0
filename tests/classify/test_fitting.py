from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fundus_synth.classify import recording
from fundus_synth.classify.fitting import TrainingOptions, fit
from fundus_synth.classify.images import ImageSource
from fundus_synth.classify.supervised import SupervisedTraining, learning_rate
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.runs import RunFolder

OPTIONS = TrainingOptions(size=32, steps=12, batch_size=8, evaluate_every=4, augment="classical:odir", device="cpu")
CLASSES = ("normal", "anemic")


def toy(n: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in class 1 with a red square."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (n, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(n) % 2
    images[labels == 1, 8:24, 8:24, 0] += 100
    return images, labels


def run_fit(path: Path, options: TrainingOptions = OPTIONS, resume: bool = False, **more):
    images, labels = toy()
    run = RunFolder.open_or_create(path, {"test": True}, resume)
    fitted = fit(images, labels, CLASSES, options, validation=toy(20, 1), run=run, resume=resume, quiet=True, **more)
    return run, fitted


def _files(run: RunFolder) -> tuple[bytes, str]:
    return (run.checkpoints / "classifier.safetensors").read_bytes(), (run.path / "metrics.csv").read_text()


@pytest.mark.parametrize("keep", ["last", "best"])
@pytest.mark.parametrize("stop_at", [2, 5, 8, 11])
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, monkeypatch, stop_at, keep):
    torch.set_num_threads(1)
    options = replace(OPTIONS, keep=keep)
    whole, _ = run_fit(tmp_path / "whole", options)
    step = SupervisedTraining.training_step

    def killed(training, number):
        if number == stop_at:
            raise RuntimeError("the power went")
        return step(training, number)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(SupervisedTraining, "training_step", killed)
        run_fit(tmp_path / "broken", options)
    torch.manual_seed(99)  # whatever happened in between must not matter
    continued, _ = run_fit(tmp_path / "broken", options, resume=True)
    assert _files(continued) == _files(whole)


_CHILD = """
import sys, torch
sys.path.insert(0, sys.argv[1])
torch.set_num_threads(1)
from pathlib import Path
import test_fitting
test_fitting.run_fit(Path(sys.argv[2]), test_fitting.replace(test_fitting.OPTIONS, steps=400), resume=True)
"""


@pytest.mark.slow
def test_a_killed_process_continues_bit_for_bit(tmp_path):
    torch.set_num_threads(1)
    options = replace(OPTIONS, steps=400)
    whole, _ = run_fit(tmp_path / "whole", options)
    command = [sys.executable, "-c", _CHILD, str(Path(__file__).parent), str(tmp_path / "killed")]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    metrics = tmp_path / "killed" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) > 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(metrics.read_text().splitlines()) < 100
    continued, _ = run_fit(tmp_path / "killed", options, resume=True)
    assert _files(continued) == _files(whole)


def test_it_learns_and_says_so(tmp_path):
    options = replace(OPTIONS, steps=60, evaluate_every=20, augment="default")
    run, fitted = run_fit(tmp_path / "run", options)
    history = pd.read_csv(run.path / "metrics.csv")
    assert history["step"].tolist() == [20, 40, 60]
    assert history["epoch"].tolist() == pytest.approx([4, 8, 12])  # 8 images a step, 40 in all
    assert history["val_auroc"].iloc[-1] == 1 and history["train_loss"].iloc[-1] < 0.4
    assert not fitted.model.training and fitted.started_from == "random weights"


def test_best_keeps_the_best_and_last_the_last(tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.5] * 2)
    evaluate = recording.evaluate_step
    monkeypatch.setattr(recording, "evaluate_step", lambda *a: {**evaluate(*a), "val_macro_f1": next(scores)})
    two_thirds, _ = run_fit(tmp_path / "short", replace(OPTIONS, steps=8, schedule="constant"))
    next(scores)
    best, _ = run_fit(tmp_path / "best", replace(OPTIONS, keep="best", schedule="constant"))
    assert _files(best)[0] == _files(two_thirds)[0]


def test_the_learning_rate_falls_along_a_cosine():
    options = replace(OPTIONS, learning_rate=0.1, steps=100)
    assert [learning_rate(options, step) for step in (0, 50, 100)] == pytest.approx([0.1, 0.05, 0])
    assert learning_rate(options, 25) == pytest.approx(0.1 * (1 + 2**-0.5) / 2)
    assert learning_rate(replace(options, schedule="constant"), 99) == 0.1
    assert TrainingOptions().resolved_learning_rate == 1e-3
    assert TrainingOptions(weights="w").resolved_learning_rate == 3e-4


def test_seeds_differ_and_repeat(tmp_path):
    one, again, other = (
        _files(run_fit(tmp_path / name, replace(OPTIONS, steps=4, seed=seed))[0])[0]
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again and one != other


def test_images_in_several_arrays_train_like_one(tmp_path):
    images, labels = toy()
    parts = [ImageSource(images, rows=np.arange(15)), ImageSource(images[15:])]
    files = []
    for name, source in (("joined", images), ("parts", parts)):
        run = RunFolder.open_or_create(tmp_path / name, {}, False)
        fit(source, labels, CLASSES, replace(OPTIONS, steps=4), validation=toy(20, 1), run=run, quiet=True)
        files.append(_files(run)[0])
    assert files[0] == files[1]


def test_a_loss_that_explodes_is_told(tmp_path):
    options = replace(OPTIONS, learning_rate=1e30, optimizer="sgd", augment="default")
    with pytest.raises(JobError, match="learning-rate"):
        run_fit(tmp_path / "run", options)


def test_bf16_runs_on_a_cpu(tmp_path):
    _, fitted = run_fit(tmp_path / "run", replace(OPTIONS, steps=4, precision="bf16"))
    assert np.isfinite(fitted.history["train_loss"]).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"optimizer": "lion"}, "adamw"),
        ({"schedule": "step"}, "cosine"),
        ({"keep": "all"}, "best"),
        ({"steps": 0}, "at least 1"),
        ({"batch_size": 1}, "at least 2"),  # batch normalisation needs two
        ({"sampling": "odd"}, "natural"),
    ],
)
def test_options_that_cannot_be(options, told):
    with pytest.raises(UserError, match=told):
        TrainingOptions(**options)


def test_data_that_does_not_fit(tmp_path):
    images, labels = toy()
    run = RunFolder.open_or_create(tmp_path / "run", {}, False)
    more = {"validation": (images, labels), "run": run, "quiet": True}
    with pytest.raises(ValueError, match="labels"):
        fit(images, labels[:-1], CLASSES, OPTIONS, **more)
    with pytest.raises(ValueError, match="32 pixels"):
        fit(images, labels, CLASSES, replace(OPTIONS, size=64), **more)
    with pytest.raises(UserError, match="glaucoma"):
        fit(images, labels, (*CLASSES, "glaucoma"), OPTIONS, **more)


def test_a_resume_state_that_is_not_ours(tmp_path):
    run, _ = run_fit(tmp_path / "run", replace(OPTIONS, steps=4))
    (run.checkpoints / "resume.pt").write_bytes(b"not a state")
    with pytest.raises(UserError, match="resume"):
        run_fit(tmp_path / "run", resume=True)


@pytest.mark.parametrize("augment", ["classical:anemia", "classical:odir"])
def test_discs_reach_study_a_s_arm_and_no_other(tmp_path, augment):
    images, labels = toy()
    discs, options = np.tile([0.92, 0.5, 0.06], (len(images), 1)), replace(OPTIONS, steps=4, augment=augment)
    files = []
    for name, known in (("known", discs), ("unknown", None)):
        run = RunFolder.open_or_create(tmp_path / name, {}, False)
        source = ImageSource(images, discs=known)
        fit(source, labels, CLASSES, options, validation=toy(20, 1), run=run, quiet=True)
        files.append(_files(run)[0])
    assert (files[0] == files[1]) == (augment == "classical:odir")


def test_discs_that_are_not_known_are_told_once(tmp_path, capsys):
    run = RunFolder.open_or_create(tmp_path / "run", {}, False)
    options = replace(OPTIONS, steps=4, augment="classical:anemia")
    fit(*toy(), CLASSES, options, validation=toy(20, 1), run=run)
    assert capsys.readouterr().err.count("optic disc of 40 of 40") == 1
