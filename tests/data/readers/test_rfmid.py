from __future__ import annotations

from collections import Counter

import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.data.readers import ReaderOptions, read_collection
from fundus_synth.data.readers.rfmid import CODES
from fundus_synth.data.schema import ODIR_CODES
from fundus_synth.preprocess.pipeline import run
from fundus_synth.runtime.errors import UserError

HEADER = ",".join(["ID", "Disease_Risk", *CODES])


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return write_fake_collection("rfmid", tmp_path_factory.mktemp("fake") / "rfmid", FakeEyes(count=16, size=96))


def line(number, *codes, risk=None):
    return ",".join(map(str, [number, int(bool(codes)) if risk is None else risk, *(int(c in codes) for c in CODES)]))


def tree(folder, *lines, pictures=(), header=HEADER, table="RFMiD_Training_Labels.csv", below="Training"):
    (folder / below).mkdir(parents=True, exist_ok=True)
    (folder / table).write_text("\ufeff" + "\n".join([header, *lines]) + "\n", "utf-8")
    for number in pictures:
        (folder / below / f"{number}.png").touch()
    return folder


def test_numbers_belong_to_their_set(fake):
    found = read_collection(fake)
    assert found.info["format"] == "rfmid" and found.ignored == []
    assert Counter(row["split"] for row in found.rows).keys() == {"train", "val", "test"}
    first = {row["split"]: row["camera_file"] for row in found.rows if row["path"].stem == "1"}
    assert first == {
        "train": "Training_Set/Training_Set/Training/1.png",
        "val": "Evaluation_Set/Evaluation_Set/Validation/1.png",
        "test": "Test_Set/Test_Set/Test/1.png",
    }


def test_labels_of_the_same_number_differ_by_set(tmp_path):
    src = tmp_path / "r"
    tree(src / "Training_Set", line(1, "DR"), pictures=[1])
    tree(src / "Test_Set", line(1), pictures=[1], table="RFMiD_Testing_Labels.csv", below="Test")
    rows = {row["split"]: row["label"] for row in read_collection(src).rows}
    assert rows == {"train": "diabetes", "test": "normal"}


def test_layout_of_the_journal_s_archive(tmp_path):
    src = tmp_path / "r"
    for letter, folder, name in (
        ("a", "Training", "Training"),
        ("b", "Validation", "Validation"),
        ("c", "Testing", "Testing"),
    ):
        pictures = src / "1. Original Images" / f"{letter}. {folder} Set"
        pictures.mkdir(parents=True)
        (pictures / "1.png").touch()
        truth = src / "2. Groundtruths" / f"{letter}. RFMiD_{name}_Labels.csv"
        truth.parent.mkdir(exist_ok=True)
        truth.write_text(f"{HEADER}\n{line(1, 'MYA') if name == 'Testing' else line(1)}\n")
    assert {row["split"]: row["label"] for row in read_collection(src).rows} == {
        "train": "normal", "val": "normal", "test": "myopia",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "label", "odir"),
    [
        ((), "normal", {"N": 1, **dict.fromkeys("DGCAHMO", 0)}),
        (("DR",), "diabetes", {"N": 0, "D": 1, "A": 0, "M": 0}),
        (("ARMD",), "amd", {"N": 0, "D": 0, "A": 1, "M": 0}),
        (("MYA",), "myopia", {"N": 0, "D": 0, "A": 0, "M": 1}),
        (("MH",), "media haze", {"N": 0, "D": 0, "A": 0, "M": 0}),
        (("MHL",), "macular hole", {"N": 0, "D": 0, "A": 0, "M": 0}),
        (("ODC",), "optic disc cupping", {"N": 0, "D": 0, "A": 0, "M": 0}),
        (("DR", "MYA", "TSLN"), "", {"N": 0, "D": 1, "A": 0, "M": 1}),
    ],
)
def test_label_and_odir_columns(tmp_path, codes, label, odir):
    row = read_collection(tree(tmp_path / "r", line(7, *codes), pictures=[7])).rows[0]
    assert row["label"] == label
    assert {code: row[code] for code in ODIR_CODES if code in row} == odir
    assert {code for code in CODES if row[f"rfmid_{code}"]} == set(codes)


