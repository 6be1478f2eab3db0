import json
import os

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.dataset_writer import DatasetWriter
from fundus_synth.data.image_file import encode_image
from fundus_synth.data.schema import patient_hash
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.marks import NOT_A_PATIENT, read_marks
from fundus_synth.synth.publishing import publish as publishing
from fundus_synth.synth.publishing.publish import publish
from fundus_synth.synth.publishing.reports import command_line, public
from fundus_synth.synth.publishing.verify import verify


def changed(dataset, **info):
    """The same folder, its dataset.json changed."""
    path = dataset.path / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **info}))
    return FundusDataset.open(dataset.path)


def with_table(dataset, table):
    FundusDataset(dataset.path, dataset.info, table).save_table()
    return FundusDataset.open(dataset.path)


def refused(dataset, out, match, **options):
    """Publishing is refused and leaves nothing behind."""
    with pytest.raises(UserError, match=match) as caught:
        publish(dataset, out, quiet=True, **options)
    assert not out.exists() and not out.with_name(out.name + ".partial").exists()
    return caught.value


def everything_in(folder):
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_published_set_has_the_same_pixels_and_says_what_it_is(audited_set, tmp_path):
    result = publish(audited_set, tmp_path / "out", quiet=True)
    assert (result.images, result.dropped, result.evaluated) == (11, 1, True)
    dataset = FundusDataset.open(tmp_path / "out")
    before = {row["file_name"]: i for i, row in audited_set.table.iterrows()}
    assert "images/anemic_000003.png" not in set(dataset.table["file_name"])
    for index, row in dataset.table.iterrows():
        assert np.array_equal(dataset.read(index), audited_set.read(before[row["file_name"]]))
        assert (
            row["sha256"] == sha256_file(dataset.image_path(index)) == sha256_file(audited_set.path / row["file_name"])
        )
        assert row["synthetic"] == "true"
        with Image.open(dataset.image_path(index)) as image:
            assert image.text["Description"] == NOT_A_PATIENT
            assert image.text["fundus-synth:truncation"] == "0.8"
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])
    assert header["license"] == "cc0-1.0" and "synthetic" in header["tags"]
    assert header["size_categories"] == ["n<1K"]
    info = dataset.info
    assert info["synthetic"] is True and info["images"] == 11 and info["copies_dropped"] == 1
    assert info["audited_fingerprint"] == audited_set.fingerprint


def test_the_card_shows_how_good_the_images_are(audited_set, tmp_path):
    publish(audited_set, tmp_path / "out", quiet=True)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "Measured against 7 images of tiny set" in text
    assert "| retina | kid | 0.2 (0.1 to 0.3) | 0.01 (0 to 0.02) | worse than real eyes |" in text
    assert "of the set before copies were dropped" in text
    quality = json.loads((tmp_path / "out" / "quality.json").read_text())["figures"]
    assert quality["distances"]["retina"]["together"]["measures"]["kid"]["ratio"] is None
    page = (tmp_path / "out" / "quality.html").read_text()
    assert "0.01 (0 to 0.02)" in page and "worse than real eyes" in page
    assert "0.1 (0 to 0.3)" in (tmp_path / "out" / "privacy.html").read_text()


def test_the_commands_are_recorded(audited_set, tiny_run, tmp_path):
    publish(audited_set, tmp_path / "out", generator=tiny_run.path, quiet=True)
    said = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert [step["step"] for step in said["commands"]] == ["train", "generate", "evaluate", "audit", "publish"]
    generate = next(step["command"] for step in said["commands"] if step["step"] == "generate")
    assert generate.endswith("--count 12 --seed 0 --truncation 0.8 --keep-all")
    assert said["training"]["steps"] == 6 and said["training"]["patients"] == 5
    assert said["training"]["generator"] == audited_set.table["generator"][0]


