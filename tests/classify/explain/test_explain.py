from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from fundus_synth.classify.checkpoint import load_classifier, weights_hash
from fundus_synth.classify.explain.explain import explain
from fundus_synth.classify.explain.methods import attribute
from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import read_image
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import write_json

QUICK = {"device": "cpu", "quiet": True}


def test_a_sheet_per_class_of_unseen_patients(toy_run, toy_path, tmp_path):
    page = explain(toy_run, toy_path, count=2, out=tmp_path / "explain", **QUICK)
    assert page == tmp_path / "explain" / "report.html"
    text = page.read_text()
    assert "12 images of patients it has not seen" in text and "the same for the whole sheet" in text
    assert "<dt>layer of grad-cam</dt><dd>features</dd>" in text
    assert text.count('class="picture"') == 12 and "best: p = " in text and "uncertain: p = " in text
    for name in ("normal", "anemic"):
        assert (tmp_path / "explain" / f"{name}-grad-cam.png").stat().st_size > 1000
        with np.load(tmp_path / "explain" / f"{name}-grad-cam.npz", allow_pickle=False) as kept:
            maps, files = kept["maps"], kept["files"]
            assert maps.shape == (6, 64, 64) and str(kept["unit"]) == "logit"
    # The numbers are those of the method, not of the colours.
    dataset, (model, _) = FundusDataset.open(toy_path), load_classifier(toy_run)
    rows = [int(np.flatnonzero(dataset.table["file_name"] == name)[0]) for name in files]
    images = np.stack([dataset.read(row) for row in rows])
    np.testing.assert_allclose(maps, attribute(model, images, [1] * 6), atol=1e-6)
    shown = {patient_hash(name) for name in dataset.table["patient_id"][rows]}
    trained = set(json.loads((toy_run / "checkpoints" / "classifier.json").read_text())["patients"]["train"])
    assert trained and not shown & trained


def test_methods_channels_and_camera_files(toy_run, toy_path, tmp_path):
    dataset = FundusDataset.open(toy_path)
    crop = {"camera_width": 64, "camera_height": 64, "fov_x": 32.0, "fov_y": 32.0, "fov_r": 32.0}
    dataset.table = dataset.table.assign(camera_file=dataset.table["file_name"], **crop)
    page = explain(toy_run, dataset, methods=["grad-cam", "integrated-gradients"], target=["anemic"], channels=True,
                   camera_folder=toy_path, count=1, out=tmp_path / "x", **QUICK)  # fmt: skip
    text, folder = page.read_text(), tmp_path / "x"
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "May these maps be believed?", "anemic", "Which colour carries the evidence", "How to read this",
    ]  # fmt: skip
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    kinds = ("grad-cam", "integrated-gradients", "integrated-gradients-channels")
    cameras = {f"camera/anemic-{i:02}-{kind}.jpg" for i in (1, 2, 3) for kind in kinds[:2]}
    assert names == {"report.html", *cameras, *(f"anemic-{k}.{s}" for k in kinds for s in ("png", "npz"))}
    assert read_image(folder / "camera" / "anemic-01-grad-cam.jpg").shape == (64, 64, 3)
    assert 'href="camera/anemic-01-grad-cam.jpg"' in text
    apart, together = (np.load(folder / f"anemic-{kind}.npz")["maps"] for kind in (kinds[2], kinds[1]))
    np.testing.assert_allclose(apart.sum(axis=3), together, atol=1e-6)
    # What makes these toys anemic is that they are red.
    shares = np.abs(apart).sum(axis=(0, 1, 2))
    assert shares[0] > shares[1] and shares[0] > shares[2] and apart[..., 0].sum() > 0
    row = re.search(r"<td>anemic</td><td>integrated-gradients</td>(.*?)</tr>", text)[1]
    assert len(re.findall(r"\d+ % \(\d+ to \d+\)", row)) == 3