def test_disease_without_a_code_is_not_normal(tmp_path):
    row = read_collection(tree(tmp_path / "r", line(1, risk=1), pictures=[1])).rows[0]
    assert row["label"] == "" and row["N"] == 0


def test_pictures_and_rows_without_each_other_are_listed(tmp_path):
    found = read_collection(tree(tmp_path / "r", line(1), line(2), pictures=[1, 3]))
    assert sorted(found.ignored) == [("Training/3.png", "no row in the table of its set"), ("train/2", "no picture")]


def test_picture_of_another_set_is_not_taken(tmp_path):
    src = tree(tmp_path / "r", line(1, "DR"), pictures=[1])
    (src / "Test").mkdir()
    (src / "Test" / "1.png").touch()
    found = read_collection(src)
    assert [row["camera_file"] for row in found.rows] == ["Training/1.png"]
    assert found.ignored == [("Test/1.png", "its set has no table")]


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([line(1), line(2, "DR", risk=0)], HEADER, r"row 3: Disease_Risk is '0' with the codes DR"),
        (
            [line(1, "DR").replace("1,1,1", "1,1,2", 1)],
            HEADER,
            r"row 2: DR is '2'; expected a whole number from 0 to 1",
        ),
        ([line(1), line(1)], HEADER, r"row 3: ID 1 is there twice"),
        ([line(1)], HEADER.replace(",MH,", ",XX,"), "no column MH"),
    ],
)
def test_bad_tables(tmp_path, lines, header, message):
    with pytest.raises(UserError, match=message):
        read_collection(tree(tmp_path / "r", *lines, header=header, pictures=[1, 2]))


def test_second_table_of_a_set(tmp_path):
    src = tree(tmp_path / "r", line(1, "DR"), pictures=[1])
    tree(src, line(1, "DR"), table="a. RFMiD_Training_Labels.csv")
    assert len(read_collection(src).rows) == 1
    tree(src, line(1), table="a. RFMiD_Training_Labels.csv")
    with pytest.raises(UserError, match="something else than another table of the same set"):
        read_collection(src)


def test_no_table(tmp_path):
    (tmp_path / "1.png").touch()
    with pytest.raises(UserError, match="no RFMiD table; expected RFMiD_Training_Labels.csv"):
        read_collection(tmp_path, "rfmid")


def test_real_table(real_data, tmp_path):
    """The published training table; the pictures' names are all that the reader looks at."""
    for number in range(1, 1921):
        (tmp_path / f"{number}.png").touch()
    table = real_data / "tables" / "RFMiD_Training_Labels.csv"
    found = read_collection(tmp_path, "rfmid", ReaderOptions(table=table))
    labels = Counter(row["label"] for row in found.rows)
    assert len(found.rows) == 1920 and found.ignored == []
    # Counted with pandas: 401 without disease, 1061 with one code, 458 with several.
    assert labels["normal"] == 401 and labels[""] == 458
    assert (labels["diabetes"], labels["media haze"], labels["amd"], labels["myopia"]) == (240, 180, 34, 46)
    assert sum(row["rfmid_MHL"] for row in found.rows) < sum(row["rfmid_MH"] for row in found.rows)
    assert {row["split"] for row in found.rows} == {"train"}


def test_whole_way(fake, tmp_path):
    result = run(fake, tmp_path / "out", size=64, workers=0, quiet=True)
    table = result.dataset.table
    assert not result.rejected and len(table) == sum(1 for _ in fake.rglob("*.png"))
    assert table["file_name"].is_unique and set(table["split"]) == {"train", "val", "test"}
    hazy = table[table["rfmid_MH"].astype(str) == "1"]
    assert len(hazy) and table.loc[table["N"] == 0, "G"].isna().all() and (table.loc[table["N"] == 1, "G"] == 0).all()