def test_a_generator_that_made_nothing_of_it_is_refused(audited_set, tiny_run, tmp_path):
    renamed = with_table(audited_set, audited_set.table.assign(generator="another"))
    # Neither the table nor the audit agrees with the files any more; the generator is named first.
    (renamed.path / "audit.json").write_text(
        json.dumps({**json.loads((renamed.path / "audit.json").read_text()), "fingerprint": renamed.fingerprint})
    )
    refused(renamed, tmp_path / "out", "made none of these images", generator=tiny_run.path)


@pytest.mark.parametrize("shards", [None, 4])
def test_nothing_of_the_training_data_is_in_it(audited_set, tiny_dataset, tmp_path, shards):
    publish(audited_set, tmp_path / "out", shards=shards, parquet=True, quiet=True)
    content = everything_in(tmp_path / "out")
    hashes = audited_set.info["trained_on_patients"] + audited_set.info["trained_on_images"]
    assert len(hashes) == 15
    for secret in [*hashes, *tiny_dataset.image_digests, *tiny_dataset.patients]:
        assert secret.encode() not in content
    assert b"trained_on_" not in content and b"images/1.png" not in content


def test_names_and_columns_that_tell_of_a_patient_are_left_out(tmp_path, write_audit):
    random = np.random.default_rng(1)
    with DatasetWriter(tmp_path / "simulated", {"name": "simulated", "licence": "Apache-2.0"}) as writer:
        for index in range(4):
            row = {
                "file_name": f"images/p{index}_left.png", "patient_id": f"p{index}", "label": "normal", "eye": "left",
                "synthetic": "true", "generator": "phantom", "seed": str(index), "camera_file": f"p{index}.jpg",
                "hospital_number": f"H{index}",
            }  # fmt: skip
            writer.add(row, random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    dataset = write_audit(FundusDataset.open(tmp_path / "simulated"))
    result = publish(dataset, tmp_path / "out", quiet=True)
    assert set(result.left_out) == {"patient_id", "camera_file", "hospital_number"}
    table = FundusDataset.open(tmp_path / "out").table
    assert list(table["file_name"]) == [f"images/normal_{index:06d}.png" for index in range(4)]
    assert not {"patient_id", "camera_file", "hospital_number"} & set(table.columns)
    assert verify(tmp_path / "out", quiet=True).ok
    content = everything_in(tmp_path / "out")
    assert b"p2_left" not in content and b"H2" not in content


def test_a_patient_s_name_in_the_description_stops_it(audited_set, tmp_path):
    assert patient_hash("tiny-3") in audited_set.info["trained_on_patients"]
    error = refused(changed(audited_set, name="eyes like tiny-3."), tmp_path / "out", "patient id tiny-3")
    assert "README.md" in str(error) or ".json" in str(error)


def test_a_checksum_of_a_training_image_in_a_description_stops_it(audited_set, tmp_path):
    seen = audited_set.info["trained_on_images"][2]
    refused(changed(audited_set, parent={"name": f"eyes {seen}"}), tmp_path / "out", "checksum of a training image")


def test_a_training_image_that_the_audit_missed_stops_it(audited_set, tmp_path):
    seen = audited_set.info["trained_on_images"] + [audited_set.image_digests[5]]
    refused(changed(audited_set, trained_on_images=seen), tmp_path / "out", "byte for byte")


def test_without_a_passed_audit_of_these_images_nothing_is_published(audited_set, write_audit, tmp_path):
    out = tmp_path / "out"
    write_audit(audited_set, verdict="fail", reason="9 % copies")
    refused(audited_set, out, "not passed .9 % copies.")
    write_audit(audited_set, verdict="")
    refused(audited_set, out, "not passed")
    write_audit(audited_set, fingerprint="0" * 64)
    refused(audited_set, out, "other images")
    write_audit(audited_set, format="fundus-synth evaluation 1")
    refused(audited_set, out, "format")
    write_audit(audited_set, images={})
    refused(audited_set, out, "does not say whether images/anemic_000000.png is a copy")
    write_audit(audited_set, copies=tuple(audited_set.table["file_name"]))
    refused(audited_set, out, "nothing is left")
    (audited_set.path / "audit.json").unlink()
    refused(audited_set, out, "without an audit nothing is published")


def test_an_evaluation_of_other_images_is_refused_and_none_is_said(audited_set, tmp_path):
    path = audited_set.path / "evaluation.json"
    evaluation = json.loads(path.read_text())
    path.write_text(json.dumps({**evaluation, "fingerprint": "0" * 64}))
    refused(audited_set, tmp_path / "out", "other images")
    path.unlink()
    result = publish(audited_set, tmp_path / "out", quiet=True)
    assert not result.evaluated and any("not measured" in line for line in result.lines())
    assert "**Not measured.**" in (tmp_path / "out" / "README.md").read_text()
    assert not (tmp_path / "out" / "quality.html").exists()


def test_the_terms_of_the_training_data_decide(audited_set, tmp_path):
    forbidden = changed(audited_set, licence="research use only; not for redistribution")
    refused(forbidden, tmp_path / "out", "forbid that they are passed on")
    publish(forbidden, tmp_path / "out", licence="CC-BY-NC-4.0", publisher="A clinic", quiet=True)
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert info["licence"] == "CC BY-NC 4.0" and info["licence_stated_by_publisher"] is True
    assert info["licence_of_training_data"] == "research use only; not for redistribution"
    for name in ("README.md", "LICENCE.txt"):
        text = (tmp_path / "out" / name).read_text()
        assert "Stated by the publisher" in text and "research use only; not for redistribution" in text


def test_photographs_and_translations_are_refused(audited_set, write_audit, tmp_path):
    table = audited_set.table
    out = tmp_path / "out"
    photographs = with_table(audited_set, table.assign(synthetic=["true"] * 11 + ["false"]))
    assert refused(photographs, out, "only synthetic images are published").row == 13
    translated = with_table(audited_set, table.assign(parent_file_name="images/1.png"))
    refused(translated, out, "vessels identify")
    with_table(audited_set, table.assign(seed=""))
    refused(FundusDataset.open(audited_set.path), out, "seed is empty")


def test_an_image_must_say_itself_what_its_row_says(audited_set, write_audit, tmp_path):
    swapped = with_table(audited_set, audited_set.table.assign(label=["normal"] + ["anemic"] * 11))
    write_audit(swapped)
    refused(swapped, tmp_path / "out", "anemic_000000.png: label is 'normal', the file itself says 'anemic'")
    with_table(swapped, audited_set.table)
    image = audited_set.path / "images" / "anemic_000001.png"
    Image.fromarray(audited_set.read(1)).save(image)
    digests = [sha256_file(image) if i == 1 else digest for i, digest in enumerate(audited_set.table["sha256"])]
    unmarked = write_audit(with_table(audited_set, audited_set.table.assign(sha256=digests)))
    refused(unmarked, tmp_path / "out", "anemic_000001.png: the file does not say that it is synthetic")


def test_what_was_killed_is_begun_anew_and_results_are_not_overwritten(audited_set, tmp_path, monkeypatch):
    (tmp_path / "out.partial" / "images").mkdir(parents=True)
    (tmp_path / "out.partial" / "images" / "left.png").write_bytes(b"cut")
    publish(audited_set, tmp_path / "out", quiet=True)
    assert not (tmp_path / "out" / "images" / "left.png").exists()
    with pytest.raises(UserError, match="already exists"):
        publish(audited_set, tmp_path / "out", quiet=True)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "refuse_traces", stopped)
    with pytest.raises(KeyboardInterrupt):
        publish(audited_set, tmp_path / "second", quiet=True)
    assert not (tmp_path / "second").exists() and not (tmp_path / "second.partial").exists()


