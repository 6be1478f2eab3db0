from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys

import numpy as np
import onnx
import pytest

from fundus_synth.classify.deploy.answer import ACTIONS, give_answer
from fundus_synth.classify.deploy.model_file import KEY, Seen, open_model
from fundus_synth.classify.deploy.overlay import class_map, overlay
from fundus_synth.classify.deploy.photograph import Recipe, prepare
from fundus_synth.classify.deploy.predict import predict_files, table_csv, table_lines
from fundus_synth.classify.predictions import predict
from fundus_synth.data.image_file import read_image, write_image
from fundus_synth.preprocess.field_of_view import FieldOfView
from fundus_synth.runtime.errors import UserError

COLUMNS = [
    "file",
    "action",
    "predicted",
    "set",
    "p_normal",
    "p_anemic",
    "quality",
    "unfamiliarity",
    "reason",
    "problem",
]


@pytest.fixture
def eyes(tmp_path, camera_file):
    folder = tmp_path / "eyes"
    for number, red in enumerate((90, 200)):
        camera_file(folder / f"eye{number}.png", red)
    return folder


def test_it_tells_what_the_run_tells_of_camera_files(toy_run, toy_model, eyes):
    found = predict_files(toy_model, [eyes], quiet=True)
    expected = predict(toy_run, [eyes], device="cpu", quiet=True)
    assert [list(row) for row in found] == [COLUMNS] * 2
    assert [row["predicted"] for row in found] == expected["predicted"].tolist()
    assert [row["p_anemic"] for row in found] == pytest.approx(expected["p_anemic"].tolist(), abs=1e-4)
    assert all(row["action"] in ACTIONS and row["reason"] and not row["problem"] for row in found)


def test_the_answer_is_that_of_the_rules(toy_model, eyes):
    model, path = open_model(toy_model), eyes / "eye0.png"
    ready = prepare(path, Recipe(512, "none"))
    seen = model.look(ready.image[None])
    answer = give_answer(model.rules, seen.told[0], seen.features[0], ready.quality, ready.quality_reason, ready.retina)
    row = predict_files(toy_model, [path], quiet=True)[0]
    assert (row["action"], row["predicted"], row["reason"]) == (answer.action, answer.label, answer.reason)
    assert row["set"] == "; ".join(answer.set) and row["quality"] == ready.quality
    assert row["unfamiliarity"] == pytest.approx(answer.unfamiliarity)


def test_files_without_an_eye_are_taken_again_and_damaged_ones_are_problems(toy_model, eyes):
    write_image(eyes / "black.png", np.zeros((300, 400, 3), np.uint8))
    (eyes / "text.jpg").write_text("not an image")
    rows = {row["file"].rsplit("/")[-1]: row for row in predict_files(toy_model, [eyes], quiet=True)}
    black, text = rows["black.png"], rows["text.jpg"]
    assert black["action"] == "retake" and "No field of view" in black["reason"] and not black["predicted"]
    assert (text["action"], text["reason"]) == ("", "") and "is not an image" in text["problem"]
    assert all(
        math.isnan(row[name]) for row in (black, text) for name in ("p_normal", "p_anemic", "quality", "unfamiliarity")
    )
    assert rows["eye0.png"]["predicted"]
    with pytest.raises(UserError, match="is not an image"):
        predict_files(toy_model, [eyes / "text.jpg"], quiet=True)


def test_workers_give_the_same_table(toy_model, eyes):
    files = [eyes] * 8
    (eyes / "text.jpg").write_text("not an image")
    alone, spread = (predict_files(toy_model, files, workers=workers, quiet=True) for workers in (0, 2))
    assert len(alone) == 24 and table_csv(alone) == table_csv(spread)


def test_csv_and_lines_hold_the_rows(toy_model, eyes):
    write_image(eyes / "black.png", np.zeros((300, 400, 3), np.uint8))
    rows = predict_files(toy_model, [eyes], quiet=True)
    read = list(csv.DictReader(io.StringIO(table_csv(rows))))
    assert list(read[0]) == COLUMNS and read[0]["p_normal"] == ""
    assert float(read[1]["p_normal"]) == pytest.approx(rows[1]["p_normal"], rel=1e-8)
    lines = table_lines(rows)
    assert len(lines) == 4 and "problem" not in lines[0] and rows[1]["reason"] in lines[2]


