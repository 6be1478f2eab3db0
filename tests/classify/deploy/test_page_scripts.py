"""The page's scripts say what Python says, run by node without a browser."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image

from fundus_synth.classify.deploy.answer import Rules, give_answer
from fundus_synth.classify.deploy.conformal import ClassSets
from fundus_synth.classify.deploy.familiarity import Familiarity
from fundus_synth.classify.deploy.model_file import Seen
from fundus_synth.classify.deploy.overlay import _occlusion
from fundus_synth.classify.deploy.web_page import SOURCES
from fundus_synth.data.image_file import read_image
from fundus_synth.data.phantom.torture import torture_set
from fundus_synth.preprocess.circle_fit import consensus_circle, refine_circle
from fundus_synth.preprocess.dataset_masks import whole_field
from fundus_synth.preprocess.field_of_view import UNSURE, FieldOfView, find_field_of_view
from fundus_synth.preprocess.picture_kind import WEIGHTS, picture_kind
from fundus_synth.preprocess.quality import measure_quality
from fundus_synth.preprocess.standardize import standardize
from fundus_synth.runtime.files import without_nan

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

# Arrays travel as base64; {"picture": ...} becomes what the scripts call a picture.
_BEFORE = """
import { readFileSync } from "node:fs";
const page = process.argv[1];
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const input = JSON.parse(readFileSync(0, "utf8"), (_, value) => {
  if (value?.picture) return { ...value, data: new Uint8ClampedArray(bytes(value.picture).buffer) };
  if (value?.float32s) return new Float32Array(bytes(value.float32s).buffer);
  return value?.uint8s === undefined ? value : bytes(value.uint8s);
});
const pack = (_, value) => {
  if (value instanceof Float32Array) return { float32s: Buffer.from(value.buffer).toString("base64") };
  if (ArrayBuffer.isView(value)) return { uint8s: Buffer.from(value.buffer).toString("base64") };
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
};
const load = (name) => import(`${page}/${name}`);
"""
_AFTER = "\nconsole.log(JSON.stringify(result, pack));"


def _text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _picture(image: np.ndarray) -> dict:
    channels = 1 if image.ndim == 2 else image.shape[2]
    return {"width": image.shape[1], "height": image.shape[0], "channels": channels, "picture": _text(image)}


def _floats(array: np.ndarray) -> dict:
    return {"float32s": _text(np.asarray(array, np.float32))}


def _unpacked(value: dict) -> object:
    if "float32s" in value:
        return np.frombuffer(base64.b64decode(value["float32s"]), np.float32)
    return np.frombuffer(base64.b64decode(value["uint8s"]), np.uint8) if "uint8s" in value else value


def run(code: str, value: object) -> object:
    """What `code` makes of `input` as `result`; it may use `load`, which imports one of the page's scripts."""
    command = ["node", "--input-type=module", "-e", _BEFORE + code + _AFTER, str(SOURCES)]
    done = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout, object_hook=_unpacked)


def _torture() -> list[np.ndarray]:
    return [picture.image for picture in torture_set(6, seed=3, size=200)]


@pytest.fixture(scope="module")
def frames(frame_of) -> list[np.ndarray]:
    """Whole, off-centre, cut, dark, hazy, noisy, small and large frames."""
    cut = frame_of(300, 400, 200, 150, 145)
    cut[:47] = 0
    return [
        frame_of(810, 977, 491, 393, 351, noise=2),
        frame_of(300, 400, 170, 160, 180),
        cut,
        frame_of(301, 399, 200, 150, 120, gain=0.1, noise=0.5),
        frame_of(300, 400, 200, 150, 140, side_light=0.7, surround=18, noise=4),
        np.clip(frame_of(400, 500, 252, 199, 180).astype(int) + 60, 0, 255).astype(np.uint8),
        cv2.GaussianBlur(frame_of(500, 600, 302, 255, 230), (0, 0), 5),
        frame_of(512, 512, 256, 256, 256),
        *_torture(),
    ]


@pytest.fixture(scope="module")
def frame_of():
    def draw(height, width, x, y, radius, *, gain=1.0, side_light=0.0, surround=0, noise=0.0):
        random = np.random.default_rng(round(x + y))
        px, py = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        coverage = np.clip(radius - np.hypot(px - x, py - y) + 0.5, 0, 1)[..., None]
        texture = cv2.resize(random.normal(0, 0.2, (40, 50)), (width, height), interpolation=cv2.INTER_CUBIC)
        light = (1 + texture) * (1 + side_light * (px - x) / radius) * gain
        eye = np.array((190, 95, 50)) * light.clip(0.02)[..., None]
        image = eye * coverage + surround * (1 - coverage) + random.normal(0, noise or 1e-9, eye.shape)
        return np.rint(image).clip(0, 255).astype(np.uint8)

    return draw


