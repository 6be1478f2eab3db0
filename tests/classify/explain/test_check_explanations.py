from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fundus_synth.classify.backbones import create_backbone
from fundus_synth.classify.checkpoint import About, load_classifier, save_classifier
from fundus_synth.classify.explain.check_explanations import check_explanations
from fundus_synth.classify.explain.faithfulness import read_faithfulness
from fundus_synth.classify.explain.faithfulness_cases import make_cases
from fundus_synth.cli.explanations import classify
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import write_image
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import read_json, sha256_file, write_json

_FEW = ("--device", "cpu", "--quiet", "--count", "6", "--steps", "5")


@pytest.fixture
def run(toy_run, tmp_path):
    """A run of its own, because a check writes into it."""
    folder = tmp_path / "run"
    shutil.copytree(toy_run / "checkpoints", folder / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def marked(write_toy, tmp_path_factory):
    """Unseen patients, with masks of the square that makes them "anemic"."""
    path = write_toy(tmp_path_factory.mktemp("marked") / "marked", patients=10, prefix="marked")
    mask = np.zeros((128, 128), np.uint8)
    mask[32:96, 32:96] = 200
    for image in sorted((path / "images").iterdir())[::2]:
        write_image(path / "masks" / "squares" / image.name, np.repeat(mask[..., None], 3, axis=2))
        write_image(path / "masks" / "vessels" / image.name, np.full((64, 64, 3), 255, np.uint8))
    return path


def _edit(run, **changes):
    path = run / "checkpoints" / "classifier.json"
    write_json(path, {**read_json(path), **changes})


def test_command_end_to_end(run, marked):
    done = CliRunner().invoke(
        classify,
        ["check-explanations", str(run), "--data", str(marked), *_FEW, "--methods", "grad-cam,saliency", "--json"],
    )
    assert done.exit_code == 0, done.output
    said, kept = json.loads(done.stdout), json.loads((run / "faithfulness.json").read_text())
    assert said == kept and kept["kind"] == "fundus-synth faithfulness"
    assert kept["weights"] == sha256_file(run / "checkpoints" / "classifier.safetensors")
    assert list(kept["methods"]) == ["grad-cam", "saliency"] and kept["masks"] == ["squares"]
    assert kept["classes"] == ["anemic"] and kept["images"] == 6 and kept["baseline"] == "blur"
    for name, verdict in read_faithfulness(run).items():
        assert verdict.why == kept["methods"][name]["why"] and len(kept["methods"][name]["stages"]) == 6
    page = (run / "check-explanations-marked" / "report.html").read_text()
    assert "Does it point at what is there?" in page and "<svg" in page and "Pointing game" in page


def test_all_methods_and_the_mean_color(run, marked, tmp_path):
    found = check_explanations(
        run, marked, count=3, steps=3, baseline="mean", out=tmp_path / "page", device="cpu", quiet=True
    )
    assert len(found.measured) == 8 and not found.impossible
    assert len(found.lines()) == 9 and (tmp_path / "page" / "report.html").is_file()
    inside = found.cases.baselines[0][found.cases.fields[0]]
    assert len(np.unique(inside, axis=0)) == 1


def test_cases_have_fields_masks_and_patients(run, marked):
    model, _ = load_classifier(run)
    dataset = FundusDataset.open(marked)
    cases = make_cases(model, dataset, np.array([2, 3]), np.array([1, 1]), ["squares"])
    assert cases.masks[0, 16:48, 16:48].all() and cases.masks[0].sum() == 32 * 32 and not cases.masks[1].any()
    np.testing.assert_array_equal(cases.images[0], cv2.resize(dataset.read(2), (64, 64)))
    assert list(cases.patients) == ["marked-1", "marked-1"] and not cases.fields[0, 0, 0]


def test_healthy_eyes_are_checked_when_asked_for(run, marked):
    found = check_explanations(
        run, marked, methods=["grad-cam"], of_class="normal", count=4, steps=2, device="cpu", quiet=True
    )
    assert found.summary()["classes"] == ["normal"] and (found.cases.targets == 0).all()


def test_images_without_labels_are_of_the_class_that_is_named(run, marked, tmp_path):
    shutil.copytree(marked, tmp_path / "unlabelled")
    table = pd.read_csv(tmp_path / "unlabelled" / "metadata.csv")
    table.drop(columns="label").to_csv(tmp_path / "unlabelled" / "metadata.csv", index=False)
    with pytest.raises(UserError, match="Name the class of images without labels with --class"):
        check_explanations(run, tmp_path / "unlabelled", device="cpu", quiet=True)
    found = check_explanations(run, tmp_path / "unlabelled", methods=["saliency"], of_class="anemic", steps=2, device="cpu",
                               quiet=True)  # fmt: skip
    assert len(found.cases) + found.unrecognized == 20 and len(found.cases) >= 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ["grad"]}, "no method is called 'grad'"),
        ({"baseline": "black"}, "Use blur or mean"),
        ({"of_class": "glaucoma"}, "knows no class 'glaucoma'"),
        ({"masks": ["drusen"]}, "has no masks 'drusen'; it has squares, vessels"),
    ],
)
def test_bad_options(run, marked, options, said):
    with pytest.raises(UserError, match=said):
        check_explanations(run, marked, device="cpu", quiet=True, **options)
    assert not (run / "faithfulness.json").exists()


