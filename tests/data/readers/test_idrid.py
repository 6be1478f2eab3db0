from __future__ import annotations

import shutil

import numpy as np
import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.image_file import read_image, write_image
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

HEADER = "Image name,Retinopathy grade,Risk of macular edema ,,,\n"
PARTS = {"segmentation": "A. Segmentation", "grading": "B. Disease Grading", "localisation": "C. Localization"}


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return write_fake_collection("idrid", tmp_path_factory.mktemp("fake") / "idrid", FakeEyes(count=12, size=96))


def part(fake, name):
    return read_collection(fake, "idrid", ReaderOptions(part=name)).rows


def grading(folder, text, *pictures, table="a. IDRiD_Disease Grading_Training Labels.csv"):
    """A part B with pictures that the reader does not open."""
    (folder / "2. Groundtruths").mkdir(parents=True, exist_ok=True)
    (folder / "2. Groundtruths" / table).write_text(text)
    for name in pictures:
        path = folder / "1. Original Images" / "a. Training Set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def localisation(folder, text):
    """A part C with one picture 40 pixels wide and 20 high."""
    write_image(folder / "1. Original Images" / "a. Training Set" / "IDRiD_001.jpg", np.zeros((20, 40, 3), np.uint8))
    (folder / "IDRiD_OD_Center_Training Set_Markups.csv").write_text("Image No,X- Coordinate,Y - Coordinate,,\n" + text)
    return folder


def test_all_parts_are_found_and_said(fake):
    found = read_collection(fake)
    assert found.info["recognised"] == "IDRiD A segmentation, B grading, C localisation"
    assert {row["source"] for row in found.rows} == {"idrid-a", "idrid-b", "idrid-c"}
    assert len({row["camera_file"] for row in found.rows}) == len(found.rows) == 6 + 12 + 12
    assert found.ignored == []


def test_ids_are_never_joined_across_parts_or_sets(fake):
    rows = read_collection(fake).rows
    assert all("patient_id" not in row for row in rows)
    for row in rows:
        kinds = {"masks": "idrid-a", "grade": "idrid-b", "disc_x": "idrid-c"}
        assert [kind for kind in kinds if kind in row] == [
            kind for kind, source in kinds.items() if source == row["source"]
        ]


def test_numbers_begin_again_in_the_testing_set(fake, tmp_path):
    both = [row for row in part(fake, "grading") if row["path"].stem == "IDRiD_002"]
    assert {row["split"]: row["grade"] for row in both} == {"train": 4, "test": 3}


def test_split_is_given_for_one_part_only(fake):
    together = read_collection(fake)
    assert all("split" not in row for row in together.rows) and any(
        "other numbers" in n for n in together.info["notes"]
    )
    assert {row["idrid_split"] for row in together.rows} == {"train", "test"}
    alone = read_collection(fake, "idrid", ReaderOptions(part="localization"))
    assert {row["split"] for row in alone.rows} == {"train", "test"} and alone.info["notes"] == []


def test_missing_mask_file_means_absent(fake):
    rows = part(fake, "segmentation")
    lesions = {"microaneurysms", "haemorrhages", "hard_exudates", "cotton_wool_spots"}
    for row in rows:
        absent = set(row["absent_lesions"].split("|")) - {""}
        assert absent == lesions - set(row["masks"]) and "optic_disc" in row["masks"]
    assert any(row["absent_lesions"] for row in rows)


def test_a_kind_that_was_not_downloaded_is_not_called_absent(fake, tmp_path):
    src = tmp_path / "A. Segmentation"
    shutil.copytree(fake / "A. Segmentation", src)
    for folder in src.rglob("4. Soft Exudates"):
        shutil.rmtree(folder)
    assert not any("cotton_wool_spots" in row["absent_lesions"] for row in read_collection(src).rows)


def test_space_and_empty_columns_of_the_grading_table(fake):
    rows = part(fake, "grading")
    assert {row["grade"] for row in rows} == {0, 1, 2, 3, 4}
    assert all(row["macular_edema_risk"] == max(0, row["grade"] - 2) for row in rows)
    assert {(row["grade"] > 0, row["label"]) for row in rows} == {(False, "normal"), (True, "diabetes")}


def test_centres_are_fractions_of_the_width_on_both_axes(tmp_path):
    row = read_collection(localisation(tmp_path / "c", "IDRiD_001,10,18,,\n,,,,\n,,,,\n")).rows[0]
    assert (row["disc_x"], row["disc_y"]) == (0.25, 0.45) and "fovea_x" not in row


