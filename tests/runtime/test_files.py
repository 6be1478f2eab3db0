from __future__ import annotations

import json
import os
import pickle
import stat

import numpy as np
import pytest

from fundus_synth.runtime import files
from fundus_synth.runtime.errors import UserError, counts


def test_atomic_path_leaves_the_old_file_on_error(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError), files.atomic_path(target) as temporary:
        temporary.write_text("new, but not finished")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_written_files_follow_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        files.write_text(tmp_path / "a.txt", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        files.write_text(tmp_path / "a" / "b.txt", "x")


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "not an object"), (None, "no such file")])
def test_read_json_errors(tmp_path, text, message):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_null_for_what_is_no_number(tmp_path, value):
    files.write_json(tmp_path / "a.json", {"x": [1.5, {"y": (value, 2)}], "z": np.float64(value)})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"x": [1.5, {"y": [None, 2]}], "z": None}


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError), files.appearing_folder(target) as folder:
        (folder / "half").touch()
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    (target.parent / "out.partial").mkdir()
    (target.parent / "out.partial" / "of a killed process").touch()
    target.mkdir()
    with files.appearing_folder(target) as folder:
        (folder / "whole").touch()
        assert list(target.iterdir()) == []
    assert [path.name for path in target.parent.iterdir()] == ["out"]
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_sha256_known_value(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert files.sha256_file(tmp_path / "a") == files.sha256_bytes(b"abc") == expected


def test_user_error_is_one_line_and_survives_a_process_border():
    error = UserError("hb is 132;\nexpected g/dL", path="m.csv", row=7, hint="Divide by ten.")
    assert str(error) == "m.csv, row 7: hb is 132; expected g/dL. Divide by ten."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert counts({"normal": 2, "x": 1}) == "normal (2), x (1)" and counts({}) == "none"
