import json

import numpy as np
import pytest

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.publishing.publish import publish


@pytest.fixture(params=[None, 4], ids=["images", "shards"])
def published(request, audited_set, tmp_path, monkeypatch):
    # Where mlcroissant keeps what it unpacks; it looks once, when it is imported.
    monkeypatch.setenv("CROISSANT_CACHE", str(tmp_path / "croissant"))
    publish(audited_set, tmp_path / "out", shards=request.param, publisher="A clinic", quiet=True)
    return tmp_path / "out"


def test_mlcroissant_finds_no_fault_and_reads_every_record(published, audited_set):
    mlcroissant = pytest.importorskip("mlcroissant")
    loaded = mlcroissant.Dataset(jsonld=published / "croissant.json")
    issues = loaded.metadata.ctx.issues
    assert not issues.errors and not issues.warnings
    records = {record["images/file_name"].decode(): record for record in loaded.records("images")}
    rows = audited_set.table.set_index("file_name")
    assert set(records) == set(rows.index) - {"images/anemic_000003.png"}
    for index, name in audited_set.table["file_name"].items():
        if name in records:
            assert records[name]["images/label"] == b"anemic"
            assert records[name]["images/seed"].decode() == rows["seed"][name]
            assert records[name]["images/synthetic"] is True
            assert np.array_equal(np.asarray(records[name]["images/image"]), audited_set.read(index))
    assert len(list(loaded.records("rows"))) == 11


def test_the_fields_of_responsible_ai_say_what_the_set_is(published):
    said = json.loads((published / "croissant.json").read_text())
    assert said["conformsTo"] == ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"]
    assert said["rai:dataCollectionType"] == ["Synthetic data"]
    assert "None is a photograph of a patient" in said["rai:dataCollection"]
    assert "tiny set" in said["rai:dataCollection"]
    assert any("diagnosis" in limit for limit in said["rai:dataLimitations"])
    assert "1 copy was dropped" in said["rai:personalSensitiveInformation"][0]
    assert said["license"] == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert said["creator"]["name"] == "A clinic"


def test_every_file_object_carries_its_checksum(published):
    said = json.loads((published / "croissant.json").read_text())
    files = [part for part in said["distribution"] if part["@type"] == "cr:FileObject"]
    assert files[0]["@id"] == "metadata.csv"
    for part in files:
        assert part["sha256"] == sha256_file(published / part["contentUrl"])
        assert part["contentSize"] == f"{(published / part['contentUrl']).stat().st_size} B"


def test_columns_are_those_of_the_table(published):
    said = json.loads((published / "croissant.json").read_text())
    fields = [field["@id"].removeprefix("rows/") for field in said["recordSet"][0]["field"]]
    header = (published / "metadata.csv").read_text().splitlines()[0].split(",")
    assert fields == header
    if (published / "images").exists():
        assert list(FundusDataset.open(published).table.columns) == fields