def test_blank_rows_are_passed_over_and_row_numbers_stay(tmp_path):
    src = localisation(tmp_path / "c", ",,,,\n\nIDRiD_001,10,21,,\n")
    with pytest.raises(UserError, match=r"Markups\.csv, row 4: disc y is '21'; expected pixels from 0 to 20"):
        read_collection(src)


def test_pictures_and_rows_without_each_other_are_listed(tmp_path):
    src = grading(tmp_path / "b", HEADER + "IDRiD_001,1,0,,,\nIDRiD_003,1,0,,,\n", "IDRiD_001.jpg", "IDRiD_002.jpg")
    found = read_collection(src)
    assert [row["path"].name for row in found.rows] == ["IDRiD_001.jpg"]
    assert sorted(found.ignored) == [
        ("1. Original Images/a. Training Set/IDRiD_002.jpg", "no row in the table of its set"),
        ("train/idrid_003", "no picture"),
    ]


def test_training_table_never_speaks_for_the_testing_set(fake, tmp_path):
    src = tmp_path / "B. Disease Grading"
    shutil.copytree(fake / "B. Disease Grading", src)
    next(src.rglob("b. IDRiD_Disease*")).unlink()
    found = read_collection(src)
    assert {row["split"] for row in found.rows} == {"train"}
    assert {reason for _, reason in found.ignored} == {"its set has no table"} and len(found.ignored) == 4


def test_archives_that_unpack_into_a_folder_of_their_own_name(fake, tmp_path):
    src = tmp_path / "download"
    for name in PARTS.values():
        shutil.copytree(fake / name, src / name / name)
    assert len(read_collection(src).rows) == 30


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "IDRiD_001,5,0,,,\n", r"row 2: Retinopathy grade is '5'.*from 0 to 4"),
        (HEADER + "IDRiD_001,1,high,,,\n", r"row 2: Risk of macular edema is 'high'"),
        (HEADER + "IDRiD_001,1,0,,,\nIDRiD_001,2,0,,,\n", "row 3: IDRiD_001 is there twice"),
        ("Image name,x\nIDRiD_001,1\n", "no column 'grade'; its columns are Image name, x"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_collection(grading(tmp_path / "b", text, "IDRiD_001.jpg"))


def test_two_parts_over_the_same_pictures_are_refused(fake, tmp_path):
    src = grading(tmp_path / "mixed", HEADER + "IDRiD_001,1,0,,,\n", "IDRiD_001.jpg")
    localisation(src, "IDRiD_001,10,10,,\n")
    with pytest.raises(UserError, match="their numbers mean different eyes"):
        read_collection(src)
    assert [row["grade"] for row in part(src, "grading")] == [1]


def test_unknown_or_missing_part(fake, tmp_path):
    with pytest.raises(UserError, match="no part 'vessels'; expected segmentation, grading, localisation"):
        part(fake, "vessels")
    with pytest.raises(UserError, match="no localisation of IDRiD"):
        part(grading(tmp_path / "b", HEADER + "IDRiD_001,1,0,,,\n", "IDRiD_001.jpg"), "localisation")


def test_width_of_real_frames(real_data, tmp_path):
    frame = real_data / "camera_frames" / "IDRiD_01.jpg"
    src = localisation(tmp_path / "c", "")
    target = src / "1. Original Images" / "a. Training Set" / "IDRiD_001.jpg"
    shutil.copyfile(frame, target)
    height, width = read_image(frame).shape[:2]
    table = src / "IDRiD_OD_Center_Training Set_Markups.csv"
    table.write_text(table.read_text() + f"IDRiD_001,{width},{height},,\n")
    row = read_collection(src).rows[0]
    assert (row["disc_x"], row["disc_y"]) == (1.0, height / width)


def test_whole_way(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=128, workers=0, quiet=True)
    table = result.dataset.table.set_index("camera_file")
    assert len(table) == 30 and not result.rejected
    # The palette's foreground becomes 255, and a disc's mask lies around the disc of the same eye.
    name = next(name for name in table.index if name.startswith("A."))
    stem = table.loc[name, "file_name"].removeprefix("images/")
    mask = read_image(tmp_path / "out" / "masks" / "optic_disc" / stem)[..., 0]
    assert set(np.unique(mask)) == {0, 255} and 0.002 < (mask > 0).mean() < 0.1
    in_c = table[table["source"] == "idrid-c"]
    for file_name, x, y in zip(in_c["file_name"], in_c["disc_x"], in_c["disc_y"], strict=True):
        image = read_image(tmp_path / "out" / file_name).mean(axis=2)
        row, column = round(y * 128), round(x * 128)
        at_disc = image[row - 3 : row + 4, column - 3 : column + 4].mean()
        assert at_disc > 1.15 * np.median(image[image > 10]), file_name