_EXAMINE = """
const { findFieldOfView, standardize } = await load("field.js");
const { measureQuality } = await load("quality.js");
const { pictureKind } = await load("kind.js");
const { readTensors } = await load("safetensors.js");
const weights = readTensors(input.weights.buffer);
const result = input.frames.map((frame) => {
  const field = findFieldOfView(frame);
  const standard = standardize(frame, field, input.size);
  const quality = measureQuality(standard.image, standard.mask);
  return { field, kind: pictureKind(frame, field, weights), quality, image: standard.image.data, mask: standard.mask };
});
"""


def _examined(frames: list[np.ndarray], size: int) -> list[dict]:
    weights = {"uint8s": _text(np.fromfile(WEIGHTS, np.uint8))}
    return run(_EXAMINE, {"frames": [_picture(frame) for frame in frames], "weights": weights, "size": size})


@pytest.fixture(scope="module")
def examined(frames) -> list[dict]:
    return _examined(frames, 256)


def _sure(frames: list[np.ndarray], examined: list[dict]) -> list[tuple[np.ndarray, FieldOfView, dict]]:
    return [
        (frame, find_field_of_view(frame), found)
        for frame, found in zip(frames, examined, strict=True)
        if found["field"]["confidence"] >= UNSURE
    ]


def _check_field(field: FieldOfView, found: dict) -> None:
    told = found["field"]
    assert [told["x"], told["y"], told["radius"]] == pytest.approx([field.x, field.y, field.radius], abs=0.3)
    assert told["box"] == pytest.approx(field.box, abs=1)
    assert told["confidence"] == pytest.approx(field.confidence, abs=0.02) and told["reason"] == field.reason


def _check_pixels(frame: np.ndarray, field: FieldOfView, found: dict, size: int) -> None:
    expected = standardize(frame, size, fov=field)
    off = np.abs(found["image"].reshape(size, size, 3).astype(int) - expected.image)
    assert np.array_equal(found["mask"].reshape(size, size), expected.mask)
    assert off.max() <= 1 and (off > 0).mean() < 0.002
    quality = measure_quality(expected.image, expected.mask)
    assert found["quality"]["score"] == pytest.approx(quality.score, abs=1e-3)
    assert found["quality"]["reason"] == quality.reason


def test_a_field_of_view_that_is_sure_is_that_of_python(frames, examined):
    sure = _sure(frames, examined)
    assert len(sure) >= 8
    for _, field, found in sure:
        _check_field(field, found)


def test_what_python_finds_without_its_other_ways_the_page_finds(frames, examined):
    for frame, found in zip(frames[:8], examined[:8], strict=True):
        assert (found["field"]["confidence"] >= UNSURE) == (find_field_of_view(frame).confidence >= UNSURE)


def test_standardised_pictures_and_their_quality_are_those_of_python(frames, examined):
    sure = _sure(frames, examined)
    reasons = set()
    for frame, _, found in sure:
        told = found["field"]
        same = FieldOfView(told["x"], told["y"], told["radius"], 1.0, "", tuple(told["box"]))
        _check_pixels(frame, same, found, 256)
        reasons.add(found["quality"]["reason"])
    assert len(reasons) >= 3  # good and bad in several ways


def test_the_kind_of_picture_is_that_of_python(frames, examined):
    for frame, found in zip(frames, examined, strict=True):
        told = found["field"]
        fov = FieldOfView(told["x"], told["y"], told["radius"], told["confidence"], "", tuple(told["box"]))
        if fov.confidence < 0.25:
            continue
        kind = picture_kind(frame, fov)
        assert found["kind"]["retina"] == pytest.approx(kind.retina, abs=1e-3)
        assert (found["kind"]["kind"], found["kind"]["reason"]) == (kind.kind, kind.reason)


def test_the_kind_of_a_whole_frame_is_that_of_python():
    random = np.random.default_rng(0)
    shapes = [np.full((200, 130, 3), 30, np.uint8), random.integers(0, 256, (70, 90, 3)).astype(np.uint8)]
    page = np.full((700, 500, 3), 250, np.uint8)
    for line in range(20, 680, 30):
        cv2.putText(page, "a page of text", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2)
    code = """
    const { pictureKind } = await load("kind.js");
    const { readTensors } = await load("safetensors.js");
    const result = input.frames.map((frame) => pictureKind(frame, null, readTensors(input.weights.buffer)));
    """
    frames = [*shapes, page]
    weights = {"uint8s": _text(np.fromfile(WEIGHTS, np.uint8))}
    for frame, found in zip(
        frames, run(code, {"frames": list(map(_picture, frames)), "weights": weights}), strict=True
    ):
        expected = picture_kind(frame, None)
        assert found["retina"] == pytest.approx(expected.retina, abs=1e-3) and found["kind"] == expected.kind


