from __future__ import annotations

import pytest

from fundus_synth.data.fake import FakeEyes, write_fake_collection
from fundus_synth.runtime.errors import UserError


def _tree(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_eyes_make_the_same_files(tmp_path):
    first = _tree(write_fake_collection("imagefolder", tmp_path / "a", FakeEyes(4, 64)))
    assert first == _tree(write_fake_collection("imagefolder", tmp_path / "b", FakeEyes(4, 64)))
    assert first != _tree(write_fake_collection("imagefolder", tmp_path / "c", FakeEyes(4, 64, seed=1)))


def test_eyes_are_shared_out_over_the_classes():
    rows = [row for row, _, _ in FakeEyes(8, 64).photographs(("normal", "anemic"))]
    assert [row["label"] for row in rows] == ["normal"] * 4 + ["anemic"] * 4
    assert [row["patient_id"] for row in rows[::2]] == [row["patient_id"] for row in rows[1::2]]
    assert len(list(FakeEyes(1, 64).photographs(("normal",)))) == 2


def test_unknown_layout_and_taken_folder(tmp_path):
    with pytest.raises(UserError, match="no fake collection in the layout 'kaggle'; expected folder, csv, imagefolder"):
        write_fake_collection("kaggle", tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        write_fake_collection("folder", tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"]
