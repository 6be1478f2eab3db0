"""`mean-maps` and `regions` as a user calls them, on simulated eyes and a classifier with random weights."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from fundus_synth import cli
from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, save_classifier
from fundus_synth.classify.explain.mean_maps import FRAME, mean_maps, shares
from fundus_synth.classify.explain.regions import regions
from fundus_synth.cli import explanations  # noqa: F401  (registers the commands)
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """24 eyes of 12 patients, two classes, with masks; disc and fovea are in the table."""
    path = tmp_path_factory.mktemp("eyes") / "eyes"
    with DatasetWriter(path, {"name": "eyes"}) as writer:
        for row, image, masks in render_cohort(12, 64, 0, True, ("normal", "diabetes")):
            writer.add(row, image, masks)
    return FundusDataset.open(path)


def _write_run(path, about, **options):
    torch.manual_seed(0)
    (path / "checkpoints").mkdir(parents=True)
    save_classifier(path / "checkpoints", create_backbone("simple_cnn", len(about.classes), 32, **options), about)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, eyes):
    seen = [patient_hash(eyes.patients[0])]
    return _write_run(tmp_path_factory.mktemp("runs") / "run", About(("normal", "diabetes"), patients={"train": seen}))


def _call(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fundus-classify", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.classify_main()
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_mean_maps_from_the_command_line(run, eyes, tmp_path, capsys, monkeypatch):
    code, out, _ = _call(capsys, monkeypatch, "mean-maps", run, "--data", eyes.path, "--groups", "class", "--permutations", 60,
                         "--method", "saliency", "--out", tmp_path / "maps", "--quiet", "--json", "--device", "cpu")  # fmt: skip
    told = json.loads(out)
    assert code == 0 and told == json.loads((tmp_path / "maps" / "summary.json").read_text())
    assert told["images"] + told["without_landmarks"] == 22 and told["seen"] == 2
    assert sum(group["images"] for group in told["groups"].values()) == told["images"]
    with np.load(tmp_path / "maps" / "mean_maps.npz") as arrays:
        assert arrays["mean_0"].shape == (FRAME, FRAME) and np.nanmax(arrays["mean_0"]) > 0
        assert arrays["p_0"].shape == (FRAME, FRAME)
    page = (tmp_path / "maps" / "report.html").read_text()
    assert "diabetes minus normal" in page and "One scale for all mean maps" in page


@pytest.fixture(scope="module", params=["regression", "ordinal"])
def graded(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("graded") / request.param
    return _write_run(path, About(tuple("01234"), target="grade"), head=request.param)


def test_maps_of_a_head_for_grades_show_what_makes_the_grade_higher_or_lower(graded, eyes, tmp_path):
    options = {"method": "hirescam", "permutations": 20, "device": "cpu", "quiet": True}
    means = {}
    for of in ("", "higher", "lower"):
        mean_maps(graded, eyes, of=of, out=tmp_path / of, **options)
        with np.load(tmp_path / of / "mean_maps.npz") as arrays:
            means[of] = np.nan_to_num(arrays["mean_0"])
    assert np.abs(means["higher"]).max() > 0
    np.testing.assert_array_equal(means[""], means["higher"])
    np.testing.assert_allclose(means["lower"], -means["higher"], atol=1e-9)
    assert "a lower grade" in (tmp_path / "lower" / "report.html").read_text()
    for of in ("true", "2"):
        with pytest.raises(UserError, match=f"--of {of} is not known for head .*; expected lower or higher"):
            mean_maps(graded, eyes, of=of, **options)


def test_regions_of_a_head_for_grades_measure_maps_of_a_higher_grade(graded, eyes, tmp_path, monkeypatch):
    from fundus_synth.classify.explain import regions as module

    plain, asked = module.attribute, []

    def spy(model, images, targets, *rest, scores=None, **options):
        asked.append({scores.names[target] for target in targets})
        return plain(model, images, targets, *rest, scores=scores, **options)

    monkeypatch.setattr(module, "attribute", spy)
    found = regions(graded, eyes, method="saliency", fills=["blank"], out=tmp_path, device="cpu", quiet=True)
    assert asked == [{"higher"}] and found.images > 10
    assert {one.region for one in found.mass} >= {"disc", "macula", "vessels"}


def test_masks_of_the_field_say_what_was_photographed(run, eyes, tmp_path):
    with DatasetWriter(tmp_path / "cut", {"name": "cut"}) as writer:
        for row, image, masks in render_cohort(12, 64, 0, True, ("normal", "diabetes")):
            masks["fov"][:32] = 0
            writer.add(row, image, masks)
    whole, cut = (
        mean_maps(run, data, permutations=20, out=tmp_path / name, device="cpu", quiet=True)
        for name, data in (("a", eyes), ("b", tmp_path / "cut"))
    )
    above, below = (
        [one.groups["normal"].seen[part].mean() for one in (whole, cut)]
        for part in (slice(FRAME // 3), slice(-FRAME // 3, None))
    )
    assert above[1] < 0.1 * above[0] and below[1] > 0.9 * below[0]


def test_the_p_value_of_the_sentence_is_called_what_it_is(run, eyes, tmp_path):
    found = mean_maps(run, eyes, permutations=20, out=tmp_path, device="cpu", quiet=True)
    assert "(Holm-adjusted permutation p " in found.comparisons[0].line()


def test_eyes_of_one_class_are_refused_before_maps_are_made(run, eyes, tmp_path, monkeypatch):
    from fundus_synth.classify.explain import regions as module

    monkeypatch.setattr(module, "_measured", lambda *_: pytest.fail("maps were made"))
    one = eyes.subset(np.flatnonzero(eyes.table["label"] == "normal"))
    with pytest.raises(UserError, match="with optic disc and fovea are all normal; the AUROC needs two classes"):
        regions(run, one, device="cpu", quiet=True, out=tmp_path)


def test_a_region_that_only_one_class_has_is_named_not_testable(run, eyes, tmp_path):
    with DatasetWriter(tmp_path / "some", {"name": "some"}) as writer:
        for row, image, masks in render_cohort(12, 64, 0, True, ("normal", "diabetes")):
            known = row["label"] == "diabetes"
            spots = {"exudates": np.where(masks["optic_disc"] > 0, 255, 0).astype(np.uint8)} if known else {}
            writer.add(row, image, {"fov": masks["fov"], "optic_disc": masks["optic_disc"], **spots})
    found = regions(
        run, tmp_path / "some", method="saliency", fills=["blank"], out=tmp_path / "x", device="cpu", quiet=True
    )
    assert found.untested == ("lesions",) and found.summary()["untested"] == ["lesions"]
    assert "lesions, blank: not testable" in "\n".join(found.lines())
    certain = replace(found, auroc=replace(found.auroc, low=0.6))
    assert "Not testable, as too few patients of each class have it: lesions." in certain.verdict()
    none = replace(certain, removals=tuple(one for one in found.removals if not one.tested))
    assert none.verdict().startswith("Nothing can be said of what it needs.")


def test_shares_add_up_to_one_in_the_field_and_keep_their_signs():
    maps = np.random.default_rng(0).normal(size=(3, 8, 8)).astype(np.float32)
    maps[2] = 0
    fields = np.zeros((3, 8, 8), bool)
    fields[:, 2:6, 1:7] = True
    found = shares(maps, fields)
    assert np.abs(found * fields).sum(axis=(1, 2)) == pytest.approx([1, 1, 0])
    assert (np.sign(found) == np.sign(maps)).all()


def test_groups_of_a_column_and_few_patients(run, eyes, tmp_path):
    found = mean_maps(run, eyes, groups="grade", scale="share", out=tmp_path, permutations=20, device="cpu", quiet=True)
    assert set(found.groups) == {"0", "1", "2", "3", "4"}
    assert all(one.found is None for one in found.comparisons if one.first != "0")
    assert "fewer than 5 patients" in found.lines()[-2]


def test_regions_from_the_command_line(run, eyes, tmp_path, capsys, monkeypatch):
    code, out, _ = _call(capsys, monkeypatch, "regions", run, "--data", eyes.path, "--fills", "blank,swap", "--method",
                         "saliency", "--out", tmp_path / "regions", "--quiet", "--device", "cpu")  # fmt: skip
    assert code == 0 and "disc, blank: AUROC falls by" in out
    removal, mass = (pd.read_csv(tmp_path / "regions" / f"{name}.csv") for name in ("removal", "mass"))
    assert list(mass["region"]) == ["disc", "macula", "vessels", "lesions", "background", "outside the field"]
    assert set(removal["region"]) == {"disc", "macula", "vessels", "lesions", "centre", "rim"}
    assert set(removal["fill"]) == {"blank", "swap"}
    inside = mass.set_index("region")["mass"]
    assert inside[["disc", "vessels", "background"]].between(0.001, 1).all()
    page = (tmp_path / "regions" / "report.html").read_text()
    assert "Does the disc matter?" in page and "without the macula" in page


def test_the_same_seed_gives_the_same_figures(run, eyes, tmp_path):
    first, again = (
        regions(run, eyes, method="saliency", fills=["swap"], out=tmp_path / name, device="cpu", quiet=True)
        for name in "ab"
    )
    assert first.removals == again.removals
    assert str(first.mass) == str(again.mass)


@pytest.mark.parametrize(("options", "message"), [
    ({"fills": ["burn"]}, "--fills burn is not known; expected some of blank, blur, swap"),
    ({"method": "magic"}, "no method is called"),
])  # fmt: skip
def test_regions_refuses(run, eyes, options, message):
    with pytest.raises(UserError, match=message):
        regions(run, eyes, device="cpu", quiet=True, **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"of": "gout"}, "--of gout is not known; expected true, predicted, or one of normal, diabetes"),
    ({"scale": "loud"}, "--scale loud is not known"), ({"groups": "shoe_size"}, "--groups shoe_size is not known"),
])  # fmt: skip
def test_mean_maps_refuses(run, eyes, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        mean_maps(run, eyes, device="cpu", quiet=True, out=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_classifier_that_knows_everyone_or_tells_no_class(eyes, tmp_path):
    everyone = _write_run(tmp_path / "all", About(("normal", "diabetes"), patients={"val": list(eyes.patient_hashes)}))
    with pytest.raises(UserError, match="no unseen patient with normal or diabetes"):
        regions(everyone, eyes, device="cpu", quiet=True)
    blood = _write_run(tmp_path / "blood", About(("hemoglobin_g_dl",), target="hemoglobin"))
    with pytest.raises(UserError, match="trained on target hemoglobin; expected one that tells one class"):
        mean_maps(blood, eyes, device="cpu", quiet=True)


def test_eyes_without_landmarks_are_no_material(run, tmp_path):
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "noise", {"name": "noise"}) as writer:
        for i in range(4):
            image = random.integers(0, 120, (64, 64, 3)).astype(np.uint8)
            writer.add({"file_name": f"images/{i}.png", "patient_id": f"n{i}", "label": "normal"}, image)
    with pytest.raises(UserError, match="optic disc and fovea were not found in any unseen image"):
        mean_maps(run, tmp_path / "noise", device="cpu", quiet=True)
    with pytest.raises(UserError, match="fewer than two patients"):
        regions(run, tmp_path / "noise", device="cpu", quiet=True)
