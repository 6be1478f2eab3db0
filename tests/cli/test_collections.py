"""A collection as downloaded (a fake one): read, divided, described, audited."""

from __future__ import annotations

import json
import shutil

import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.fake.base import LAYOUTS


@pytest.fixture(scope="module")
def odir(tmp_path_factory):
    """A fake ODIR-5K, standardised: 12 eyes or so at 96 px."""
    from fundus_synth.data.fake import FakeEyes, write_fake_collection
    from fundus_synth.preprocess.pipeline import run

    folder = tmp_path_factory.mktemp("odir")
    write_fake_collection("odir", folder / "download", FakeEyes(count=12, size=128))
    run(folder / "download", folder / "eyes", size=96, workers=0, quiet=True)
    return folder / "eyes"


@pytest.fixture
def eyes(odir, tmp_path):
    shutil.copytree(odir, tmp_path / "eyes")
    return tmp_path / "eyes"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fake_collection_is_recognised(call, tmp_path, layout):
    done = call(
        "fundus-preprocess", "demo", "download", "--layout", layout, "--images-per-class", 4, "--size", 96, "--quiet"
    )
    assert done.code == 0, done.err
    done = call("fundus-preprocess", "run", "download", "eyes", "--size", 64, "--quiet", "--workers", 1, "--json")
    assert done.code == 0, done.err
    # An imagefolder is class folders with a metadata.csv, which the reader `csv` reads.
    assert json.loads(done.out)["format"] == {"imagefolder": "csv"}.get(layout, layout)


def test_unknown_layout(call):
    done = call("fundus-preprocess", "demo", "x", "--layout", "odir6")
    assert done.code == 2 and "odir6" in done.err and "eyepacs" in done.err


def test_folds_describe_and_a_clean_audit(call, eyes, tmp_path):
    done = call("fundus-preprocess", "split", "eyes", "--folds", 3, "--fold", 1, "--group-copies", "--quiet", "--json")
    assert done.code == 0, done.err
    table = FundusDataset.open(eyes).table
    assert set(table["fold"]) == {0, 1, 2} and set(table["split"][table["fold"] == 1]) == {"test"}
    done = call("fundus-preprocess", "audit", "eyes", "--quiet", "--workers", 1)
    assert done.code == 0, done.out + done.err
    done = call("fundus-preprocess", "describe", "eyes", "--quiet", "--workers", 1)
    assert done.code == 0, done.err
    assert "Images and patients" in (tmp_path / "eyes-report.html").read_text()


def test_an_audit_that_finds_something_exits_with_1(call, eyes, tmp_path):
    table = FundusDataset.open(eyes).table
    shutil.copytree(eyes, tmp_path / "other")
    done = call(
        "fundus-preprocess", "audit", "eyes", "other", "--out", "findings.csv", "--quiet", "--workers", 1, "--json"
    )
    assert done.code == 1, done.err
    assert json.loads(done.out)["findings"]["patient"] == table["patient_id"].nunique()
    assert (tmp_path / "findings.csv").read_text().startswith("kind,")


def test_ratios_and_folds_together(call, eyes):
    done = call("fundus-preprocess", "split", "eyes", "--folds", 3, "--ratios", "0.8,0.1,0.1")
    assert done.code == 2 and "both ratios and folds" in done.err