def test_shards_have_the_same_bytes_every_time(audited_set, tmp_path):
    for name in ("one", "two"):
        publish(audited_set, tmp_path / name, shards=4, quiet=True)
    shards = sorted(path.name for path in (tmp_path / "one" / "shards").iterdir())
    assert [name[:13] for name in shards] == [f"train-{number:06d}-" for number in range(3)]
    assert all(name[13:-4] == sha256_file(tmp_path / "one" / "shards" / name)[:12] for name in shards)
    assert all(
        (tmp_path / "one" / "shards" / name).read_bytes() == (tmp_path / "two" / "shards" / name).read_bytes()
        for name in shards
    )
    assert not (tmp_path / "one" / "images").exists()


def test_parquet_holds_the_table(audited_set, tmp_path):
    pytest.importorskip("pyarrow")
    publish(audited_set, tmp_path / "out", parquet=True, quiet=True)
    table = pd.read_parquet(tmp_path / "out" / "table.parquet")
    assert list(table["file_name"]) == list(FundusDataset.open(tmp_path / "out").table["file_name"])
    assert table["synthetic"].dtype == bool and table["synthetic"].all()


def test_datasets_loads_both_forms(audited_set, tmp_path, monkeypatch):
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}.items():
        monkeypatch.setitem(os.environ, name, value)
    datasets = pytest.importorskip("datasets")
    publish(audited_set, tmp_path / "out", parquet=True, quiet=True)
    publish(audited_set, tmp_path / "tars", shards=4, quiet=True)
    options = {"cache_dir": str(tmp_path / "loaded")}
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), **options)
    assert list(loaded) == ["train"] and len(loaded["train"]) == 11
    by_card = datasets.load_dataset(str(tmp_path / "out"), **options)["train"]
    assert np.array_equal(np.asarray(by_card[2]["image"]), np.asarray(loaded["train"][2]["image"]))
    assert by_card[2]["label"] == "anemic" and by_card[2]["synthetic"] is True
    tars = datasets.load_dataset(str(tmp_path / "tars"), **options)["train"]
    assert len(tars) == 11 and tars[2]["json"]["seed"] == str(by_card[2]["seed"])
    assert np.array_equal(np.asarray(tars[2]["png"]), np.asarray(by_card[2]["image"]))


