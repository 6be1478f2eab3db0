import io
import json
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from fundus_synth.data.image_file import encode_image, read_image
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.files import sha256_file
from fundus_synth.synth.marks import read_marks
from fundus_synth.synth.publishing.publish import publish
from fundus_synth.synth.publishing.verify import verify

IMAGE = "images/anemic_000005.png"


@pytest.fixture
def published(audited_set, tmp_path):
    publish(audited_set, tmp_path / "out", quiet=True)
    return tmp_path / "out"


@pytest.fixture
def in_shards(audited_set, tmp_path):
    publish(audited_set, tmp_path / "tars", shards=4, quiet=True)
    return tmp_path / "tars"


def faults(path, *generators, **options):
    result = verify(path, generators, quiet=True, **options)
    assert result.ok == (not result.faults)
    assert all("Traceback" not in fault and "\n" not in fault for fault in result.faults)
    return list(result.faults)


def sign_again(path):
    """SHA256SUMS over what is there now, as one who hides a change would write it."""
    files = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    (path / "SHA256SUMS").write_text("".join(f"{sha256_file(path / name)}  {name}\n" for name in files))


def change_pixel(path):
    """One channel of one pixel, the marks kept."""
    pixels, marks = read_image(path).copy(), read_marks(path.read_bytes())
    pixels[7, 3, 1] ^= 1
    path.write_bytes(encode_image(pixels, ".png", marks))


def replace_in_table(path, name, before, after):
    lines = (path / "metadata.csv").read_text().splitlines()
    changed = [line.replace(before, after, 1) if line.startswith(name + ",") else line for line in lines]
    assert changed != lines
    (path / "metadata.csv").write_text("\n".join(changed) + "\n")


@pytest.mark.parametrize("form", ["published", "in_shards"])
def test_a_published_set_has_no_fault_and_is_made_again_bit_for_bit(form, request, tiny_run):
    path = request.getfixturevalue(form)
    result = verify(path, [tiny_run.path], quiet=True)
    assert result.ok and result.images == result.regenerated == 11
    assert verify(path, quiet=True).regenerated == 0
    assert result.checksum == sha256_file(path / "SHA256SUMS")


def test_another_process_verifies_it_without_pytorch(published, tmp_path):
    shutil.copytree(published, tmp_path / "changed")
    change_pixel(tmp_path / "changed" / IMAGE)
    code = (
        "import sys; from fundus_synth.synth.publishing.verify import verify\n"
        "for path in sys.argv[1:]: print(*verify(path, quiet=True).faults or ['no fault'], sep='\\n')\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(published), str(tmp_path / "changed")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "no fault",
        f"{IMAGE}: was changed; its checksum is not the one in SHA256SUMS",
    ]


def test_a_changed_pixel_is_named(published, tiny_run):
    change_pixel(published / IMAGE)
    assert faults(published) == [f"{IMAGE}: was changed; its checksum is not the one in SHA256SUMS"]
    # Also when the one who changed it wrote the checksums anew.
    sign_again(published)
    (found,) = faults(published)
    assert found.startswith(f"{IMAGE}: was changed; its checksum is not the one in metadata.csv, row 6")
    digest = sha256_file(published / IMAGE)
    table = (published / "metadata.csv").read_text().splitlines()
    table = [f"{line.rpartition(',')[0]},{digest}" if line.startswith(IMAGE) else line for line in table]
    (published / "metadata.csv").write_text("\n".join(table) + "\n")
    sign_again(published)
    assert faults(published) == []
    (found,) = faults(published, tiny_run.path)
    assert IMAGE in found and "1 of 256 pixels differ, by up to 1, the first at x 3, y 7" in found


def test_a_swapped_label_is_named(published):
    replace_in_table(published, IMAGE, ",anemic,", ",normal,")
    changed, swapped = faults(published)
    assert changed.startswith("metadata.csv: was changed")
    assert swapped == f"metadata.csv, row 6 ({IMAGE}): label is 'normal', the file itself says 'anemic'"
    sign_again(published)
    assert faults(published) == [swapped]


def test_two_swapped_images_are_named(published, tmp_path):
    one, two = published / IMAGE, published / "images/anemic_000006.png"
    shutil.move(one, tmp_path / "x.png")
    shutil.move(two, one)
    shutil.move(tmp_path / "x.png", two)
    sign_again(published)
    found = faults(published)
    assert len(found) == 4 and sum("seed is" in fault for fault in found) == 2


def test_missing_and_added_files_are_named(published):
    (published / IMAGE).unlink()
    (published / "images" / "more.png").write_bytes(b"")
    (published / "notes.txt").write_text("x")
    (published / "README.md").unlink()
    (published / ".gitattributes").write_text("what hubs add")
    assert sorted(faults(published)) == [
        "README.md: is missing",
        f"{IMAGE}: is missing",
        "images/more.png: is not part of the set; SHA256SUMS does not name it",
        "notes.txt: is not part of the set; SHA256SUMS does not name it",
    ]
    sign_again(published)
    assert faults(published) == [
        "images/more.png: has no row in metadata.csv",
        f"metadata.csv, row 6: {IMAGE} is not in the set",
    ]


def test_a_link_is_not_a_file_of_the_set(published, tmp_path):
    shutil.move(published / IMAGE, tmp_path / "elsewhere.png")
    (published / IMAGE).symlink_to(tmp_path / "elsewhere.png")
    assert faults(published) == [f"{IMAGE}: is missing"]


