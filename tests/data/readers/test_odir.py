from __future__ import annotations

import pandas as pd
import pytest

from fundus_synth.data.fake import write_fake_collection
from fundus_synth.data.image_file import write_image
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.data.schema import ODIR_CODES
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

HEADER = (
    "ID,Patient Age,Patient Sex,Left-Fundus,Right-Fundus,"
    "Left-Diagnostic Keywords,Right-Diagnostic Keywords,N,D,G,C,A,H,M,O"
)


def tree(folder, *lines, pictures=True):
    """full_df.csv of lines `ID,age,sex,left keywords,right keywords`, with all pictures."""
    folder.mkdir(exist_ok=True)
    rows = []
    for line in lines:
        number, age, sex, left, right = line.split(",", 4)
        rows.append(f'{number},{age},{sex},,,{left},"{right}",0,0,0,0,0,0,0,0')
        for eye in ("left", "right") if pictures else ():
            picture(folder / f"{number}_{eye}.jpg")
    (folder / "full_df.csv").write_text("\n".join([HEADER, *rows]) + "\n", "utf-8")
    return folder


def picture(path):
    write_image(path, pd.DataFrame([[90] * 24] * 8).to_numpy("uint8").reshape(8, 8, 3))


def eyes(found):
    return {f"{r['patient_id']} {r['eye']}": r for r in found.rows}


def codes(row):
    return "".join(code for code in ODIR_CODES if row.get(code))


@pytest.fixture(scope="module")
def fake(tmp_path_factory, plain_eyes):
    return write_fake_collection("odir", tmp_path_factory.mktemp("odir") / "odir", plain_eyes)


def test_the_fake_is_recognised_and_read_with_its_quirks(fake):
    found = read_collection(fake)
    rows = eyes(found)
    assert (found.info["format"], found.info["recognised"]) == ("odir", "full_df.csv")
    # The first patient has a healthy left eye and an ill right one; the patient's code is D.
    assert (codes(rows["odir-0 left"]), codes(rows["odir-0 right"])) == ("N", "D")
    assert rows["odir-0 left"]["picture_flags"] == "lens dust"
    assert (rows["odir-7 left"]["label"], codes(rows["odir-7 left"])) == ("", "HO")
    # One eye has nothing but a word about its picture, the other a disease without a grade beside it.
    blurred, ungraded = rows["odir-3935 left"], rows["odir-3935 right"]
    assert (blurred["label"], codes(blurred), "N" in blurred, blurred["picture_flags"]) == (
        "",
        "",
        False,
        "low image quality",
    )
    assert (ungraded["label"], ungraded["grade"], ungraded["picture_flags"]) == ("diabetes", "", "low image quality")
    assert ungraded["age_years"] == ""
    assert all(r["camera_file"].startswith("ODIR-5K/ODIR-5K/Training Images/") for r in found.rows)
    assert len(found.rows) == 16 + 1 + 2
    # Patient 7's right eye lacks the left one's H, and 2174's healthy left eye the right one's C.
    assert any("differ from them for 4 of 18 eyes" in note for note in found.info["notes"])


def test_every_picture_left_out_has_its_reason(fake):
    found = read_collection(fake)
    ignored = dict(found.ignored)
    inner = "ODIR-5K/ODIR-5K"
    assert ignored[f"{inner}/Training Images/1706_left.jpg"] == "keywords say: anterior segment image"
    assert ignored[f"{inner}/Training Images/1706_right.jpg"] == "keywords say: no fundus image"
    assert ignored[f"{inner}/Training Images/2174_right.jpg"] == "known bad picture"
    assert ignored[f"{inner}/Testing Images/937_left.jpg"] == "no row in the table"
    assert ignored["preprocessed_images/3_left.jpg"] == "the same eye again in another folder"
    pictures = {p.relative_to(fake).as_posix() for p in fake.rglob("*.jpg")}
    assert pictures == {r["camera_file"] for r in found.rows} | set(ignored)


def test_full_df_alone_reads_the_preprocessed_pictures(fake, tmp_path):
    src = tmp_path
    (src / "full_df.csv").write_bytes((fake / "full_df.csv").read_bytes())
    for path in (fake / "preprocessed_images").iterdir():
        (src / path.name).write_bytes(path.read_bytes())
    found = read_collection(src)
    # full_df.csv leaves the first patient out; a row for each eye does not double anybody.
    assert len(found.rows) == 19 - 2 and "odir-0 left" not in eyes(found)
    assert dict(found.ignored)["0_left.jpg"] == "no row in the table"


@pytest.mark.parametrize("name", ["ODIR-5K_Training_Annotations(Updated)_V2.xlsx", "data.xlsx"])
def test_workbooks_alone_are_recognised(fake, tmp_path, name):
    (tmp_path / name).write_bytes((fake / "ODIR-5K/ODIR-5K/data.xlsx").read_bytes())
    picture(tmp_path / "pics" / "0_RIGHT.JPG")
    found = read_collection(tmp_path)
    assert found.info["recognised"] == name
    assert [(r["patient_id"], r["label"], r["age_years"]) for r in found.rows] == [("odir-0", "diabetes", "40")]
    assert dict(found.ignored)["0_left"] == "no picture"