def test_webdataset_loads_the_shards(audited_set, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    publish(audited_set, tmp_path / "out", shards=4, quiet=True)
    shards = sorted(map(str, (tmp_path / "out" / "shards").glob("*.tar")))
    loaded = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("png", "json"))
    kept = audited_set.table["file_name"][audited_set.table["file_name"] != "images/anemic_000003.png"]
    assert [row["file_name"] for _, row in loaded] == list(kept)
    assert np.array_equal(np.asarray(loaded[0][0]), audited_set.read(0))


def test_foreign_texts_stay_texts_in_card_and_pages(audited_set, tmp_path):
    name = "<img src=x> [a](b)\n# heading"
    publish(changed(audited_set, name=name), tmp_path / "out", quiet=True)
    body = (tmp_path / "out" / "README.md").read_text().split("---", 2)[2]
    assert "\n# heading" not in body and "<img" not in body.replace("\\<img", "")
    header = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("\n---\n")[0])
    assert header["pretty_name"] == name
    for page in ("privacy.html", "quality.html"):
        assert "<img" not in (tmp_path / "out" / page).read_text()


def test_what_could_name_an_image_is_taken_out_of_figures():
    digest = "0123456789abcdef" * 4
    value = {
        "fingerprint": digest, "nearest": digest, "rows": [1, "a.PNG", {"file": "x/b.jpg", "n": 2}], digest: 3,
        "nothing": None, "nan": float("nan"), "text": "AUC 0.5",
    }  # fmt: skip
    assert public(value) == {
        "fingerprint": digest, "rows": [1, {"n": 2}], "nothing": None, "nan": None, "text": "AUC 0.5",
    }  # fmt: skip


def test_commands_do_not_name_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "surname"))
    line = command_line(["fundus-synth", "audit", str(tmp_path / "surname" / "my eyes")])
    assert "surname" not in line and "my eyes" in line
    assert command_line("not a list") == "" == command_line(None)


def test_an_image_that_was_changed_after_the_audit_is_refused(audited_set, tmp_path):
    path = audited_set.image_path(1)
    content = path.read_bytes()
    pixels = audited_set.read(1).copy()
    pixels[0, 0] ^= 1
    path.write_bytes(encode_image(pixels, ".png", read_marks(content)))
    refused(FundusDataset.open(audited_set.path), tmp_path / "out", "anemic_000001.png: was changed")