def test_real_camera_files(real_data):
    files = sorted(path for path in (real_data / "camera_frames").iterdir() if path.suffix in (".jpg", ".jpeg"))[1:9:6]
    files += (
        sorted((real_data / "drive" / "images").iterdir())[:1]
        + sorted((real_data / "eyepacs" / "images").iterdir())[:2]
    )
    frames = list(map(read_image, files))
    sure = _sure(frames, _examined(frames, 512))
    assert len(sure) >= len(frames) - 1
    for frame, field, found in sure:
        _check_field(field, found)
        _check_pixels(frame, field, found, 512)
        assert found["kind"]["retina"] == pytest.approx(picture_kind(frame, field).retina, abs=1e-3)


def test_random_numbers_are_those_of_numpy():
    code = """
    const { SeedZero } = await load("random.js");
    const random = new SeedZero();
    const result = [random.integers(777, 601), random.permutation(777), random.integers(2 ** 31, 50), random.permutation(5)];
    """
    random = np.random.default_rng(0)
    expected = [
        random.integers(0, 777, 601),
        random.permutation(777),
        random.integers(0, 2**31, 50),
        random.permutation(5),
    ]
    assert run(code, None) == [values.tolist() for values in expected]


def test_consensus_and_fit_of_a_circle_are_those_of_python():
    random = np.random.default_rng(1)
    cases = []
    for _ in range(6):
        angle = random.uniform(0, random.uniform(2, 6), 90)
        arc = np.stack([120 + 80 * np.cos(angle), 100 + 80 * np.sin(angle)], 1) + random.normal(0, 0.4, (90, 2))
        cases.append(np.concatenate([arc, random.uniform(0, 250, (60, 2))]))
    code = """
    const { consensusCircle, refineCircle } = await load("circle.js");
    const result = input.map((points) => {
      const found = consensusCircle(points, [20, 200], 0.01);
      return [found, refineCircle(found, points, [110, 110], 12)];
    });
    """
    for points, found in zip(cases, run(code, [points.tolist() for points in cases]), strict=True):
        circle = consensus_circle(points, (20, 200), 0.01)
        refined = refine_circle(circle, points, np.ones(len(points)), (110, 110), 12)
        for told, expected in zip(found, (circle, refined), strict=True):
            assert [told["x"], told["y"], told["radius"]] == pytest.approx(expected, abs=1e-6)
    assert run('const { consensusCircle } = await load("circle.js"); const result = consensusCircle([[0, 0], [1, 1]], [1, 9], 1);',
               None) is None  # fmt: skip


@pytest.mark.parametrize(
    ("name", "method", "sizes"),
    [
        ("shrink", cv2.INTER_AREA, [(311, 207), (128, 64), (96, 32), (225, 224), (700, 33)]),
        ("enlarge", cv2.INTER_CUBIC, [(40, 80), (97, 131), (60, 224)]),
        ("interpolateBytes", cv2.INTER_LINEAR, [(256, 224), (300, 224), (63, 224)]),
    ],
)
def test_resampling_is_that_of_opencv(name, method, sizes):
    random = np.random.default_rng(2)
    images = [random.integers(0, 256, (side, side + 14, 3)).astype(np.uint8)[:, :side] for side, _ in sizes]
    inputs = [{"image": _picture(image), "to": to} for image, (_, to) in zip(images, sizes, strict=True)]
    code = f'const {{ {name} }} = await load("resize.js"); const result = input.map((x) => {name}(x.image, x.to, x.to).data);'
    for image, (_, to), found in zip(images, sizes, run(code, inputs), strict=True):
        off = np.abs(found.reshape(to, to, 3).astype(int) - cv2.resize(image, (to, to), interpolation=method))
        assert off.max() <= 1 and (off > 0).mean() < 0.005


