"""Two phases, schedules, early stopping, smoothing, mixup, class weights, averages: each alone, and continued bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fundus_synth.classify import recording
from fundus_synth.classify import train as command
from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.fitting import TrainingOptions, fit
from fundus_synth.classify.images import ImageSource
from fundus_synth.classify.recording import Watch
from fundus_synth.classify.supervised import SupervisedTraining, learning_rate
from fundus_synth.classify.tasks import ONE_CLASS
from fundus_synth.runtime.errors import JobError, UserError
from fundus_synth.runtime.runs import RunFolder

OPTIONS = TrainingOptions(size=32, steps=6, batch_size=8, evaluate_every=2, device="cpu")
CLASSES = ("normal", "anemic")


def toy(n: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise, in class 1 with a red square."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (n, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(n) % 2
    images[labels == 1, 8:24, 8:24, 0] += 100
    return images, labels


def run_fit(path: Path, options: TrainingOptions, resume: bool = False):
    images, labels = toy()
    run = RunFolder.open_or_create(path, {}, resume)
    return run, fit(images, labels, CLASSES, options, validation=toy(8, 1), run=run, resume=resume, quiet=True)


def files(run: RunFolder) -> tuple[bytes, str]:
    return (run.checkpoints / "classifier.safetensors").read_bytes(), (run.path / "metrics.csv").read_text()


def scripted(monkeypatch, name: str, values: list[float]) -> None:
    """Let the evaluations say `values` for the metric `name`, one after the other, beginning again with a new call."""
    evaluate = recording.evaluate_step

    def told(training, *rest):
        row = evaluate(training, *rest)
        return {**row, name: values[training.steps_done // training.options.evaluate_every - 1]}

    monkeypatch.setattr(recording, "evaluate_step", told)


@pytest.mark.parametrize("stop_at", [3, 5])
@pytest.mark.parametrize(
    "more",
    [
        {"backbone": "resnet10t", "freeze_steps": 3, "backbone_rate": 0.1},
        {"schedule": "plateau", "optimizer": "sgd", "evaluate_every": 1, "steps": 7},
        {"mixup": 0.4, "label_smoothing": 0.1, "average_steps": 3, "sampling": "natural", "class_weights": True},
    ],
    ids=["two phases", "plateau", "mixup and average"],
)
def test_an_interrupted_run_continues_bit_for_bit(tmp_path, monkeypatch, stop_at, more):
    torch.set_num_threads(1)
    options = replace(OPTIONS, **more)
    if options.schedule == "plateau":
        scripted(monkeypatch, "val_log_loss", [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6])
    whole, _ = run_fit(tmp_path / "whole", options)
    step = SupervisedTraining.training_step

    def killed(training, number):
        if number == stop_at:
            raise RuntimeError("the power went")
        return step(training, number)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="power"):
        patch.setattr(SupervisedTraining, "training_step", killed)
        run_fit(tmp_path / "broken", options)
    torch.manual_seed(99)
    continued, _ = run_fit(tmp_path / "broken", options, resume=True)
    assert files(continued) == files(whole)


def test_a_frozen_backbone_does_not_move_and_then_it_does(tmp_path):
    torch.manual_seed(OPTIONS.seed)
    start = create_backbone("resnet10t", 2, 32)
    head = {f"fc.{name}" for name, _ in start.network.fc.named_parameters()}
    options = replace(OPTIONS, backbone="resnet10t", freeze_steps=4, steps=4, learning_rate=0.1)
    for name, steps, freed in (("frozen", 4, False), ("freed", 5, True)):
        end = run_fit(tmp_path / name, replace(options, steps=steps, schedule="constant"))[1].model.network.state_dict()
        moved = {key for key, value in start.network.state_dict().items() if not torch.equal(value, end[key])}
        assert head <= moved
        assert ("conv1.0.weight" in moved) == freed and ("bn1.running_mean" in moved) == freed
        assert freed or moved == head


def test_a_frozen_backbone_asks_for_no_gradients_and_the_head_for_its_own():
    training = SupervisedTraining(
        create_backbone("resnet10t", 2, 32), ImageSource(toy()[0]), toy()[1], replace(OPTIONS, freeze_steps=2)
    )
    for step, frozen in ((0, True), (1, True), (2, False)):
        training._set_modes(step)
        network = training.model.network
        assert network.fc.weight.requires_grad and network.fc.training
        assert network.conv1[0].weight.requires_grad != frozen and network.bn1.training != frozen


def test_the_backbone_learns_at_its_share_of_the_rate(tmp_path):
    """Under plain SGD without decay the first step is the rate times the gradient."""
    moved = {}
    for share in (1.0, 0.25):
        torch.manual_seed(OPTIONS.seed)
        start = create_backbone("resnet10t", 2, 32).network.state_dict()
        how = {"optimizer": "sgd", "weight_decay": 0.0, "steps": 1, "learning_rate": 0.1, "backbone_rate": share}
        end = run_fit(tmp_path / str(share), replace(OPTIONS, backbone="resnet10t", **how))[
            1
        ].model.network.state_dict()
        moved[share] = {name: end[name] - start[name] for name in ("conv1.0.weight", "fc.weight")}
    torch.testing.assert_close(moved[0.25]["fc.weight"], moved[1.0]["fc.weight"])
    close = {"rtol": 1e-3, "atol": 1e-6}
    torch.testing.assert_close(moved[0.25]["conv1.0.weight"], moved[1.0]["conv1.0.weight"] * 0.25, **close)
    assert moved[1.0]["conv1.0.weight"].abs().max() > 1e-4


def test_a_plateau_halves_the_rate():
    watch, halvings = Watch(), []
    for loss in (0.9, 0.8, 0.8, 0.85, 0.81, 0.7, 0.7, 0.7, 0.7, 0.9, 0.9, 0.9):
        watch.see({"val_macro_f1": 0.5, "val_log_loss": loss}, frozen=False)
        halvings.append(watch.halvings)
    assert halvings == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3]
    options = replace(OPTIONS, schedule="plateau", learning_rate=0.8)
    assert [learning_rate(options, 5, number) for number in (0, 1, 3)] == pytest.approx([0.8, 0.4, 0.1])


def test_a_halved_rate_is_used(tmp_path, monkeypatch):
    """One step after the halving moves the weights half as far as one without it."""
    how = {"schedule": "plateau", "optimizer": "sgd", "evaluate_every": 1, "weight_decay": 0.0, "learning_rate": 1e-3}
    ends = {}
    for name, losses in (("falls", [0.5, 0.4, 0.3, 0.2, 0.1]), ("stays", [0.5] * 5)):
        for steps in (4, 5):
            with monkeypatch.context() as patch:
                scripted(patch, "val_log_loss", losses)
                _, fitted = run_fit(tmp_path / f"{name}{steps}", replace(OPTIONS, steps=steps, **how))
            ends[name, steps] = fitted.model.network.head.weight.detach()
    whole, half = (ends[name, 5] - ends[name, 4] for name in ("falls", "stays"))
    torch.testing.assert_close(ends["falls", 4], ends["stays", 4])
    torch.testing.assert_close(half, whole / 2, rtol=1e-2, atol=1e-8)


def test_patience_runs_out_and_stays_out(tmp_path, monkeypatch):
    scripted(monkeypatch, "val_macro_f1", [0.5, 0.7, 0.6, 0.7, 0.9, 0.9, 0.9, 0.9])
    options = replace(OPTIONS, steps=8, evaluate_every=1, patience=2, keep="best")
    run, fitted = run_fit(tmp_path / "run", options)
    assert fitted.history["step"].tolist() == [1, 2, 3, 4]  # the fourth is as good as the second, not better
    before = files(run)
    again, _ = run_fit(tmp_path / "run", replace(options, steps=20), resume=True)
    assert files(again) == before
    for number, more in enumerate(({"patience": 3}, {"patience": 2, "freeze_steps": 4})):
        _, fitted = run_fit(tmp_path / f"run{number}", replace(options, **more))
        assert fitted.history["step"].tolist() == list(range(1, 9))[: 8 if more["patience"] == 3 else 7]


def _training(**more) -> SupervisedTraining:
    torch.manual_seed(0)
    images, labels = toy()
    return SupervisedTraining(
        create_backbone("simple_cnn", 2, 32), ImageSource(images), labels, replace(OPTIONS, **more)
    )


def test_smoothing_and_class_weights_by_hand():
    logits, truth = torch.tensor([[2.0, 0.0], [0.5, 1.0]]), torch.tensor([0, 1])
    log = torch.log_softmax(logits, 1)
    own, spread = -(log[0, 0] + log[1, 1]) / 2, -log.mean(dim=1).mean()
    torch.testing.assert_close(_training(label_smoothing=0.2)._loss(logits, truth), 0.8 * own + 0.2 * spread)
    training = _training(class_weights=True, sampling="natural")
    training.class_weights = ONE_CLASS.weights(np.array([0, 0, 0, 1]), 2)
    np.testing.assert_allclose(training.class_weights.numpy(), [4 / 6, 2])
    expected = -(log[0, 0] * 4 / 6 + log[1, 1] * 2) / (4 / 6 + 2)
    torch.testing.assert_close(training._loss(logits, truth), expected)


def test_mixup_is_the_cross_entropy_of_blended_labels():
    training = _training(mixup=1.0)
    images, truth = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 1, 0, 1, 0])
    seen = []
    training.model.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    training.model.eval()
    losses = [training._mixed_loss(images, truth, seed) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    random = np.random.default_rng(1)
    share, partners = random.beta(1.0, 1.0), random.permutation(6)
    torch.testing.assert_close(seen[0][0], share * images + (1 - share) * images[partners])
    labels = functional.one_hot(truth, 2).float()
    soft = share * labels + (1 - share) * labels[partners]
    torch.testing.assert_close(losses[0], functional.cross_entropy(seen[0][1], soft))


def test_mixup_reaches_the_step(tmp_path):
    plain, mixed = (run_fit(tmp_path / str(a), replace(OPTIONS, steps=2, mixup=a))[1] for a in (0.0, 1.0))
    assert plain.history["train_loss"].iloc[0] != mixed.history["train_loss"].iloc[0]


def test_the_kept_weights_are_the_average(tmp_path, monkeypatch):
    """Averaged by hand beside the training: shares of each step's weights."""
    weights, step = [], SupervisedTraining.optimizer_step

    def watched(training, *args, **more):
        if not weights:
            weights.append(training.model.network.head.weight.detach().clone())
        step(training, *args, **more)
        weights.append(training.model.network.head.weight.detach().clone())

    monkeypatch.setattr(SupervisedTraining, "optimizer_step", watched)
    _, fitted = run_fit(tmp_path / "run", replace(OPTIONS, average_steps=2, learning_rate=0.01))
    average = weights[0]
    for number, new in enumerate(weights[1:], start=1):
        decay = min(0.5**0.5, number / (9 + number))
        average = decay * average + (1 - decay) * new
    torch.testing.assert_close(fitted.model.network.head.weight.detach(), average)
    assert not torch.allclose(average, weights[-1])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"schedule": "step"}, "plateau"),
        ({"backbone_rate": 0.0}, "above 0"),
        ({"backbone_rate": 2.0}, "up to 1"),
        ({"patience": -1}, "patience is -1"),
        ({"freeze_steps": -1}, "freeze_steps"),
        ({"mixup": float("nan")}, "mixup"),
        ({"mixup": float("inf")}, "mixup"),
        ({"label_smoothing": 1.0}, "below 1"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"average_steps": -2}, "average_steps"),
        ({"class_weights": True}, "natural"),
    ],
)
def test_recipes_that_cannot_be(options, told):
    with pytest.raises(UserError, match=told):
        TrainingOptions(**options)


@pytest.mark.parametrize("length", [{"epochs": 4}, {"steps": 30}])
def test_the_command_s_options_reach_the_training(toy_path, tmp_path, monkeypatch, length):
    """96 images in batches of 10 are 10 steps an epoch."""
    asked = []

    def stopped(images, labels, classes, options, **more):
        asked.append(options)
        raise JobError("enough")

    monkeypatch.setattr(command, "fit", stopped)
    told = {
        "head": "dense", "optimizer": "sgd", "weight_decay": 0.5, "schedule": "plateau", "patience": 7, "backbone_rate": 0.2,
        "label_smoothing": 0.3, "mixup": 0.6, "class_weights": True, "sampling": "natural",
    }  # fmt: skip
    with pytest.raises(JobError, match="enough"):
        command.train(
            toy_path, size=32, batch_size=10, out=tmp_path / "run", device="cpu", quiet=True, frozen_epochs=2, average=9,
            **told, **length,
        )  # fmt: skip
    (options,) = asked
    assert {name: getattr(options, name) for name in told} == told
    assert options.freeze_steps == 20 and options.average_steps == 9 and options.steps == length.get("steps", 40)
