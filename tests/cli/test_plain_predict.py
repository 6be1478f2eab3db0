from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fundus_synth.cli.model_file import plain_request


def test_the_plain_form_is_taken():
    request = plain_request(
        ["predict", "m.ONNX", "--out", "t.csv", "a.jpg", "--json", "folder", "--overlays", "seen", "--quiet"]
    )
    assert request.paths == [Path("m.ONNX"), Path("a.jpg"), Path("folder")]
    assert request.options == {"--out": Path("t.csv"), "--overlays": Path("seen")}
    assert request.flags == {"--json", "--quiet"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["train"], ["predict"], ["predict", "m.onnx"], ["predict", "run", "a.jpg"], ["predict", "a.jpg", "m.onnx"],
     ["predict", "m.onnx", "a.jpg", "--help"], ["predict", "m.onnx", "a.jpg", "--tta"], ["predict", "m.onnx", "a.jpg", "--out"],
     ["predict", "m.onnx", "a.jpg", "--out", "--json"], ["predict", "m.onnx", "a.jpg", "--out=t.csv"],
     ["--help", "predict", "m.onnx", "a.jpg"]],
)  # fmt: skip
def test_all_else_is_for_the_command_itself(arguments):
    assert plain_request(arguments) is None


def _call(*arguments: str) -> subprocess.CompletedProcess:
    program = "import sys; from fundus_synth.cli import classify_main; sys.argv[0] = 'fundus-classify'; classify_main()"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)


def test_both_ways_refuse_alike(tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"no model")
    plain, by_command = (
        _call("predict", str(tmp_path / "m.onnx"), str(tmp_path / "a.jpg"), *more)
        for more in ([], [f"--out={tmp_path / 't.csv'}"])
    )
    assert plain.returncode == by_command.returncode == 2
    assert plain.stderr == by_command.stderr and plain.stderr.count("\n") == 1
    assert plain.stderr.startswith(f"error: {tmp_path / 'm.onnx'}: is not used: it is damaged, or no ONNX file.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--tta"], "--tta and --device are for runs"), (["--device", "cpu"], "--tta and --device are for runs")],
)
def test_options_of_runs_are_refused(tmp_path, arguments, message):
    done = _call("predict", str(tmp_path / "m.onnx"), str(tmp_path / "a.jpg"), *arguments)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize("model", ["m.onnx", "run"])
def test_a_table_that_cannot_be_written_is_refused_before_the_work(tmp_path, model):
    (tmp_path / "table").mkdir()
    done = _call("predict", str(tmp_path / model), str(tmp_path / "a.jpg"), "--out", str(tmp_path / "table"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'table'}: is a folder, but a file is needed there")


def test_overlays_of_a_run_are_refused(tmp_path):
    done = _call("predict", str(tmp_path), str(tmp_path / "a.jpg"), "--overlays", str(tmp_path / "seen"))
    assert done.returncode == 2 and "--overlays is for model files" in done.stderr
