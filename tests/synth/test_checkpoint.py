import json
import os
import pickle
import shutil

import pytest
import safetensors.torch
import torch

from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.checkpoint import DESCRIPTION, WEIGHTS, GeneratorInfo, load_generator, save_generator
from fundus_synth.synth.networks.dcgan import Generator


@pytest.fixture
def saved(tmp_path):
    """A folder with a saved generator."""
    torch.manual_seed(0)
    generator = Generator(16, latent=5, width=2)
    info = GeneratorInfo(
        label="anemic", architecture=generator.architecture, dataset={"name": "d", "licence": "l", "fingerprint": "f"},
        images=10, patients=5, trained_on_patients=["a"], trained_on_images=["b"], steps=7, seed=0, recipe={},
        toolkit="fundus-synth 0",
    )  # fmt: skip
    save_generator(tmp_path / "generator", generator, info)
    return tmp_path / "generator"


def edit(folder, **changes):
    path = folder / DESCRIPTION
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_weights(folder, content: bytes):
    """Other weights whose digest is in generator.json, as someone handing out a foreign file would do."""
    (folder / WEIGHTS).write_bytes(content)
    edit(folder, weights_sha256=sha256_file(folder / WEIGHTS))


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_saved_and_loaded_generators_agree(saved):
    torch.manual_seed(0)
    original = Generator(16, latent=5, width=2).eval()
    loaded, info = load_generator(saved)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    latents = torch.randn(4, 5)
    assert torch.equal(loaded(latents), original(latents))
    assert info.steps == 7 and info.weights_sha256 == sha256_file(saved / WEIGHTS)


def test_a_run_folder_is_found_too(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run" / "checkpoints")
    assert load_generator(tmp_path / "run")[1] == load_generator(saved)[1]


def test_folders_without_a_generator(tmp_path):
    with pytest.raises(UserError, match="no such folder") as error:
        load_generator(tmp_path / "nowhere")
    one_line(error)
    with pytest.raises(UserError, match="generator.json is missing"):
        load_generator(tmp_path)


def test_missing_weights(saved):
    (saved / WEIGHTS).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        load_generator(saved)


def test_weights_of_another_description(saved):
    with open(saved / WEIGHTS, "ab") as stream:
        stream.write(b"\0")
    with pytest.raises(UserError, match="does not belong.*--resume"):
        load_generator(saved)


class Explosive:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, os.urandom(1000), pickle.dumps(Explosive()), safetensors.torch.save({})[:4]],
    ids=["empty", "zeros", "random", "pickle", "cut"],
)
def test_bytes_that_are_not_safetensors(saved, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace_weights(saved, content)
    with pytest.raises(UserError, match="not a safetensors file") as error:
        load_generator(saved)
    one_line(error)
    assert not (tmp_path / "exploded").exists()


def test_a_pickled_torch_file_is_refused(saved, tmp_path):
    torch.save(Generator(16, latent=5, width=2).state_dict(), tmp_path / "weights.pt")
    replace_weights(saved, (tmp_path / "weights.pt").read_bytes())
    with pytest.raises(UserError, match="not a safetensors file"):
        load_generator(saved)


@pytest.mark.parametrize(
    "state",
    [{}, {"other": torch.zeros(3)}, Generator(16, latent=5, width=3).state_dict()],
    ids=["nothing", "other names", "other shapes"],
)
def test_weights_of_another_network(saved, state):
    replace_weights(saved, safetensors.torch.save(state))
    with pytest.raises(UserError, match="not the network of generator.json") as error:
        load_generator(saved)
    one_line(error)


@pytest.mark.parametrize(
    "architecture",
    [{}, {"model": "gpt"}, {"model": ["dcgan"]}, {"model": "dcgan", "depth": 3}, {"model": "dcgan", "size": 17},
     {"model": "dcgan", "size": "64"}, {"model": "dcgan", "size": 64, "latent": 5, "width": 10**7},
     {"model": "dcgan", "size": 16, "latent": -5, "width": 2}],
)  # fmt: skip
def test_descriptions_of_impossible_networks(saved, architecture):
    edit(saved, architecture=architecture)
    with pytest.raises(UserError, match="not the network of generator.json") as error:
        load_generator(saved)
    one_line(error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"format": "else"}, "not a generator's description"), ({"steps": "many"}, "steps is 'many'; expected int"),
     ({"trained_on_patients": None}, "trained_on_patients"), ({"label": 3}, "label")],
)  # fmt: skip
def test_descriptions_that_are_not_ours(saved, changes, message):
    edit(saved, **changes)
    with pytest.raises(UserError, match=message):
        load_generator(saved)


def test_a_description_that_is_not_json(saved):
    (saved / DESCRIPTION).write_bytes(os.urandom(200))
    with pytest.raises(UserError, match="not JSON") as error:
        load_generator(saved)
    one_line(error)
