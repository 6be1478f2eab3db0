import shutil

import numpy as np
import pytest
import torch

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.checkpoint import load_generator, read_info
from fundus_synth.synth.held_back import ALL_CLASSES
from fundus_synth.synth.sampling import sample
from fundus_synth.synth.train import train
from fundus_synth.synth.training_state import read_training

OPTIONS = {
    "model": "light",
    "size": 16,
    "batch_size": 4,
    "device": "cpu",
    "precision": "32",
    "quiet": True,
    "hold_back": 0,
}


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory) -> FundusDataset:
    """12 red eyes of 6 patients, 12 green ones of 6 others, 2 with several labels."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("datasets") / "colours"
    with DatasetWriter(path, {"name": "colours", "licence": "CC0-1.0"}) as writer:
        for index in range(26):
            label = ("red", "green", "")[index // 12]
            image = random.integers(0, 60, (16, 16, 3), dtype=np.uint8)
            image[..., {"red": 0, "green": 1, "": 2}[label]] += 150
            writer.add({"file_name": f"images/{index}.png", "patient_id": f"p{index // 2}", "label": label}, image)
    return FundusDataset.open(path)


@pytest.fixture(scope="module")
def shared(two_classes, tmp_path_factory):
    """A shared start of 60 steps."""
    return train(two_classes, ALL_CLASSES, steps=60, out=tmp_path_factory.mktemp("runs") / "shared", **OPTIONS)


def weights(run):
    return sha256_file(run.path / "checkpoints" / "generator.safetensors")


def test_a_shared_start_learns_every_class_by_its_number(shared):
    generator, info = load_generator(shared.path)
    assert info.recipe["classes"] == ["", "green", "red"] and info.architecture["classes"] == 3
    seeds = list(range(16))
    colours = [sample(generator, seeds, classes=torch.full((16,), k)).mean((0, 1, 2)) for k in range(3)]
    assert colours[1][1] > colours[2][1] and colours[2][0] > colours[1][0]  # green is greener, red is redder


def test_training_a_class_begins_with_a_shared_start_of_its_own(two_classes, tmp_path):
    run = train(two_classes, "red", steps=2, out=tmp_path / "run", **OPTIONS)
    generator, info = load_generator(run.path)
    assert info.architecture["classes"] == 1 and info.images == 12
    # The shared start has seen everybody, and so has what began with it.
    assert set(info.trained_on_patients) == {patient_hash(f"p{number}") for number in range(13)}
    assert read_info(run.path / "shared" / "checkpoints" / "generator.json").steps == 8  # 2 of 2000 are as 8 of 8000
    assert (run.path / "shared" / "finished.json").exists() and (run.path / "report.html").exists()


def test_a_class_starts_as_that_class_of_the_shared_start(two_classes, shared, tmp_path):
    run = train(two_classes, "green", steps=1, shared_start=shared.path, out=tmp_path / "run", **OPTIONS)
    one, _ = load_generator(run.path)
    several, _ = load_generator(shared.path)
    seeds = list(range(16))
    asked = sample(several, seeds, classes=torch.full((16,), 1)).astype(int)
    assert np.abs(sample(one, seeds).astype(int) - asked).mean() < 2
    other = sample(several, seeds, classes=torch.full((16,), 2)).astype(int)
    assert np.abs(sample(one, seeds).astype(int) - other).mean() > 5


def test_it_can_go_on_from_another_class_and_refuses_a_class_that_was_not_learnt(two_classes, shared, tmp_path):
    red = train(two_classes, "red", steps=1, shared_start=shared.path, out=tmp_path / "red", **OPTIONS)
    train(two_classes, "green", steps=1, shared_start=red.path, out=tmp_path / "green", **OPTIONS)
    table = two_classes.table.replace({"label": {"red": "amd"}})
    renamed = FundusDataset(two_classes.path, two_classes.info, table)
    with pytest.raises(UserError, match="has not learnt 'amd'; it knows green, red"):
        train(renamed, "amd", steps=1, shared_start=shared.path, out=tmp_path / "amd", **OPTIONS)


def test_resuming_ends_with_the_same_bytes_also_within_the_shared_start(two_classes, tmp_path):
    options = {**OPTIONS, "save_every": 2, "measure_every": 2}
    whole = train(two_classes, "red", steps=4, out=tmp_path / "whole", **options)
    # What a kill leaves behind: a shared start that is not finished, and nothing of the class.
    run = tmp_path / "killed"
    train(two_classes, "red", steps=2, out=run, **options)
    (run / "shared" / "finished.json").unlink()
    (run / "checkpoints" / "state.pt").unlink()
    resumed = train(two_classes, "red", steps=4, out=run, resume=True, **options)
    assert weights(resumed) == weights(whole)


def test_the_frozen_network_is_not_part_of_the_state_and_a_start_through_another_one_is_refused(
    two_classes, shared, tmp_path
):
    state = read_training(shared.path)["networks"]
    assert not [name for name in state if "projection" in name or "stages" in name]
    assert read_info(shared.path / "checkpoints" / "generator.json").recipe["projection"] == "landmarks"
    description = shared.path / "checkpoints" / "generator.json"
    other = tmp_path / "other"
    shutil.copytree(shared.path, other)
    changed = description.read_text().replace('"projection": "landmarks"', '"projection": "timm:resnet18 0123"')
    (other / "checkpoints" / "generator.json").write_text(changed)
    with pytest.raises(UserError, match="learnt through timm:resnet18 0123; this training looks through landmarks"):
        train(two_classes, "red", steps=1, shared_start=other, out=tmp_path / "run", **OPTIONS)


def test_the_watchdog_s_disguise_and_pace_are_part_of_the_state(shared):
    networks = read_training(shared.path)["networks"]
    assert networks["disguise"] == 0 and networks["pace"] == 1