def test_a_method_that_failed_its_check_is_marked(toy_run, toy_path, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    words = {"methods": ["grad-cam", "saliency", "hirescam"], "target": ["anemic"], "count": 1}
    found = {"grad-cam": {"passes": True, "why": "Good."}, "saliency": {"passes": False, "why": "<Bad>."}}
    write_json(
        run / "faithfulness.json",
        {"kind": "fundus-synth faithfulness", "weights": weights_hash(run), "methods": found},
    )
    text = explain(run, toy_path, out=tmp_path / "x", **words, **QUICK).read_text()
    assert "<li>grad-cam: passed. Good.</li>" in text and "<li>saliency: FAILED. &lt;Bad&gt;.</li>" in text
    assert "hirescam: not checked" in text
    assert "saliency (FAILED its check)" in text and "grad-cam (FAILED" not in text and "hirescam (FAILED" not in text


def test_verdicts_are_not_shown_with_maps_they_were_not_made_on(toy_run, toy_path, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    names = ("grad-cam", "guided-grad-cam", "saliency")
    found = {name: {"passes": False, "why": "Bad."} for name in names}
    content = {"kind": "fundus-synth faithfulness", "weights": weights_hash(run), "methods": found}
    write_json(run / "faithfulness.json", content)
    words = {"methods": names, "target": ["anemic"], "count": 1}
    default = explain(run, toy_path, layer="features", out=tmp_path / "a", **words, **QUICK).read_text()
    assert all(f"<li>{name}: FAILED. Bad.</li>" in default for name in names)
    other = explain(run, toy_path, layer="features.7", out=tmp_path / "b", **words, **QUICK).read_text()
    for name in names[:2]:
        assert f"<li>{name}: not checked at this layer; " in other and "looks at features." in other
        assert f"{name} (FAILED its check)" not in other
    assert "<li>saliency: FAILED. Bad.</li>" in other
    write_json(run / "faithfulness.json", {**content, "weights": "0" * 64})
    older = explain(run, toy_path, out=tmp_path / "c", **words, **QUICK).read_text()
    assert "grad-cam: not checked on this classifier" in older and "FAILED" not in older


def test_an_untrained_layer_shows_nothing(toy_run, toy_path, tmp_path, monkeypatch):
    model, about = load_classifier(toy_run)
    model.network.head.weight.data.zero_()
    monkeypatch.setattr("fundus_synth.classify.explain.explain.load_classifier", lambda *_: (model, about))
    page = explain(toy_run, toy_path, target=["anemic"], count=1, out=tmp_path / "x", **QUICK)
    assert "Every map is zero." in page.read_text() and "grad-cam (zero everywhere)" in page.read_text()
    sheet = read_image(tmp_path / "x" / "anemic-grad-cam.png").astype(int)
    np.testing.assert_array_equal(sheet[:224, :224], sheet[:224, 224:448])  # the photograph, unchanged


def test_what_cannot_be_explained_is_refused_before_work_begins(toy_run, toy_path, tmp_path):
    for wrong, why in (
        ({"methods": ["magic"]}, "no method is called 'magic'"),
        ({"layer": "nowhere"}, "has no layer 'nowhere'"),
        ({"layer": "features", "methods": ["saliency"]}, "--layer is for grad-cam"),
        ({"layer": "head"}, "neither a square map"),
        ({"channels": True}, "has no map of a colour channel"),
        ({"target": ["blind"]}, "Use normal, anemic"),
        ({"camera_folder": tmp_path / "none"}, "no such folder"),
        ({"camera_folder": tmp_path}, "does not say where in its camera file"),
    ):
        with pytest.raises(UserError, match=why):
            explain(toy_run, toy_path, out=tmp_path / "x", **wrong, **QUICK)
    assert not (tmp_path / "x").exists()


def test_a_named_layer_gives_another_map(toy_run, toy_path, tmp_path):
    for layer in ("features.7", "features.10"):
        explain(toy_run, toy_path, layer=layer, target=["anemic"], count=1, out=tmp_path / layer, **QUICK)
    early, late = (np.load(tmp_path / name / "anemic-grad-cam.npz")["maps"] for name in ("features.7", "features.10"))
    assert early.shape == late.shape and not np.allclose(early, late)
