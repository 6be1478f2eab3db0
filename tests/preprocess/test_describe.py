"""The page about a dataset: its values are the table's, its warnings are true, and nothing it is given breaks it."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.phantom.cohort import write_phantom_dataset
from fundus_synth.preprocess.describe.association import associate, cramers_v
from fundus_synth.preprocess.describe.classes import SEVERAL, UNLABELLED, find_classes
from fundus_synth.preprocess.describe.collect import collect, missing_table
from fundus_synth.preprocess.describe.copies import Copies
from fundus_synth.preprocess.describe.describe import describe
from fundus_synth.preprocess.describe.findings import find
from fundus_synth.preprocess.describe.pictures import SIDE, draw, look, measure
from fundus_synth.runtime.errors import UserError


def disc(rng: np.random.Generator, side: int = 48, brightness: float = 0.5) -> np.ndarray:
    """A noisy orange circle on black."""
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    noise = rng.normal(1, 0.1, (side, side, 1))
    image = np.array([230, 120, 60]) * brightness * noise * (np.hypot(x, y) < side / 2)[..., None]
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def make(tmp_path):
    """make(rows, images=None, info=None): a dataset folder of these rows; an image of its own for each by default."""

    def build(rows: list[dict], images=None, info=None) -> FundusDataset:
        rng = np.random.default_rng(5)
        folder = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
        with DatasetWriter(folder, info or {"name": "made"}) as writer:
            for i, row in enumerate(rows):
                image = disc(rng) if images is None else images[i]
                writer.add({"file_name": f"images/{i:03d}.png", **row}, image)
        return FundusDataset.open(folder)

    return build


def described(dataset: FundusDataset, groups=None, **options):
    groups = np.arange(len(dataset)) if groups is None else np.asarray(groups)
    pairs = [(int(np.argmax(groups == g)), i, "near") for i, g in enumerate(groups) if (groups[:i] == g).any()]
    return collect(dataset, Copies(groups, pairs), **options)


def said(dataset: FundusDataset, groups=None) -> str:
    return "\n".join(finding.text for finding in find(described(dataset, groups)))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> FundusDataset:
    folder = tmp_path_factory.mktemp("phantoms") / "phantoms"
    dataset = write_phantom_dataset(folder, images_per_class=6, size=96, workers=1, quiet=True)
    split = dataset.column("patient_id").map(lambda p: ("train", "val", "test")[int(p[-1]) % 3])
    dataset = dataset.with_split(split)
    dataset.save_table()
    return dataset


@pytest.fixture(scope="module")
def phantom_page(phantoms, tmp_path_factory):
    result = describe(phantoms, tmp_path_factory.mktemp("page") / "page.html", quiet=True)
    return result, result.page.read_text("utf-8")


# --- the page


def test_every_section_is_there(phantom_page):
    _, page = phantom_page
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    for title in ("What stands out", "Overview", "Images and patients of each class", "Grades of diabetic retinopathy (ICDR)",
                  "Age and sex", "Haemoglobin", "Blood pressure", "Cameras and image sizes", "Light and colour of each class",
                  "Where the optic disc lies", "Samples of each class", "Mean image of each class", "Missing values", "Copies",
                  "How this page was made"):  # fmt: skip
        assert title in titles
    assert page.count("data:image/jpeg") == 3 * 6 + 2 * 3  # six samples and two means of three classes


def test_nothing_is_fetched_and_no_path_of_this_machine_is_told(phantom_page, phantoms):
    _, page = phantom_page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page) and "@import" not in page and "<script" not in page
    assert str(phantoms.path.parent) not in page


def test_table_of_classes_is_the_table(phantom_page, phantoms):
    result, page = phantom_page
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    for name in ("normal", "anemic", "diabetes"):
        part = phantoms.of_class(name)
        cells = [f"{len(part.split(s))} ({len(part.split(s).patients)})" for s in ("train", "val", "test")]
        assert [name, "6", "33.3%", str(len(part.patients)), *cells] in rows
    assert result.summary()["classes"] == phantoms.class_counts()
    assert result.summary()["patients"] == len(phantoms.patients)


def test_haemoglobin_counts_patients_below_the_cutoff(phantom_page, phantoms):
    _, page = phantom_page
    people = phantoms.table.drop_duplicates("patient_id")
    for sex, cutoff in (("female", 12), ("male", 13)):
        values = people["hemoglobin_g_dl"][people["sex"] == sex]
        assert f"{sex}: {(values < cutoff).sum()} of {len(values)} below {cutoff}" in page


def test_same_seed_same_page(make, tmp_path):
    dataset = make(eyes(12, age_years=lambda i: 40 + i), info={"name": "twice"})
    pages = [describe(dataset, tmp_path / f"{i}.html", quiet=True).page.read_text("utf-8") for i in range(2)]
    # The footer says when the page was made.
    assert pages[0].split("<footer>")[0] == pages[1].split("<footer>")[0]


def test_lines_and_summary(phantom_page, phantoms):
    result, _ = phantom_page
    lines = result.lines()
    assert lines[0].startswith(f"{phantoms.path}: 18 images, 9 patients: anemic (6)")
    assert "All images are synthetic" in lines[1] and "page.html" in lines[-1]
    assert json.loads(json.dumps(result.summary()))["duplicate_groups"] == 0


# --- whatever it is given


STRANGE = {
    "one image": [{"label": "normal"}],
    "nothing but files": [{}] * 3,
    "one class, no patients": [{"label": "normal", "sex": "male"}] * 4,
    "grades": [{"grade": i % 5, "patient_id": f"p{i}"} for i in range(10)],
    "haemoglobin without sex": [{"label": "anemic", "hemoglobin_g_dl": 9 + i, "age_years": 40} for i in range(4)],
    "several labels": [{"label": "", "N": 0, "D": 1, "G": i % 2, "patient_id": "p"} for i in range(4)],
    "half empty": [{"label": "normal" if i else "", "age_years": 50 if i else "", "sex": "female" if i else "",
                    "hemoglobin_g_dl": 12 if i else "", "disc_x": 0.7 if i else "", "disc_y": 0.5 if i else "",
                    "fov_confidence": 0.5 if i else "", "quality": 0.5 if i else ""} for i in range(4)],
    "two months old": [{"label": "normal", "age_years": 0.2, "sex": "male", "hemoglobin_g_dl": 11}] * 2,
    "a hostile name": [{"label": "<script>alert(1)</script>", "camera": "<img src=x>"}] * 2,
}  # fmt: skip


@pytest.mark.parametrize("rows", STRANGE.values(), ids=STRANGE)
@pytest.mark.filterwarnings("error")
def test_strange_sets_make_a_page(rows, make, tmp_path):
    dataset = make(rows)
    result = describe(dataset, tmp_path / "page.html", quiet=True)
    page = result.page.read_text("utf-8")
    assert f"<dd>{len(dataset)}</dd>" in page and "Samples of each class" in page
    assert "<script" not in page and "<img src=x" not in page
    assert sum(result.summary()["classes"].values()) == len(dataset)


def test_black_and_oblong_images(make):
    images = [np.zeros((32, 32, 3), np.uint8), np.full((30, 60, 3), 90, np.uint8)]
    d = described(make([{"label": "a"}, {"label": "b"}], images))
    assert np.isnan(d.pictures.measured["brightness"][0]) and d.pictures.measured["filled"][0] == 0
    assert d.pictures.measured["filled"][1] == pytest.approx(0.5, abs=0.02)
    assert "2 different sizes" in "\n".join(f.text for f in find(d))


def test_unreadable_images_are_listed_not_raised(make, tmp_path):
    dataset = make([{"label": "normal"}] * 4)
    dataset.image_path(1).write_bytes(b"no image")
    content = dataset.image_path(2).read_bytes()
    dataset.image_path(2).write_bytes(content[: len(content) // 2])
    result = describe(dataset, tmp_path / "page.html", quiet=True)
    assert sorted(n for n, _ in result.description.pictures.unreadable) == ["images/001.png", "images/002.png"]
    assert result.summary()["findings"][0].startswith("2 images cannot be read, e.g. images/00")
    assert len(result.description.pictures.measured) == 2


def test_left_out_files_are_counted_by_reason(make, tmp_path):
    dataset = make([{"label": "normal"}] * 2)
    (dataset.path / "rejected.csv").write_text(
        "camera_file,reason\na.jpg,is dark (mean 3.1)\nb.jpg,is dark (mean 4)\nc.jpg,torn\n"
    )
    (dataset.path / "ignored.csv").write_text("camera_file,reason\nx.txt,not an image\n")
    result = describe(dataset, tmp_path / "page.html", quiet=True)
    page = result.page.read_text("utf-8")
    assert result.summary()["rejected"] == 3 and result.summary()["ignored"] == 1
    assert re.search(r"is dark</td><td class=\"number\">2</td><td>a\.jpg", page) and "not an image" in page
    assert "3 camera files were rejected" in page


def test_out_must_be_a_page(make, tmp_path):
    dataset = make([{"label": "normal"}])
    with pytest.raises(UserError, match="is a folder"):
        describe(dataset, tmp_path)
    notes = tmp_path / "notes.html"
    notes.write_text("mine")
    with pytest.raises(UserError, match="not a page of this command"):
        describe(dataset, notes)
    assert notes.read_text() == "mine"
    with pytest.raises(UserError, match="has no images"):
        describe(dataset.subset([]), tmp_path / "page.html")
    describe(dataset, tmp_path / "page.html", quiet=True)
    describe(dataset, tmp_path / "page.html", quiet=True)  # its own page is replaced


# --- what stands out


def eyes(count: int, **columns) -> list[dict]:
    """`count` patients of one image each, half of them of class a; a column may be a function of the index."""
    return [{"patient_id": f"p{i}", "label": "ab"[i % 2], **{k: v(i) if callable(v) else v for k, v in columns.items()}}
            for i in range(count)]  # fmt: skip


def test_a_camera_that_goes_with_the_class_stands_out(make):
    rng = np.random.default_rng(0)
    chance = rng.integers(0, 2, 80)
    planted = said(make(eyes(80, camera=lambda i: "XY"[i % 2] if i > 8 else "X")))
    assert "Goes strongly with the class: camera" in planted and "From camera and file alone" in planted
    assert "camera" not in said(make(eyes(80, camera=lambda i: "XY"[chance[i]])))


def test_the_light_of_a_class_stands_out(make):
    rng = np.random.default_rng(1)
    images = [disc(rng, brightness=0.3 + 0.4 * (i % 2)) for i in range(60)]
    assert re.search(r"strongly with the class: .*brightness", said(make(eyes(60), images)))


def test_age_of_a_class_is_no_shortcut_of_the_camera(make):
    text = said(make(eyes(60, age_years=lambda i: 30 + i % 10 + 30 * (i % 2))))
    assert "Goes strongly with the class: age" in text and "From camera" not in text


def test_two_eyes_of_a_patient_count_once(make):
    rows = [
        {"patient_id": f"p{i // 2}", "label": "ab"[i // 2 % 2], "sex": ("male", "female")[i // 4 % 2]}
        for i in range(80)
    ]
    factor = next(f for f in described(make(rows)).factors if f.name == "sex")
    assert factor.association.rows == 40


def test_imbalance_tiny_classes_and_missing_values(make):
    rows = [
        {"patient_id": f"p{i}", "label": "rare" if i < 4 else "common", "sex": "male" if i % 2 else ""}
        for i in range(40)
    ]
    text = said(make(rows))
    assert "common has 9 times the images of rare (36 to 4)" in text
    assert "Few patients in rare (4)" in text and "sex (50%)" in text and "Not split yet" in text


def test_no_patients_and_no_labels_stand_out(make):
    text = said(make([{}] * 3))
    assert "No patients are named" in text and "No image has a label" in text


def test_splits_without_a_class_stand_out(make):
    rows = eyes(12, split=lambda i: "train" if i < 10 else "test")
    rows[-1]["label"] = "a"
    text = said(make(rows))
    assert "The split test has no b" in text and "split val" not in text and "Not split" not in text


def test_copies_in_conflict_and_across_a_split(make):
    dataset = make(eyes(6, split=lambda i: ("train", "test")[i // 3]))
    d = described(dataset, [0, 0, 1, 2, 3, 1])
    assert d.duplicates["images"].tolist() == [2, 2]
    assert d.duplicates["crosses a split"].tolist() == [True, False] and d.duplicates["in conflict"].all()
    assert "4 images are copies of one another, in 2 groups; 2 groups have conflicting labels; 1 groups cross" in said(
        dataset, [0, 0, 1, 2, 3, 1]
    )
    assert d.duplicates["kind"].tolist() == ["near", "near"] and d.strangers == [(0, 1), (2, 5)]
    assert described(dataset).duplicates.empty


def test_labels_against_haemoglobin_and_grade(make):
    rows = [
        {"label": "anemic", "sex": "female", "hemoglobin_g_dl": 12.0, "patient_id": "a"},  # 12.0 is not below 12
        {"label": "normal", "sex": "male", "hemoglobin_g_dl": 12.9, "patient_id": "b"},
        {"label": "normal", "sex": "female", "hemoglobin_g_dl": 12.9, "patient_id": "c", "grade": 2},
        {"label": "anemic", "sex": "male", "hemoglobin_g_dl": 9, "patient_id": "a"},
        {"label": "normal", "sex": "female", "hemoglobin_g_dl": 13, "patient_id": "d"},
    ]
    found = described(make(rows)).contradictions
    assert list(found.values()) == [1, 2, 2]  # grade; both sexes of patient a; two labels


def test_uncertain_fields_odd_values(make):
    rows = eyes(10, fov_confidence=lambda i: 0.4 if i < 2 else 0.9, age_years=lambda i: 1 if i == 0 else 50)
    text = said(make(rows))
    assert "2 of 10 fields of view are uncertain" in text and "age below 5 years (1)" in text


# --- the parts


def test_classes_from_codes_and_grades(make):
    coded = make([{"N": 1, "D": 0}, {"N": 0, "D": 1, "G": 1}, {"label": "amd", "N": 0, "D": 0}, {"N": 0, "D": 0}])
    assert find_classes(coded).of_image.tolist() == ["normal", SEVERAL, "amd", UNLABELLED]
    graded = find_classes(make([{"grade": 3}, {"grade": 0}, {"grade": ""}]))
    assert (graded.column, graded.names) == ("grade", ["grade 0", "grade 3"])
    assert graded.groups == ["grade 0", "grade 3", UNLABELLED]


def test_missing_shares_of_each_class(make):
    table = missing_table(described(make(eyes(8, camera=lambda i: "X" if i % 2 else "")))).set_index("column")
    assert table.loc["camera", ["missing", "share", "a", "b"]].tolist() == [4, "50.0%", "100%", "0%"]


def test_mean_image_mirrors_left_eyes(make):
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(4)]
    dataset = make([{"label": "a", "eye": ("left", "right")[i % 2], "patient_id": f"p{i}"} for i in range(4)], images)
    pictures = look(dataset, find_classes(dataset))
    expected = np.mean([image[:, ::-1] if i % 2 == 0 else image for i, image in enumerate(images)], axis=0)
    np.testing.assert_allclose(pictures.mean("a"), expected)


def test_measures_of_a_flat_disc():
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5 - SIDE / 2
    image = np.where((np.hypot(x, y) < SIDE / 2)[..., None], np.array([204, 102, 51]), 0).astype(np.uint8)
    found = measure(image)
    assert (found["red"], found["green"], found["blue"]) == pytest.approx((0.8, 0.4, 0.2))
    assert found["brightness"] == pytest.approx(0.299 * 0.8 + 0.587 * 0.4 + 0.114 * 0.2, abs=0.002)
    assert found["filled"] == pytest.approx(np.pi / 4, abs=0.005)
    checked = image.copy()
    checked[::2, ::2] //= 2
    assert found["contrast"] < 0.02 < measure(checked)["contrast"]


def test_every_patient_is_drawn_once_before_any_twice(make):
    dataset = make([{"label": "a", "patient_id": f"p{i // 4}"} for i in range(20)])
    rows = draw(dataset, find_classes(dataset), "a", 10, seed=3)
    patients = dataset.column("patient_id")[rows].tolist()
    assert len(set(rows)) == 10 and sorted(patients[:5]) == sorted(patients[5:]) == [f"p{i}" for i in range(5)]
    assert rows != draw(dataset, find_classes(dataset), "a", 10, seed=4)


def test_at_most_so_many_of_a_class_are_decoded(make):
    d = described(make(eyes(12)), per_class=3)
    assert d.classes.of_image[d.pictures.measured.index].value_counts().to_dict() == {"a": 3, "b": 3}
    assert len(d.pictures.files) == 12


# --- Cramer's V


def test_cramers_v_is_the_textbook_one_less_chance():
    from scipy.stats.contingency import association

    counts = np.array([[30, 10, 5], [12, 25, 8]])
    n, df, k = counts.sum(), 2, 1
    found = cramers_v(counts)
    assert found.v == pytest.approx(np.sqrt(association(counts, "cramer") ** 2 - df / (n * k)))
    assert found.low < found.v < found.high and found.rows == n
    assert cramers_v(np.diag([50, 50])).v > 0.99


@pytest.mark.parametrize("v", [0.0, 0.3])
def test_interval_of_cramers_v_holds_the_truth(v):
    """A 2 x 2 table with even margins has V = 2 (p - 1/2); 95 % of the intervals must hold it."""
    rng, p = np.random.default_rng(0), 0.5 + v / 2
    hits, widths = 0, []
    for _ in range(120):
        counts = rng.multinomial(200, np.array([p, 1 - p, 1 - p, p]) / 2).reshape(2, 2)
        found = cramers_v(counts)
        hits += found.low <= v <= found.high
        widths.append(found.high - found.low)
    assert hits / 120 >= 0.91 and np.mean(widths) < 0.3


def test_associate_leaves_out_what_is_missing_or_rare():
    classes = pd.Series(["a"] * 20 + ["b"] * 20 + ["c"] * 2)
    camera = pd.Series((["X"] * 10 + ["Y"] * 10) * 2 + ["Z"] * 2)
    camera[0] = ""
    assert associate(classes, camera).rows == 39
    assert associate(classes, pd.Series(["X"] * 42)) is None
    assert associate(pd.Series(["a"] * 42), camera) is None
    assert associate(classes, pd.Series([f"camera {i}" for i in range(42)])) is None
    assert associate(classes, pd.Series(np.full(42, np.nan))) is None
    numbers = pd.Series(np.r_[np.linspace(0, 1, 20), np.linspace(2, 3, 20), 0, 0])
    assert associate(classes, numbers).v > 0.8


# --- real eyes


def test_real_odir_eyes(real_data, tmp_path):
    odir = FundusDataset.open(real_data / "odir")
    some = odir.subset(np.arange(0, len(odir), 30))
    d = described(some, per_class=10)
    assert not d.pictures.unreadable and d.class_table["images"].sum() == len(some)
    assert 0.6 < d.pictures.measured["filled"].median() < 0.9
    assert 0.1 < d.pictures.measured["brightness"].median() < 0.7


def test_copy_is_found_by_the_search(make, tmp_path):
    folder = make(eyes(3)).path
    shutil.copyfile(folder / "images/000.png", folder / "images/001.png")
    (folder / "metadata.csv").write_text(re.sub(r",[0-9a-f]{64}", ",", (folder / "metadata.csv").read_text()))
    result = describe(FundusDataset.open(folder), tmp_path / "page.html", quiet=True)
    assert result.summary()["duplicate_groups"] == 1
    assert "images/000.png, images/001.png" in result.page.read_text("utf-8")
    assert result.description.duplicates["kind"].tolist() == ["exact"]