def test_the_mark_is_looked_for_in_every_file(published):
    Image.fromarray(read_image(published / IMAGE)).save(published / IMAGE)
    assert f"{IMAGE}: carries no mark that it is synthetic" in faults(published)
    replace_in_table(published, "images/anemic_000006.png", ",true,", ",false,")
    assert "metadata.csv, row 7: synthetic is not true (images/anemic_000006.png)" in faults(published)
    (published / IMAGE).write_bytes((published / IMAGE).read_bytes()[:60])
    assert any(fault.startswith(f"{IMAGE}: is damaged") for fault in faults(published))


@pytest.mark.parametrize("seed", ["x", "-1", "99999999999999999999", ""])
def test_a_seed_that_is_none_is_a_fault_not_a_crash(published, tiny_run, seed):
    before = next(line for line in (published / "metadata.csv").read_text().splitlines() if line.startswith(IMAGE))
    replace_in_table(published, IMAGE, f",{before.split(',')[-2]},", f",{seed},")
    found = faults(published, tiny_run.path)
    assert any("cannot be made again" in fault for fault in found) and any("seed is" in fault for fault in found)


def test_descriptions_must_fit(published):
    info = json.loads((published / "dataset.json").read_text())
    (published / "dataset.json").write_text(json.dumps({**info, "synthetic": False, "images": 3}))
    audit = json.loads((published / "audit.json").read_text())
    audit["images"].pop(IMAGE)
    (published / "audit.json").write_text(json.dumps({**audit, "verdict": "fail"}))
    sign_again(published)
    found = faults(published)
    assert len(found) == 4
    assert "dataset.json: says 3 images, metadata.csv has 11" in found
    assert f"audit.json: does not say that {IMAGE} is no copy" in found
    (published / "audit.json").write_text("{")
    assert any(fault.startswith("audit.json: is not JSON") for fault in faults(published))
    (published / "metadata.csv").write_text("label\nx\n")
    assert any(fault.startswith("metadata.csv: has no column file_name") for fault in faults(published))


def test_only_so_many_are_made_again(published, tiny_run):
    assert verify(published, [tiny_run.path], 3, quiet=True).regenerated == 3
    for image in published.glob("images/*.png"):
        change_pixel(image)
    chosen = {
        seed: [f for f in faults(published, tiny_run.path, sample_size=2, seed=seed) if "makes" in f] for seed in (0, 1)
    }
    assert len(chosen[0]) == len(chosen[1]) == 2 and chosen[0] != chosen[1]


def test_what_is_not_a_published_set_is_bad_input(published, tiny_dataset, tiny_run, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        verify(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no SHA256SUMS"):
        verify(tiny_dataset.path)
    table = (published / "metadata.csv").read_text()
    (published / "metadata.csv").write_text(table.replace("dcgan-16", "dcgan-17"))
    with pytest.raises(UserError, match="made none of these images"):
        verify(published, [tiny_run.path], quiet=True)
    for line in ("no checksum", f"{'0' * 64}  ../../etc/passwd", f"{'0' * 64}  /etc/passwd"):
        (published / "SHA256SUMS").write_text(line + "\n")
        with pytest.raises(UserError, match="row 1"):
            verify(published)
    (published / "SHA256SUMS").write_text("")
    with pytest.raises(UserError, match="is empty"):
        verify(published)


def shard(path, number):
    (found,) = (path / "shards").glob(f"train-{number:06d}-*.tar")
    return found


def rewrite_shard(path, change):
    """Write a shard anew, each file as `change(name, content)` says; None leaves it out."""
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member).read()) for member in tar]
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            content = change(name, content)
            if content is not None:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def test_a_changed_pixel_in_a_shard_is_named(in_shards, tiny_run):
    def change(name, content):
        if name != IMAGE:
            return content
        pixels = np.asarray(Image.open(io.BytesIO(content))).copy()
        pixels[0, 0] ^= 1
        return encode_image(pixels, ".png", read_marks(content))

    rewrite_shard(shard(in_shards, 1), change)
    whole, image, again = faults(in_shards, tiny_run.path)
    assert whole.startswith(f"shards/{shard(in_shards, 1).name}: was changed")
    assert image.startswith(f"{IMAGE}: was changed; its checksum is not the one in metadata.csv")
    assert again.startswith(f"{IMAGE}: is not what")


def test_a_swapped_label_and_a_missing_file_in_a_shard_are_named(in_shards):
    row = IMAGE.replace(".png", ".json")

    def change(name, content):
        if name == row:
            return content.replace(b'"label": "anemic"', b'"label": "normal"')
        return None if name == "images/anemic_000006.png" else content

    rewrite_shard(shard(in_shards, 1), change)
    sign_again(in_shards)
    assert faults(in_shards) == [
        f"{row}: label is 'normal', metadata.csv, row 6 says 'anemic'",
        "metadata.csv, row 7: images/anemic_000006.png is not in the set",
    ]


def test_a_shard_cut_short_is_named(in_shards):
    first, last = shard(in_shards, 0), shard(in_shards, 2)
    first.write_bytes(first.read_bytes()[:1500])
    found = faults(in_shards)
    assert any(fault.startswith(f"shards/{first.name}: is damaged") for fault in found)
    last.unlink()
    assert f"shards/{last.name}: is missing" in faults(in_shards)
