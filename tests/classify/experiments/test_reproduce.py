"""Which experiments make up a study, with which settings; what they do is tested where they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from fundus_synth.classify.experiments import reproduce as module
from fundus_synth.classify.experiments.reproduce import reproduce
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import read_json
from fundus_synth.runtime.runs import RunFolder


@dataclass
class Part:
    run: RunFolder
    verdict: list[str]

    def table(self) -> pd.DataFrame:
        return pd.DataFrame({"arm": ["one"], "accuracy": ["0.7 (0.6 to 0.8)"]})

    def summary(self) -> dict:
        return {"verdict": self.verdict}


class Published(Part):
    def published_table(self) -> pd.DataFrame:
        return pd.DataFrame({"figure": ["accuracy"], "published": ["0.98"]})


@pytest.fixture
def asked(monkeypatch) -> dict[str, dict]:
    """{experiment: what it was called with}."""
    calls: dict[str, dict] = {}

    def fake(name: str, kind: type[Part]):
        def experiment(dataset, *, out, resume, **settings):
            calls[name] = settings
            run = RunFolder.open_or_create(out, {}, resume)
            return kind(run, [f"What {name} found & more."])

        monkeypatch.setattr(module, name, experiment)

    fake("compare_backbones", Published)
    fake("learning_curve", Published)
    fake("leakage", Part)
    fake("compare_augmentations", Part)
    return calls


@pytest.mark.parametrize(
    ("letter", "experiments"),
    [
        ("A", {"compare_backbones", "leakage"}),
        ("b", {"compare_backbones", "leakage"}),
        ("C", {"compare_backbones"}),
        ("D", {"learning_curve"}),
        ("E", {"compare_augmentations", "compare_backbones"}),
    ],
)
def test_what_a_study_is_made_of(asked, toy_path, tmp_path, letter, experiments):
    found = reproduce(letter, FundusDataset.open(toy_path), pretrained=True, seeds=2, seed=5, out=tmp_path / "run")
    assert set(asked) == experiments
    assert all(call["seeds"] == 2 and call["seed"] == 5 for call in asked.values())
    page = (tmp_path / "run" / "report.html").read_text()
    for name, part in zip(asked, found.parts.values(), strict=True):
        assert f"What {name} found &amp; more." in page
        inside = part.run.path.relative_to(tmp_path / "run")
        assert f'href="{inside.as_posix()}/report.html"' in page
    assert (f"{0.98}" in page) == ("compare_backbones" in asked or "learning_curve" in asked)
    assert read_json(tmp_path / "run" / "summary.json")["study"] == letter.upper()
    text = "\n".join(found.lines())
    assert found.study.flaw in text and "0.7 (0.6 to 0.8)" in text


def test_a_study_has_its_own_settings(asked, toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    reproduce("A", dataset, out=tmp_path / "a")
    assert asked["compare_backbones"]["study"] == "A" and asked["compare_backbones"]["augment"] == "classical:anemia"
    assert asked["leakage"]["backbone"] == "resnet50" and asked["leakage"]["target"] == "anemic"
    assert asked["leakage"]["size"] == 224 and asked["leakage"]["weights"] is None
    reproduce("E", dataset, out=tmp_path / "e", generator_steps=7)
    arms = asked["compare_augmentations"]
    assert arms["arms"] == ["default", "classical:odir", "gan"] and arms["classes"] == ["normal", "diabetes"]
    assert arms["backbone"] == "simple_cnn" and arms["size"] == 512 and arms["generator_steps"] == 7
    page = (tmp_path / "e" / "report.html").read_text()
    assert "7 steps each" in page and "steps each" not in (tmp_path / "a" / "report.html").read_text()


def test_the_user_may_take_other_networks_and_sizes(asked, toy_path, tmp_path):
    file = tmp_path / "weights.safetensors"
    found = reproduce("B", FundusDataset.open(toy_path), backbones=["resnet10t"], size=64, target="grade", epochs=3,
                      weights=[f"resnet10t={file}"], seeds=1, out=tmp_path / "b")  # fmt: skip
    for call in asked.values():
        assert call["size"] == 64 and call["target"] == "grade" and call["epochs"] == 3
    assert asked["leakage"]["backbone"] == "resnet10t" and asked["leakage"]["weights"] == file
    assert asked["compare_backbones"]["weights"] == [f"resnet10t={file}"]
    page, text = (tmp_path / "b" / "report.html").read_text(), "\n".join(found.lines())
    for said in (
        "resnet10t (instead of mobilenetv3_small_100, mobilenetv3_large_100)", "64 px (instead of 512 px)",
        "resnet10t: weights.safetensors", "3 passes over the training images, 1 seed",
    ):  # fmt: skip
        assert said in page and said in text
    assert str(tmp_path) not in text.split("report: ")[0] and "grade (instead of dr: grade &gt;= 1)" in page


def test_a_finished_study_may_be_asked_for_again(asked, toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    reproduce("C", dataset, out=tmp_path / "c")
    with pytest.raises(UserError, match="exists"):
        reproduce("C", dataset, out=tmp_path / "c")
    with pytest.raises(UserError, match="options"):
        reproduce("C", dataset, seeds=9, out=tmp_path / "c", resume=True)
    reproduce("C", dataset, out=tmp_path / "c", resume=True)


def test_what_cannot_be_run_is_refused_before_anything_is_written(asked, toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    for letter, more, message in [
        ("F", {}, "no study is called"),
        ("D", {}, "no transfer to measure"),
        ("C", {"weights": ["resnet18=file"]}, "not compared"),
        ("C", {"weights": ["file"]}, "BACKBONE=FILE"),
    ]:
        with pytest.raises(UserError, match=message):
            reproduce(letter, dataset, out=tmp_path / "none", **more)
    assert not asked and not Path(tmp_path / "none").exists()


@pytest.mark.slow
def test_study_c_on_a_toy(toy_path, tmp_path):
    found = reproduce("C", FundusDataset.open(toy_path), backbones=["resnet10t"], size=32, epochs=2, seeds=1, batch_size=16,
                      device="cpu", quiet=True, out=tmp_path / "run")  # fmt: skip
    (part,) = found.parts.values()
    assert part.options["resnet10t"].head == "regression"
    assert "resnet10t" in "\n".join(found.lines())


def test_the_lead_is_the_gist_of_each_part(asked, toy_path, tmp_path, monkeypatch):
    sentences = {"short": ["No evidence.", "It harms."], "long": ["The gist.", "First detail.", "Second detail."]}

    def experiment(dataset, *, out, resume, **settings):
        return Published(RunFolder.open_or_create(out, {}, resume), sentences["long"])

    def arms(dataset, *, out, resume, **settings):
        return Part(RunFolder.open_or_create(out, {}, resume), sentences["short"])

    monkeypatch.setattr(module, "compare_backbones", experiment)
    monkeypatch.setattr(module, "compare_augmentations", arms)
    reproduce("E", FundusDataset.open(toy_path), out=tmp_path / "e")
    page = (tmp_path / "e" / "report.html").read_text()
    assert "No evidence. It harms. The gist.<" in page and "First detail." in page