def test_the_three_sets_of_oia_odir_give_the_split(tmp_path):
    for number, (part, name) in enumerate(
        [("Training Set", "training"), ("Off-site Test Set", "off-site test"), ("On-site Test Set", "on-site test")]
    ):
        tree(tmp_path, f"{number},50,Male,normal fundus,cataract", pictures=False)
        table = pd.read_csv(tmp_path / "full_df.csv")
        folder = tmp_path / part / "Annotation"
        folder.mkdir(parents=True)
        table.to_excel(folder / f"{name} annotation (English).xlsx", index=False)
        picture(tmp_path / part / "Images" / f"{number}_left.jpg")
    (tmp_path / "full_df.csv").unlink()
    found = read_collection(tmp_path)
    splits = {r["patient_id"]: r["split"] for r in found.rows}
    assert splits == {"odir-0": "train", "odir-1": "test", "odir-2": "test"}
    table.to_excel(tmp_path / "Training Set/Annotation/training annotation (English).xlsx", index=False)
    with pytest.raises(UserError, match=r"training annotation \(English\)\.xlsx, row 2: patient 2 is in on-site"):
        read_collection(tmp_path)


@pytest.mark.parametrize(
    ("keywords", "expected", "grade"),
    [
        ("mild nonproliferative retinopathy", "D", 1),
        ("moderate non proliferative retinopathy", "D", 2),
        ("suspected moderate non proliferative retinopathy", "D", 2),
        ("severe nonproliferative retinopathy", "D", 3),
        ("proliferative diabetic retinopathy", "D", 4),
        ("severe proliferative diabetic retinopathy", "D", 4),
        ("mild nonproliferative retinopathy，severe nonproliferative retinopathy", "D", 3),
        ("suspicious diabetic retinopathy", "D", ""),
        ("normal fundus，diabetic retinopathy", "D", ""),
        ("normal fundus", "N", 0),
        ("epiretinal membrane，normal fundus，lens dust", "O", 0),
        ("suspected glaucoma", "G", ""),
        ("suspected cataract", "C", ""),
        ("age-related macular degeneration", "A", ""),
        ("wet age-related macular degeneration", "A", ""),
        ("hypertensive retinopathy", "H", ""),
        ("myopic maculopathy", "M", ""),
        ("myopia retinopathy", "M", ""),
        ("refractive media opacity", "O", ""),
        ("pigment epithelium proliferation", "O", ""),
        ("branch retinal vein occlusion", "O", ""),
        ("proliferative vitreoretinopathy", "O", ""),
    ],
)
def test_keywords(tmp_path, keywords, expected, grade):
    row = eyes(read_collection(tree(tmp_path, f"7,57,Female,{keywords},cataract")))["odir-7 left"]
    assert (codes(row), row["grade"]) == (expected, grade)


def test_all_known_bad_eyes_are_dropped(tmp_path):
    numbers = [*range(2174, 2183), 2957]
    found = read_collection(tree(tmp_path, *(f"{n},50,Male,normal fundus,normal fundus" for n in numbers)))
    assert sorted(eyes(found)) == ["odir-2174 left", "odir-2175 right", "odir-2176 right", "odir-2178 left"]
    assert set(dict(found.ignored).values()) == {"known bad picture"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,400,Male,normal fundus,cataract", r"full_df\.csv, row 3: age_years is '400'"),
        ("3,40,M,normal fundus,cataract", r"full_df\.csv, row 3: sex is 'm'; expected female or male"),
    ],
)
def test_a_wrong_value_is_named_by_its_row(tmp_path, line, message):
    src = tree(tmp_path, "1,40,Male,normal fundus,normal fundus", line)
    (src / "1_left.jpg").unlink()
    with pytest.raises(UserError, match=message):
        read_collection(src)


def test_missing_table_column_and_pictures(tmp_path):
    picture(tmp_path / "1_left.jpg")
    with pytest.raises(UserError, match="no ODIR table; expected ODIR-5K's workbook"):
        read_collection(tmp_path, "odir")
    (tmp_path / "full_df.csv").write_text("ID,Patient Age\n1,2\n")
    with pytest.raises(UserError, match="is not ODIR's table: no column Patient Sex, Left-Diagnostic"):
        read_collection(tmp_path, "odir")
    (tmp_path / "data.csv").write_bytes(b"\xff\xfeno text")
    assert read_collection(tmp_path).info["format"] != "odir"


def test_a_table_from_elsewhere(tmp_path):
    src = tree(tmp_path / "a", "1,40,Male,normal fundus,cataract")
    table = (src / "full_df.csv").rename(tmp_path / "labels.csv")
    found = read_collection(src, "odir", ReaderOptions(table=table))
    assert [r["label"] for r in found.rows] == ["normal", "cataract"]


def test_the_fake_through_the_pipeline(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, all_kinds=True, quiet=True)
    assert len(result.dataset) + len(result.rejected) == 19
    table = result.dataset.table.set_index("camera_file")
    flagged = table.loc["ODIR-5K/ODIR-5K/Training Images/3935_left.jpg"]
    assert flagged["label"] == "" and flagged[list(ODIR_CODES)].isna().all()


def test_real_table(real_data):
    found = read_collection(real_data / "odir_as_downloaded")
    assert found.info["format"] == "odir" and len(found.rows) == 60
    assert {r["label"] for r in found.rows} >= {"normal", "diabetes", "hypertension"}
    # Both eyes of 3358 patients less the sixty that are there.
    assert [reason for _, reason in found.ignored].count("no picture") == 2 * 3358 - 60
