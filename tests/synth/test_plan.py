"""Plans on counts that are known, with a clock that is known; and that the real clock times real steps."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.workers import available_cores
from fundus_synth.synth.models import MODELS
from fundus_synth.synth.plan import DO_NOT, NOT_NEEDED, TRAIN, plan
from fundus_synth.synth.step_cost import StepCost, time_steps

GIGABYTE = 10**9


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> FundusDataset:
    """120 normal eyes, 60 of 60 patients with amd, 48 of 24 patients with anaemia, 5 others; 16 px; no split."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("plan") / "set"
    eyes = [("normal", f"n{i}") for i in range(120)] + [("amd", f"a{i}") for i in range(60)]
    eyes += [("anemic", f"h{i // 2}") for i in range(48)] + [("[odd]", f"o{i}") for i in range(5)]
    with DatasetWriter(path, {"name": "set"}) as writer:
        for i, (label, patient) in enumerate(eyes):
            row = {"file_name": f"images/{i}.png", "patient_id": patient, "label": label}
            writer.add(row, random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return FundusDataset.open(path)


def clock(asked: list | None = None):
    """A model takes 0.03 s a step, 2 GB of memory and 0.1 GB of disk."""

    def time_model(dataset, label, model, size, *, projection, projection_weights, device, precision):
        if asked is not None:
            asked.append((model, label, size))
        return StepCost(model, 32, 0.03, 2 * GIGABYTE, GIGABYTE // 10)

    return time_model


def test_each_class_gets_its_advice(dataset):
    asked = []
    made = plan(dataset, size=16, models=["light", "dcgan"], device="cpu", time_model=clock(asked))
    one = {row.label: row for row in made.classes}
    assert {label: row.advice for label, row in one.items()} == {
        "normal": NOT_NEEDED, "amd": TRAIN, "anemic": DO_NOT, "[odd]": DO_NOT,
    }  # fmt: skip
    held_back = one["amd"].held_out
    assert 8 <= held_back and one["amd"].images == one["amd"].patients == 60 - held_back
    assert made.fill_to == one["normal"].images and one["amd"].missing == made.fill_to - one["amd"].images
    assert "24 patients" in one["anemic"].why or "patients expect their eyes again" in one["anemic"].why
    assert one["[odd]"].why == "5 images are too few to train on; 8 is the least"
    assert [model for model, _, _ in asked] == ["light", "dcgan"] and {size for _, _, size in asked} == {16}


@pytest.mark.parametrize(("weights", "advised"), [(None, "dcgan"), ("backbone.safetensors", "light")])
def test_the_advised_model_is_the_one_that_train_would_take(dataset, weights, advised):
    asked = []
    made = plan(dataset, size=16, projection_weights=weights, device="cpu", time_model=clock(asked))
    assert {row.model for row in made.classes if row.advice == TRAIN} == {advised}
    assert asked[0][0] == advised and sorted(model for model, _, _ in asked) == sorted(MODELS)


def test_the_shared_start_is_counted_once(dataset):
    made = plan(dataset, size=16, fill_to=200, models=["light"], device="cpu", time_model=clock())
    model = MODELS["light"]
    trained = [row for row in made.classes if row.advice == TRAIN]
    assert [row.label for row in trained] == ["normal", "amd"]
    assert made.shared_minutes == pytest.approx(0.03 * model.shared_steps / 60)
    assert made.minutes == pytest.approx(0.03 * (model.shared_steps + 2 * model.steps) / 60)
    assert made.memory == 2 * GIGABYTE
    pictures = made.disk - 3 * GIGABYTE // 10
    assert 0 < pictures < sum(row.missing for row in trained) * 2000, "PNG of 16 x 16 x 3 bytes of noise"
    alone = plan(dataset, size=16, fill_to=200, models=["cyclegan"], device="cpu", time_model=clock())
    assert alone.shared_minutes == 0 and alone.minutes == pytest.approx(2 * 0.03 * MODELS["cyclegan"].steps_alone / 60)


def test_nothing_to_do(dataset):
    made = plan(dataset, size=16, fill_to=2, models=["light"], device="cpu", time_model=clock())
    assert {row.advice for row in made.classes} == {NOT_NEEDED}
    assert (made.minutes, made.disk, made.memory) == (0, 0, 0)
    assert made.lines() == [
        "nothing to train for 2 images a class at 16 px",
        "normal, amd, anemic, [odd]: not needed; it has 2 images or more",
    ]


def test_a_split_decides_what_is_learnt_from(dataset):
    split = ["test" if i % 3 == 0 else "val" if i % 3 == 1 else "train" for i in range(180)] + ["train"] * 53
    made = plan(dataset.with_split(split), size=16, models=["light"], device="cpu", time_model=clock())
    normal = made.classes[0]
    assert (normal.label, normal.images, normal.patients, normal.held_out) == ("normal", 40, 40, 80)


def test_what_is_printed(dataset):
    from rich.console import Console

    made = plan(dataset, size=16, fill_to=200, models=["light"], device="cpu", time_model=clock())
    assert json.loads(json.dumps(made.summary()))["classes"][0]["label"] == "normal"
    page = Console(file=io.StringIO(), width=80)
    page.print(*made.tables())
    text = page.file.getvalue()
    for words in ("[odd]", "do not", "train light", "30", "1066.7", "2.0 GB"):
        assert words in text
    assert "…" not in text and len(text.splitlines()) == 2 + len(made.classes) + 1, "one line a class in 80 columns"
    assert "for the shared start, once" in made.lines()[0] and "2.0 GB" in made.lines()[1]
    assert "normal, amd: train; begins with what all classes taught" in made.lines()
    ratios = [f"{row.label} {row.missing / row.images:.1f}" for row in made.classes if row.model]
    assert f"generated for each real one: {', '.join(ratios)}" in made.lines() and len(ratios) == 2


@pytest.mark.parametrize(("load", "busy"), [(0.1, False), (9.0, True)])
def test_a_busy_machine_is_mentioned(dataset, monkeypatch, load, busy):
    cores = available_cores()
    monkeypatch.setattr("os.getloadavg", lambda: (load * cores, 0, 0), raising=False)
    made = plan(dataset, size=16, fill_to=200, models=["light"], device="cpu", time_model=clock())
    assert made.load == pytest.approx(load) and any("quiet machine" in line for line in made.lines()) == busy


def test_bad_requests(dataset, tmp_path):
    for options, message in (
        ({"fill_to": 0}, "--fill-to is 0"),
        ({"models": ["nothing"]}, "--model nothing"),
    ):
        with pytest.raises(UserError, match=message):
            plan(dataset, size=16, device="cpu", **options)
    unlabelled = FundusDataset(dataset.path, dataset.info, dataset.table.assign(label=""))
    with pytest.raises(UserError, match="no labels"):
        plan(unlabelled, size=16)


@pytest.mark.parametrize("model", ["light", "dcgan"])
def test_the_clock_times_real_steps(dataset, model, monkeypatch):
    made = []
    make = MODELS[model].make

    def spied(wanted):
        made.append(make(wanted))
        return made[-1]

    monkeypatch.setitem(MODELS, model, type(MODELS[model])(**{**vars(MODELS[model]), "make": spied}))
    cost = time_steps(dataset, "amd", model, 16, batch_size=4, device="cpu", precision="32")
    assert made[0].steps_done == 18 and len(made[0].images) == (64 if MODELS[model].shares_start else 60)
    assert 0 < cost.seconds < 60 and cost.images_per_second == pytest.approx(4 / cost.seconds)
    weights = sum(p.nbytes for p in made[0].generator.parameters()) + sum(
        p.nbytes for p in made[0].discriminator.parameters()
    )
    # Both networks, their moments, and the average, twice; and the average once more.
    assert 6 * weights < cost.disk < 10 * weights and cost.memory > 10**7


def test_every_model_can_be_timed(dataset):
    cost = time_steps(dataset, "amd", "cyclegan", 16, batch_size=2, device="cpu", precision="32")
    assert cost.model == "cyclegan" and 0 < cost.seconds < 60


def test_the_network_that_a_light_generator_is_judged_through_is_timed_with_it(dataset, tmp_path):
    with pytest.raises(UserError, match=r"missing\.safetensors"):
        time_steps(dataset, "amd", "light", 16, projection_weights=str(tmp_path / "missing.safetensors"), device="cpu")
