"""stress and card, how robust a classifier is and what is known of it; and what export refuses before the long work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A run and the simulated eyes it was trained on."""
    from fundus_synth.classify.train import train
    from fundus_synth.data.phantom.cohort import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_dataset(folder / "eyes", 16, size=64, seed=5, classes=("normal", "diabetes"), workers=1, quiet=True)
    return train(
        folder / "eyes", steps=6, batch_size=8, out=folder / "run", device="cpu", quiet=True
    ).path, folder / "eyes"


def test_stress_and_card(call, trained):
    run, eyes = trained
    options = ("--data", eyes, "--kinds", "glare, fgsm", "--severities", "5", "--device", "cpu", "--quiet")
    done = call("fundus-classify", "stress", run, *options, "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert [unit["kind"] for unit in result["units"]] == ["glare", "fgsm"]
    assert result["folder"] == str(run / "stress-eyes")
    again = call("fundus-classify", "stress", run, *options)
    assert again.code == 2 and "already exists" in again.err
    more = call("fundus-classify", "stress", run, *options, "--resume")
    assert more.code == 0 and more.out.splitlines()[:-1] == result["verdicts"]
    done = call("fundus-classify", "card", run)
    assert done.code == 0, done.err
    assert result["verdicts"][0].split(":")[0] in (run / "model-card.md").read_text()
    assert done.out.splitlines() == [f"card: {run / f'model-card.{suffix}'}" for suffix in ("md", "html")]


def test_bad_words(call, trained):
    run, eyes = trained
    done = call("fundus-classify", "stress", run, "--data", eyes, "--severities", "1,9")
    assert done.code == 2 and "--severities is '1,9', expected some of 1 to 5" in done.err
    done = call("fundus-classify", "stress", run, "--data", eyes, "--kinds", "rain")
    assert done.code == 2 and "no damage is called 'rain'; there are blur" in done.err
    done = call("fundus-classify", "card", eyes)
    assert done.code == 2 and "holds no classifier" in done.err


def test_a_page_that_cannot_be_written_is_refused_at_once(call, trained, tmp_path):
    run, _ = trained
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    done = call("fundus-classify", "export", run, tmp_path / "m.onnx", "--web", tmp_path / "full")
    assert done.code == 2 and done.err.startswith(f"error: {tmp_path / 'full'}: already exists and is not empty")
    shutil.copytree(run, tmp_path / "run")
    facts = tmp_path / "run" / "checkpoints" / "classifier.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"illumination": "graham"}))
    done = call("fundus-classify", "export", tmp_path / "run", tmp_path / "m.onnx", "--web", tmp_path / "page")
    assert done.code == 2 and "illumination graham, which the page cannot make" in done.err
    assert not (tmp_path / "m.onnx").exists() and not (tmp_path / "page").exists()