def test_a_folder_without_images_and_a_full_overlay_folder_are_refused(toy_model, eyes, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image file"):
        predict_files(toy_model, [tmp_path / "empty"], quiet=True)
    with pytest.raises(UserError, match="already exists"):
        predict_files(toy_model, [eyes], overlays=eyes, quiet=True)


def test_overlays_color_the_field_of_view_only(toy_model, eyes, tmp_path):
    predict_files(toy_model, [eyes, eyes / "eye0.png"], overlays=tmp_path / "seen", quiet=True)
    pictures = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert pictures == ["00000-eye0.jpg", "00001-eye1.jpg", "00002-eye0.jpg"]
    frame, drawn = read_image(eyes / "eye0.png"), read_image(tmp_path / "seen" / "00000-eye0.jpg")
    assert drawn.shape == frame.shape and drawn[:10].max() < 10
    assert np.abs(drawn[150, 100:300].astype(int) - frame[150, 100:300]).max() > 20


def test_an_overlay_lies_where_the_map_is_strong():
    fov = FieldOfView(60.0, 40.0, 30.0, 1.0, "", (0.0, 0.0, 120.0, 80.0))
    found = np.zeros((3, 3), np.float32)
    found[1, 2] = 1  # right of the middle: x 70..90, y 30..50
    changed = overlay(np.full((80, 120, 3), 100, np.uint8), fov, found).astype(int) - 100
    strength = np.abs(changed).sum(axis=2)
    y, x = np.unravel_index(strength.argmax(), strength.shape)
    assert 65 <= x <= 90 and 28 <= y <= 52 and strength[40, 80] > 100
    assert strength[40, 45] < 30 and strength[:5].max() == 0 == strength[:, 95:].max()


def test_a_class_map_comes_from_the_model_or_from_covering_patches(toy_model):
    model = open_model(toy_model)
    maps = np.zeros((1, 2, 2, 2), np.float32)
    maps[0, 1] = [[-3, 1], [2, 4]]
    seen = Seen(np.array([[0.2, 0.8]], np.float32), None, np.zeros((1, 4), np.float32), maps)
    assert class_map(model, np.zeros((64, 64, 3), np.uint8), seen, 1).tolist() == [[0, 0.25], [0.5, 1]]
    # The toy's anaemic eyes are those with a red square in the middle.
    image = np.random.default_rng(0).integers(0, 120, (64, 64, 3)).astype(np.uint8)
    image[16:48, 16:48, 0] += 100
    found = class_map(model, image, model.look(image[None]), 1)
    middle = np.zeros((9, 9), bool)
    middle[2:7, 2:7] = True
    assert found.shape == (9, 9) and found.max() == 1
    assert found[middle].mean() > 2 * found[~middle].mean()


def test_torch_pandas_and_the_rest_are_not_needed(toy_model, eyes):
    program = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"torch", "timm", "pandas", "scipy", "sklearn", "matplotlib", "jinja2", "rich", "onnx", "skimage",
                                  "torchvision", "captum", "yaml", "pytorch_lightning"}}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
from fundus_synth.cli import classify_main
sys.argv = ["fundus-classify", "predict", {str(toy_model)!r}, {str(eyes / "eye0.png")!r}, "--json", "--quiet"]
classify_main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)[0]) == COLUMNS and not done.stderr


def test_haemoglobin_is_a_column_of_its_own(toy_model, eyes, tmp_path):
    from fundus_synth.classify.deploy.answer import Rules

    model = onnx.load(toy_model)
    facts = json.loads(model.metadata_props[0].value)
    rules = Rules(("hemoglobin_g_dl",), half_width=1.5, retina=0.0, quality=0.0)
    facts |= {"classes": ["hemoglobin_g_dl"], "target": "hemoglobin", "rules": rules.to_dict(), "decision": None}
    model.metadata_props[0].value = json.dumps(facts)
    # One number for each image: the first probability.
    start, end = (
        onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [1], [k]) for name, k in (("from", 0), ("to", 1))
    )
    axis = onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1])
    model.graph.initializer.extend([start, end, axis])
    model.graph.node.append(onnx.helper.make_node("Slice", ["probabilities", "from", "to", "axis"], ["value"]))
    del model.graph.output[0]
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, [None, 1]))
    onnx.save(model, tmp_path / "hb.onnx")
    row = predict_files(tmp_path / "hb.onnx", [eyes / "eye0.png"], quiet=True)[0]
    value = row["hemoglobin_g_dl"]
    assert row["predicted"] == f"{value:.1f}" and row["set"] == f"{value - 1.5:.1f}; {value + 1.5:.1f}"
    assert KEY == model.metadata_props[0].key


def test_it_agrees_with_the_run_on_real_camera_files(real_data, toy_run, toy_model):
    files = sorted((real_data / "camera_frames").glob("IDRiD_0[12].jpg"))
    found, expected = predict_files(toy_model, files, quiet=True), predict(toy_run, files, device="cpu", quiet=True)
    assert [row["p_normal"] for row in found] == pytest.approx(expected["p_normal"].tolist(), abs=1e-3)
    assert [row["predicted"] for row in found] == expected["predicted"].tolist()