def test_a_number_is_refused_and_so_are_seen_patients_and_nothing_recognised(run, marked, toy_path, tmp_path):
    train = FundusDataset.open(toy_path)
    with pytest.raises(UserError, match="has no unseen patient with anemic"):
        hashes = train.patient_hashes
        _edit(run, patients={"train": hashes})
        check_explanations(run, train, of_class="anemic", device="cpu", quiet=True)
    _edit(run, patients={})
    # The other way round: what is anemic is told to be normal.
    model, about = load_classifier(run)
    head = model.head_modules()[0]
    head.weight.data, head.bias.data = head.weight.data.flip(0), head.bias.data.flip(0)
    save_classifier(run / "checkpoints", model, about)
    with pytest.raises(UserError, match="recognises none of 10 unseen images"):
        check_explanations(run, marked, device="cpu", quiet=True)
    _edit(run, target="hemoglobin", classes=["hemoglobin_g_dl"])
    with pytest.raises(UserError, match="maps can be checked for classes only|damaged"):
        check_explanations(run, marked, device="cpu", quiet=True)


@pytest.mark.parametrize("head", ["regression", "ordinal"])
def test_a_head_for_grades_is_refused(run, marked, head):
    save_classifier(
        run / "checkpoints", create_backbone("simple_cnn", 5, 64, head=head), About(tuple("01234"), target="grade")
    )
    with pytest.raises(UserError, match=f"has head {head}, .*maps can be checked for classes only"):
        check_explanations(run, marked, device="cpu", quiet=True)


def test_the_page_goes_into_a_folder_named_after_the_dataset(run, marked, tmp_path):
    dataset = FundusDataset.open(shutil.copytree(marked, tmp_path / "elsewhere"))
    found = check_explanations(run, dataset, methods=["saliency"], count=2, steps=2, device="cpu", quiet=True)
    assert found.folder == run / f"check-explanations-{dataset.name}" and dataset.name != "elsewhere"


def test_a_method_that_the_network_does_not_allow(run, marked, monkeypatch):
    from fundus_synth.classify.explain import check_explanations as module

    allowed = module.attribute

    def refuses(model, images, targets, method, **rest):
        if method == "guided-grad-cam":
            raise UserError("this network does not bend by ReLU")
        return allowed(model, images, targets, method, **rest)

    monkeypatch.setattr(module, "attribute", refuses)
    monkeypatch.setattr(module, "METHODS", ("grad-cam", "guided-grad-cam"))
    found = check_explanations(run, marked, count=2, steps=2, device="cpu", quiet=True)
    assert list(found.measured) == ["grad-cam"] and "ReLU" in found.summary()["impossible"]["guided-grad-cam"]
    assert "guided-grad-cam is not possible" in (found.folder / "report.html").read_text()
    with pytest.raises(UserError, match="bend by ReLU"):
        check_explanations(run, marked, methods=["guided-grad-cam"], device="cpu", quiet=True)
