import json
import shutil

import numpy as np
import pytest
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.checkpoint import load_generator
from fundus_synth.synth.generate import generate
from fundus_synth.synth.sampling import latent_of, sample
from fundus_synth.version import __version__


def digests(dataset):
    return [sha256_file(dataset.image_path(index)) for index in range(len(dataset))]


def test_images_do_not_depend_on_batch_size_or_count(tiny_run, tmp_path):
    large = generate(tiny_run.path, 40, tmp_path / "large", seed=3, batch_size=64, quiet=True)
    small = generate(tiny_run.path, 21, tmp_path / "small", seed=3, batch_size=1, quiet=True)
    assert digests(large)[:21] == digests(small)
    assert len(set(digests(large))) == 40
    other = generate(tiny_run.path, 40, tmp_path / "other", seed=4, quiet=True)
    assert not set(digests(other)) & set(digests(large))


def test_a_row_s_seed_makes_its_image_again(tiny_run, tmp_path):
    dataset = generate(tiny_run.path, 5, tmp_path / "out", quiet=True)
    generator, _ = load_generator(tiny_run.path)
    again = sample(generator, [int(dataset.table["seed"][3])])
    assert np.array_equal(again[0], dataset.read(3))


def test_latents_are_standard_normal_and_independent():
    latents = np.stack([latent_of(seed, 100).numpy() for seed in range(400)])
    assert abs(latents.mean()) < 0.02 and abs(latents.std() - 1) < 0.02
    neighbours = np.corrcoef(latents[:-1].ravel(), latents[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_what_a_generated_dataset_says(tiny_dataset, tiny_run, tmp_path):
    dataset = generate(tiny_run.path, 3, tmp_path / "out", quiet=True)
    _, info = load_generator(tiny_run.path)
    assert dataset.class_counts() == {"anemic": 3}
    row = dataset.table.iloc[1]
    assert row["synthetic"] == "true" and row["source"] == "synthetic:tiny set"
    assert row["generator"] == info.name == f"dcgan-16-anemic-{info.weights_sha256[:12]}"
    assert dataset.patients == []
    said = json.loads((dataset.path / "dataset.json").read_text())
    assert set(said["trained_on_patients"]) == {patient_hash(f"tiny-{number}") for number in range(5)}
    assert said["parent"]["fingerprint"] == tiny_dataset.fingerprint
    assert said["licence"] == "CC0-1.0"


def test_every_png_says_that_it_is_synthetic(tiny_run, tmp_path):
    dataset = generate(tiny_run.path, 2, tmp_path / "out", quiet=True)
    with Image.open(dataset.image_path(1)) as image:
        assert image.size == (16, 16) and image.mode == "RGB"
        assert image.text == {
            "Software": f"fundus-synth {__version__}",
            "Description": "Synthetic fundus image, not a photograph of a patient",
            "fundus-synth:generator": dataset.table["generator"][1],
            "fundus-synth:seed": dataset.table["seed"][1],
            "fundus-synth:class": "anemic",
        }


def test_generating_refuses_bad_counts_and_existing_folders(tiny_run, tmp_path):
    with pytest.raises(UserError, match="--count is 0"):
        generate(tiny_run.path, 0, tmp_path / "out", quiet=True)
    generate(tiny_run.path, 1, tmp_path / "out", quiet=True)
    with pytest.raises(UserError, match="already exists"):
        generate(tiny_run.path, 1, tmp_path / "out", quiet=True)
    assert len(FundusDataset.open(tmp_path / "out")) == 1


def test_a_foreign_class_name_cannot_leave_the_folder(tiny_run, tmp_path):
    shutil.copytree(tiny_run.checkpoints, tmp_path / "foreign")
    path = tmp_path / "foreign" / "generator.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "label": "../../home", "dataset": {}}))
    dataset = generate(tmp_path / "foreign", 1, tmp_path / "out", quiet=True)
    assert dataset.table["file_name"][0] == "images/-home_000000.png"
    assert dataset.table["label"][0] == "../../home"
