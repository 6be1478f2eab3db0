import json
import re

import cv2
import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.distance_intervals import MEASURES
from fundus_synth.synth.judging.comparison import TOGETHER, WORSE
from fundus_synth.synth.judging.evaluate import common_size, evaluate, named_spaces


class Colors:
    """Mean and spread of each channel."""

    name, version, size, dimensions, feature_names = "colors", "1", 64, 6, None
    standardized, in_processes = True, False

    def features(self, images):
        return np.concatenate([images.mean(axis=(1, 2)), images.std(axis=(1, 2))], axis=1).astype(np.float32)


def drawn_eye(random: np.random.Generator) -> np.ndarray:
    """A red field of view with a bright disc on one side, dark lines from it and a dark spot, 64 px."""
    image = np.zeros((64, 64, 3), np.uint8)
    tone = random.integers(-25, 26, 3)
    cv2.circle(image, (32, 32), 31, (np.array([165, 75, 35]) + tone).tolist(), -1)
    disc = (int(random.integers(11, 17)), int(random.integers(28, 36)))
    for end in random.integers(8, 56, (6, 2)).tolist():
        cv2.line(image, disc, end, (np.array([110, 35, 25]) + tone).tolist(), 1)
    cv2.circle(image, disc, 4, (240, 200, 130), -1)
    cv2.circle(image, (disc[0] + 20, disc[1] + 2), 3, (120, 45, 25), -1)
    return image if random.random() < 0.5 else np.ascontiguousarray(image[:, ::-1])


