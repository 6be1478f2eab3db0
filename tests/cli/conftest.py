"""The commands called as a user would, without a new process for each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fundus_synth import cli


@dataclass
class Done:
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys, monkeypatch, tmp_path) -> Callable[..., Done]:
    """call("fundus-synth", "train", "--class", "anemic") -> Done; runs/ goes to a temporary folder."""
    monkeypatch.chdir(tmp_path)

    def run(command: str, *words: object) -> Done:
        entry = {"preprocess": cli.preprocess_main, "synth": cli.synth_main, "classify": cli.classify_main}
        monkeypatch.setattr(sys, "argv", [command, *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            entry[command.removeprefix("fundus-")]()
        printed = capsys.readouterr()
        code = stop.value.code
        return Done(code if isinstance(code, int) else 0 if code is None else 1, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def camera_frames(tmp_path_factory):
    """Phantom camera frames: 20 images of each of three classes, 128 px."""
    from fundus_synth.data.phantom.cohort import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantom") / "camera"
    write_phantom_dataset(folder, images_per_class=20, size=128, seed=0, standardized=False, workers=1, quiet=True)
    return folder


@pytest.fixture(scope="session")
def eyes(camera_frames, tmp_path_factory):
    """The same eyes, standardised at 64 px and split."""
    from fundus_synth.data.dataset import FundusDataset
    from fundus_synth.data.splits import split_by_patient
    from fundus_synth.preprocess.pipeline import run

    folder = tmp_path_factory.mktemp("standardised") / "eyes"
    run(camera_frames, folder, size=64, workers=0, quiet=True)
    dataset = FundusDataset.open(folder)
    dataset.with_split(split_by_patient(dataset.table, (0.5, 0.25, 0.25), 0)).save_table()
    return folder
