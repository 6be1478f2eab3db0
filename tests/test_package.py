"""The package as a whole: what is installed, which way imports point, and that help never waits for torch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("runtime", "data", "preprocess", "synth", "classify", "cli")
HELPS = [
    ("preprocess", []), ("preprocess", ["demo"]), ("preprocess", ["run"]), ("preprocess", ["split"]),
    ("preprocess", ["describe"]), ("preprocess", ["audit"]),
    ("preprocess", ["landmarks"]), ("preprocess", ["keep"]), ("preprocess", ["upright"]), ("preprocess", ["register"]),
    ("synth", []), ("synth", ["train"]), ("synth", ["generate"]), ("synth", ["plan"]), ("synth", ["walk"]),
    ("classify", []), ("classify", ["train"]), ("classify", ["evaluate"]), ("classify", ["predict"]),
    ("classify", ["explain"]), ("classify", ["compare-augmentations"]), ("classify", ["judge-synthetic"]),
    ("classify", ["regions"]), ("classify", ["export"]), ("classify", ["serve"]),
]  # fmt: skip


def sources() -> list[Path]:
    return [p for room in ROOMS for p in (ROOT / room).rglob("*.py")]


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent.relative_to(ROOT) for p in ROOT.rglob("__init__.py") if not {"build", ".venv"} & set(p.parts)}
    assert sorted(listed) == sorted(".".join(("fundus_synth", *folder.parts)) for folder in folders)


def test_imports_point_one_way():
    wrong = []
    for path in sources():
        below = path.relative_to(ROOT)
        room = below.parts[0]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            parts = (*below.parts[: len(below.parts) - node.level], *(node.module or "").split("."))
            if parts[0] in ROOMS and ROOMS.index(parts[0]) > ROOMS.index(room):
                wrong.append(f"{below} imports {'.'.join(parts)}")
    assert wrong == []


def test_lower_rooms_do_without_torch():
    """Whoever only reads and standardises does not wait for torch; the landmark network is imported where it is used."""
    code = (
        "import sys, fundus_synth.preprocess.pipeline, fundus_synth.data.leakage, fundus_synth.data.fake\n"
        "from fundus_synth.preprocess.describe import describe\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("app", "words"), HELPS, ids=lambda v: " ".join(v) if isinstance(v, list) else v)
def test_help_does_not_import_what_is_slow(app, words):
    code = (
        f"import sys; sys.argv = ['x', *{words!r}, '--help']; from fundus_synth import cli\n"
        f"try: cli.{app}_main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "slow = {'torch', 'timm', 'captum', 'numpy', 'pandas', 'cv2', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout and "--help" in done.stdout


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path):
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    subprocess.run(words, check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert {name.split("/")[0] for name in names} == {
        "fundus_synth",
        next(n for n in names if "RECORD" in n).split("/")[0],
    }
    installed = {name for name in names if name.startswith("fundus_synth/") and name.endswith(".py")}
    assert installed == {
        f"fundus_synth/{path.relative_to(ROOT)}" for path in [*sources(), ROOT / "__init__.py", ROOT / "version.py"]
    }
    assert {
        "fundus_synth/runtime/templates/report.html",
        "fundus_synth/preprocess/weights/landmarks.safetensors",
    } <= set(names)