@pytest.fixture(scope="module")
def eyes(tmp_path_factory) -> FundusDataset:
    """100 drawn eyes of 50 patients and two classes; the train split is a quarter of them."""
    path, random = tmp_path_factory.mktemp("datasets") / "eyes", np.random.default_rng(0)
    with DatasetWriter(path, {"name": "drawn eyes"}) as writer:
        for i in range(100):
            patient = i // 2
            row = {"file_name": f"images/{i}.png", "patient_id": f"p{patient}", "label": ("normal", "anemic")[patient % 2],
                   "split": ("train", "val", "test", "test")[patient // 2 % 4]}  # fmt: skip
            writer.add(row, drawn_eye(random))
    return FundusDataset.open(path)


@pytest.fixture(scope="module")
def real(eyes, tmp_path_factory) -> FundusDataset:
    return eyes.write(tmp_path_factory.mktemp("datasets") / "real")


def synthetic(eyes: FundusDataset, path, change=lambda image: image, **info) -> FundusDataset:
    """The eyes of the train split as a synthetic dataset without patients."""
    chosen = eyes.split("train")
    with DatasetWriter(path, {"name": "made", "synthetic": True, **info}) as writer:
        for i, label in enumerate(chosen.column("label")):
            row = {"file_name": f"images/{i}.png", "label": label, "synthetic": "true", "seed": str(i)}
            writer.add(row, change(chosen.read(i)))
    return FundusDataset.open(path)


@pytest.fixture(scope="module")
def made(eyes, tmp_path_factory) -> FundusDataset:
    return synthetic(
        eyes, tmp_path_factory.mktemp("datasets") / "made", trained_on_patients=eyes.split("train").patient_hashes
    )


@pytest.fixture(scope="module")
def found(made, real):
    return evaluate(made.path, real.path, workers=0, quiet=True)


def test_the_files_say_what_was_compared(found, made, real):
    content = json.loads((made.path / "evaluation.json").read_text())
    assert content["format"] == "fundus-synth evaluation 1"
    assert content["fingerprint"] == FundusDataset.open(made.path).fingerprint == made.fingerprint
    assert content["against"] == {
        "name": real.name,
        "fingerprint": real.fingerprint,
        "images": 100,
        "patients": len(real.patients),
    }
    assert content["command"][:4] == ["fundus-synth", "evaluate", str(made.path), "--against"]
    figures = content["figures"]
    held_out = len(real.split("val")) + len(real.split("test"))
    assert figures["real_images"] == held_out and figures["images"] == figures["distinct_images"] == len(made)
    assert set(figures["distances"]) == {"retina"}
    assert set(figures["distances"]["retina"]) == {"normal", "anemic", TOGETHER} and set(figures["anatomy"]) >= {
        TOGETHER
    }
    together = figures["distances"]["retina"][TOGETHER]
    assert set(together["measures"]) == set(MEASURES)
    for one in together["measures"].values():
        assert one["low"] <= one["value"] <= one["high"] and one["floor"]["low"] <= one["floor"]["high"]
    assert f"0 of {held_out} real images left out: the generator was trained on their patients" in content["notes"]


def test_the_page_and_the_lines_say_the_same(found):
    page = found.page.read_text()
    kid = found.distances["retina"][TOGETHER]["kid"]
    assert f"KID {kid.value}" in page and f"KID {kid.value}" in found.lines()[0]
    assert "exactly one optic disc" in page and "Generated, not photographs" in page
    assert not re.search(r">\s*(nan|None)\s*<", page)
    assert found.lines()[-1] == f"report: {found.page}"
    assert len(found.table()) == 3 * len(MEASURES) and found.table()["class"].nunique() == 3


def test_the_synthetic_table_stays_as_it_is(eyes, real, tmp_path):
    made = synthetic(eyes, tmp_path / "made")
    before = (made.path / "metadata.csv").read_bytes(), (made.path / "dataset.json").read_bytes()
    evaluate(made, real, features=[Colors()], workers=0, quiet=True)
    assert before == ((made.path / "metadata.csv").read_bytes(), (made.path / "dataset.json").read_bytes())
    assert sorted(p.name for p in made.path.iterdir()) == [
        "dataset.json", "evaluation.html", "evaluation.json", "images", "metadata.csv",
    ]  # fmt: skip


def test_damage_is_worse_than_real_eyes_and_a_second_evaluation_replaces_the_first(found, eyes, real, tmp_path):
    made = synthetic(eyes, tmp_path / "made", lambda image: cv2.GaussianBlur(image, (0, 0), 1.5))
    damaged = evaluate(made, real, features=["retina", Colors()], workers=0, quiet=True)
    one, other = damaged.distances["retina"][TOGETHER]["kid"], found.distances["retina"][TOGETHER]["kid"]
    assert one.verdict == WORSE and one.value.value > 3 * max(other.value.value, 0) and one.ratio > 1
    assert "worse than real eyes by KID" in damaged.page.read_text()
    assert set(damaged.distances) == {"retina", "colors"}
    again = evaluate(made, real, features=[Colors()], workers=0, quiet=True)
    assert set(json.loads((made.path / "evaluation.json").read_text())["figures"]["distances"]) == {"colors"}
    assert again.distances["colors"] == damaged.distances["colors"]


def test_repeats_are_counted_and_lift_kid(eyes, real, tmp_path):
    first = eyes.split("train").read(0)
    made = synthetic(eyes, tmp_path / "made", lambda image: first)
    found = evaluate(made, real, features=[Colors()], workers=0, quiet=True)
    assert found.distinct == 1 and found.distances["colors"][TOGETHER]["kid"].verdict == WORSE


def test_a_set_without_labels_is_judged_as_one(eyes, real, tmp_path):
    made = synthetic(eyes, tmp_path / "made")
    table = made.table.drop(columns="label")
    unlabelled = FundusDataset(made.path, made.info, table)
    found = evaluate(unlabelled, real, features=[Colors()], workers=0, quiet=True)
    assert set(found.distances["colors"]) == {TOGETHER} and found.distances["colors"][TOGETHER].images >= 12


def test_both_are_looked_at_in_the_size_of_the_smaller(made, tmp_path):
    with DatasetWriter(tmp_path / "large", {}) as writer:
        writer.add({"file_name": "images/0.png"}, np.zeros((300, 200, 3), np.uint8))
    large = FundusDataset.open(tmp_path / "large")
    assert common_size(made, large, 256) == common_size(large, made, 256) == 64
    assert common_size(large, large, 256) == 256 and common_size(large, large, 299) == 299


def test_small_images_and_wrong_options_are_errors(made, real, tmp_path):
    with DatasetWriter(tmp_path / "small", {}) as writer:
        writer.add({"file_name": "images/0.png", "label": "normal"}, np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="small: has images of 32 pixels; expected at least 64"):
        evaluate(tmp_path / "small", real, quiet=True)
    with pytest.raises(UserError, match="no feature space is called 'retin'"):
        evaluate(made, real, features=["retin"], quiet=True)
    with pytest.raises(UserError, match="names 1 files, but 1 of them have no feature space"):
        named_spaces(["retina"], ["w.pth"])
    with pytest.raises(UserError, match="at least one feature space"):
        named_spaces([])