def test_halves_morphology_and_blurs_are_those_of_opencv():
    random = np.random.default_rng(3)
    plane = random.integers(0, 256, (37, 52)).astype(np.uint8)
    flags = (random.uniform(size=(37, 52)) < 0.7).astype(np.uint8)
    code = """
    const { halfPlane } = await load("resize.js");
    const { blur, blurBytes, closed, eroded, opened } = await load("filters.js");
    const { plane, floats, flags } = input;
    const smooth = { ...plane, data: floats };
    const result = [blurBytes(plane), opened(flags, 3), closed(flags, 5), eroded(flags, 13, 0), halfPlane(smooth),
      blur(smooth, 1.7, 13)].map((found) => found.data);
    """
    found = run(code, {"plane": _picture(plane), "floats": _floats(plane), "flags": _picture(flags)})
    kernel = [np.ones((side, side), np.uint8) for side in (3, 5, 13)]
    expected = [
        cv2.GaussianBlur(plane, (3, 3), 0.8),
        cv2.morphologyEx(flags, cv2.MORPH_OPEN, kernel[0]),
        cv2.morphologyEx(flags, cv2.MORPH_CLOSE, kernel[1]),
        cv2.erode(flags, kernel[2], borderValue=0),
        cv2.resize(plane.astype(np.float32), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        cv2.GaussianBlur(plane.astype(np.float32), (13, 13), 1.7),
    ]
    for told, value in zip(found, expected, strict=True):
        assert told == pytest.approx(value.ravel(), abs=1e-3)


def _rules(random: np.random.Generator, way: str) -> Rules:
    k = int(random.integers(2, 5))
    sets = [ClassSets(tuple(random.uniform(0, 0.6, k)), (0.9,) * k, (9,) * k) for _ in range(2)]
    directions = np.linalg.qr(random.normal(size=(6, 3)))[0].T
    known = Familiarity(
        random.normal(size=(k, 6)).astype(np.float32), directions.astype(np.float32),
        np.array([3, 2, 1.5], np.float32), 0.7, 4.0, 0.99,
    )  # fmt: skip
    parts = {
        "sets": {"sets": sets[0]},
        "multipliers": {"sets": sets[0], "multipliers": tuple(random.uniform(0.5, 2, k))},
        "cuts": {"sets": sets[0], "cuts": tuple(np.arange(k - 1) + random.uniform(0.3, 0.7)), "temperature": 1.3},
        "labels": {"present": sets[0], "absent": sets[1], "thresholds": tuple(random.uniform(0.2, 0.8, k))},
        "number": {"half_width": float(random.uniform(0.2, 3)), "limits": (12.0, 13.0)},
    }[way]
    familiarity = known if random.uniform() < 0.7 else None
    return Rules(tuple(f"class {i}" for i in range(k)), familiarity=familiarity, attained=0.87, **parts)


def _case(random: np.random.Generator, rules: Rules) -> dict:
    k = len(rules.classes)
    told = random.dirichlet(np.full(k, 0.5)) if rules.sets else random.uniform(size=k)
    told = random.choice([12.25, 7.75, 11.3, -0.04, np.nan], 1) if rules.half_width is not None else told
    return {
        "told": told.astype(np.float32), "features": random.normal(0, 1.5, 6).astype(np.float32),
        "quality": float(random.choice([0.1, 0.2, 0.9])), "retina": float(random.choice([0.01, 0.02, 1, 1, 1])),
        "reason": str(random.choice(["", "too dark", "much of the field is not visible"])),
    }  # fmt: skip


def test_answers_are_those_of_python():
    random = np.random.default_rng(4)
    ways = ("sets", "multipliers", "cuts", "labels", "number") * 60
    cases = [(rules, _case(random, rules)) for rules in (_rules(random, way) for way in ways)]
    cases[0][1]["told"][:] = np.nan
    cases[5][1]["features"][2] = np.nan
    code = """
    const { giveAnswer } = await load("answer.js");
    const result = input.map((x) => giveAnswer(x.rules, x.told, x.features, x.photograph));
    """
    inputs = [
        {
            "rules": without_nan(rules.to_dict()), "told": _floats(case["told"]), "features": _floats(case["features"]),
            "photograph": {"quality": case["quality"], "qualityReason": case["reason"], "retina": case["retina"]},
        }
        for rules, case in cases
    ]  # fmt: skip
    actions = []
    for (rules, case), found in zip(cases, run(code, inputs), strict=True):
        expected = give_answer(rules, case["told"], case["features"], case["quality"], case["reason"], case["retina"])
        assert (found["action"], found["label"], tuple(found["set"]), found["reason"]) == (
            expected.action, expected.label, expected.set, expected.reason,
        )  # fmt: skip
        assert float(found["unfamiliarity"]) == pytest.approx(expected.unfamiliarity, rel=1e-5, nan_ok=True)
        actions.append(found["action"])
    assert {actions.count(action) > 20 for action in ("answer", "refer", "retake")} == {True}


def test_numbers_are_rounded_as_python_writes_them():
    values = [0.25, 0.75, 0.35, 0.05, -0.25, 12.25, 12.35, 9.95, -3.15, 1e-9, 123456.75, 2.5]
    code = 'const { oneDecimal } = await load("answer.js"); const result = input.map(oneDecimal);'
    assert run(code, values) == [f"{value:.1f}" for value in values]


def _encoded(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **options)
    return stream.getvalue()


def test_the_header_tells_type_and_size_before_anything_is_decoded():
    image = Image.fromarray(np.random.default_rng(5).integers(0, 256, (45, 67, 3)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        _encoded(image, format="JPEG"), _encoded(image, format="JPEG", progressive=True, exif=exif.tobytes()),
        _encoded(image, format="PNG"), _encoded(image, format="WEBP"), _encoded(image, format="WEBP", lossless=True),
        _encoded(image.convert("RGBA"), format="WEBP", exif=exif.tobytes()),
    ]  # fmt: skip
    # A Huffman table before the frame, and a byte of filling.
    files.insert(0, files[0][:2] + b"\xff\xc4\x00\x06abcd\xff" + files[0][2:])
    types = ["image/jpeg"] * 3 + ["image/png"] + ["image/webp"] * 3
    others = [
        b"",
        b"\xff\xd8\xff",
        files[0][:30],
        b"<svg/>",
        _encoded(image, format="GIF"),
        files[3][:20],
        b"RIFF1234WEBPVP8 ",
    ]
    code = 'const { readHeader } = await load("header.js"); const result = input.map((file) => readHeader(file));'
    inputs = [{"uint8s": base64.b64encode(file).decode()} for file in files + others]
    found = run(code, inputs)
    assert found == [{"type": kind, "width": 67, "height": 45} for kind in types] + [None] * len(others)


def test_maps_keep_what_speaks_for_a_class():
    maps = np.array([[[1, -2], [3, 0]], [[-1, -1], [-1, -1]]], np.float32)
    code = """
    const { activationMap } = await load("heat.js");
    const result = [0, 1].map((k) => activationMap({ shape: [2, 2, 2], data: input }, k, 8));
    """
    first, second = (found.reshape(8, 8) for found in run(code, _floats(maps)))
    enlarged = cv2.resize(maps[0], (8, 8), interpolation=cv2.INTER_LINEAR)
    assert first == pytest.approx(np.maximum(enlarged, 0) / 3, abs=1e-6)
    assert not second.any()


def test_occlusion_hides_what_python_hides():
    rng = np.random.default_rng(3)
    image = rng.integers(1, 256, (64, 64, 3)).astype(np.uint8)
    image[whole_field(64) == 0] = 0
    weights = rng.normal(size=(64, 64)).astype(np.float32)

    class Model:
        def look(self, images: np.ndarray) -> Seen:
            told = (images[..., 1].astype(np.float64) * weights).sum(axis=(1, 2)) / 1000
            return Seen(np.stack([1 - told, told], 1), None, np.zeros((len(images), 1)), None)

    model = Model()
    expected = np.maximum(_occlusion(model, image, model.look(image[None]).told[0, 1], 1), 0)
    code = """
    const { occlusion } = await load("heat.js");
    const look = async ({ data }) => {
      const told = input.weights.reduce((sum, weight, i) => sum + weight * data[3 * i + 1], 0) / 1000;
      return { probabilities: [1 - told, told] };
    };
    const result = await occlusion(input.image, look, 1);
    """
    found = run(code, {"image": _picture(image), "weights": _floats(weights)}).reshape(expected.shape)
    assert found == pytest.approx(expected, abs=1e-5)
    assert (expected > 0).sum() > 10


def test_occlusion_that_is_no_longer_asked_for_stops():
    code = """
    const { occlusionMap } = await load("heat.js");
    let looks = 0;
    const look = async () => ({ probabilities: [++looks] });
    const map = await occlusionMap(input, look, 0, async (share) => share < 0.2);
    const result = [map === null, looks];
    """
    stopped, looks = run(code, _picture(np.full((90, 90, 3), 100, np.uint8)))
    assert stopped and 5 < looks < 20


def test_occlusion_finds_the_only_place_that_matters():
    image = np.full((90, 90, 3), 100, np.uint8)
    image[60:70, 20:30] = 250
    code = """
    const { occlusionMap } = await load("heat.js");
    const look = async ({ data }) => ({ probabilities: [0.5, data[3 * (65 * 90 + 25)] / 255] });
    const result = await occlusionMap(input, look, 1);
    """
    found = run(code, _picture(image)).reshape(90, 90)
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert abs(row - 65) <= 6 and abs(column - 25) <= 6 and found.max() == 1 and found[10:30, 50:].max() == 0
