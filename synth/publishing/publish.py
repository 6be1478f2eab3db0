"""Publishing: a synthetic dataset becomes a folder that a stranger can use and check.

fundus-synth audit SYNTHETIC --against TRAIN        # first, for without an audit nothing is published
fundus-synth publish SYNTHETIC OUT
fundus-synth verify OUT

    OUT/README.md, LICENCE.txt       dataset card; the terms and where they come from
    OUT/images/*.png, metadata.csv   or OUT/shards/*.tar, WebDataset
    OUT/dataset.json, croissant.json
    OUT/quality.json, quality.html   when the set was evaluated. (A name with "evaluation" would be taken for a test split
                                     by Hugging Face's imagefolder, which then does not look at the images.)
    OUT/audit.json, privacy.html
    OUT/SHA256SUMS

Nothing of the training data is in it: no pixel, no patient, no checksum of an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from ...data.dataset import FundusDataset
from ...data.image_file import decode_image, encode_image
from ...data.schema import COLUMNS, table_to_csv
from ...runtime.errors import UserError
from ...runtime.files import (
    appearing_folder,
    refuse_existing,
    sha256_bytes,
    sha256_file,
    write_bytes,
    write_json,
    write_text,
)
from ...runtime.progress import Progress
from ..checkpoint import slug
from ..marks import check_marks, marks_of, read_marks
from ..translate import PARENT
from .checksums import CHECKSUMS, write_checksums
from .dataset_card import Facts, card
from .facts import commands_of, dataset_info, trained_on
from .licences import Terms, terms_of
from .reports import (
    privacy_page,
    public_audit,
    public_evaluation,
    quality_page,
    read_audit,
    read_evaluation,
)
from .scan import refuse_traces
from .shards import ShardWriter

PARQUET = "table.parquet"  # with the name metadata.parquet beside metadata.csv, imagefolder refuses both
# What tells of a photograph, of its patient, or of how a dataset was divided.
_LEFT_OUT = {"patient_id", "camera_file", "camera_width", "camera_height", "fov_x", "fov_y", "fov_r", "split", "fold"}


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        path: the folder.
        images, dropped: how many are in it, and how many copies are not.
        left_out: columns that are not passed on.
        evaluated: its quality was measured.
        terms: its licence.
        checksum: SHA-256 of SHA256SUMS, which stands for the whole folder; to be made known elsewhere.
    """

    path: Path
    images: int
    dropped: int
    left_out: tuple[str, ...]
    evaluated: bool
    terms: Terms
    checksum: str

    def summary(self) -> dict:
        """Plain values, for --json."""
        return {"published": str(self.path), "images": self.images, "copies_dropped": self.dropped,
                "columns_left_out": list(self.left_out), "evaluated": self.evaluated, "licence": self.terms.licence.name,
                "licence_stated": self.terms.stated, "checksum": self.checksum}  # fmt: skip

    def lines(self) -> list[str]:
        """For people."""
        stated = " (stated by you, not inherited)" if self.terms.stated else ""
        lines = [f"{self.path}: {self.images} images, {self.dropped} copies dropped; {self.terms.licence.name}{stated}"]
        if self.left_out:
            lines.append(f"columns left out: {', '.join(self.left_out)}")
        if not self.evaluated:
            lines.append("quality: not measured, and the card says so; fundus-synth evaluate measures it")
        return [*lines, f"checksum of the set: {self.checksum}", f"next: fundus-synth verify {self.path}"]


def publish(
    dataset: FundusDataset, out: Path | str, *, licence: str | None = None, publisher: str = "", url: str = "",
    generator: Path | str | None = None, shards: int | None = None, parquet: bool = False, quiet: bool = False,
) -> Published:  # fmt: skip
    """Write a synthetic dataset as a folder for others; it appears under its name only when it is complete.

    The images keep their pixels. Their file names stay those of `generate`; others become <class>_<number>.

    Args:
        dataset: whole, with an audit.json that was passed, and evaluation.json where it was evaluated.
        licence: as the publisher states it; None inherits that of the training data.
        publisher, url: for card and metadata.
        generator: run of the generator, to record how it was trained; not published itself.
        shards: write WebDataset shards of so many images instead of single files.
        parquet: write the table as Parquet, too; needs pyarrow.

    Raises:
        UserError: `out` exists; an image is not marked as synthetic, or is a translation of a patient's eye; no audit of
            these very images, or one that was not passed; a licence that forbids it or is not known; every image is a
            copy; or something of the training data would have got in.
    """
    out = Path(out)
    refuse_existing(out)
    _refuse_unmarked(dataset)
    audit, evaluation = read_audit(dataset), read_evaluation(dataset)
    terms = terms_of(str(dataset.info.get("licence") or ""), licence)
    commands = commands_of(dataset, generator, audit, evaluation)
    kept = dataset.subset([not audit["images"][name]["copy"] for name in dataset.table["file_name"]])
    if not len(kept):
        raise UserError("every image is a copy of a training image; nothing is left to publish", path=dataset.path)
    with appearing_folder(out) as folder:
        table, names, shard_names = _write_images(kept, folder, shards, quiet)
        public = {"audit.json": public_audit(audit, names)}
        if evaluation is not None:
            public["quality.json"] = public_evaluation(evaluation)
        facts = Facts(
            name=dataset.name, images=len(kept), classes=kept.class_counts(), image_size=_size(dataset),
            columns={name: COLUMNS[name].meaning for name in table.columns}, terms=terms,
            generators=tuple(sorted(set(table["generator"]))), trained_on=trained_on(dataset),
            dropped=len(dataset) - len(kept), quality=public.get("quality.json"), audit=public["audit.json"],
            commands=commands, shards=tuple(shard_names), table=PARQUET if parquet else "",
            publisher=publisher, url=url, date=date.today().isoformat(),
        )  # fmt: skip
        _write_tables(table, folder, parquet)
        for name, content in public.items():
            write_json(folder / name, content)
        _write_descriptions(facts, dataset, generator, folder)
        refuse_traces(folder, kept, audit)
        write_checksums(folder)
    left_out = tuple(name for name in dataset.table.columns if name not in table.columns)
    return Published(
        out, len(kept), facts.dropped, left_out, evaluation is not None, terms, sha256_file(out / CHECKSUMS)
    )


def _refuse_unmarked(dataset: FundusDataset) -> None:
    table, where = dataset.table, dataset.path / "metadata.csv"
    for index in table.index[dataset.column("synthetic") != "true"]:
        raise UserError("synthetic is not true; only synthetic images are published", path=where, row=index + 2)
    for name in ("generator", "seed"):
        for index in table.index[(dataset.column(name) == "") & (dataset.column(PARENT) == "")]:
            raise UserError(f"{name} is empty; expected what made the image", path=where, row=index + 2)
    for index in table.index[dataset.column(PARENT) != ""]:
        raise UserError("is a translation of a photograph, whose vessels identify its patient; not to be published",
                        path=where, row=index + 2, hint="Publish images of fundus-synth generate without --from.")  # fmt: skip


def _write_images(
    kept: FundusDataset, folder: Path, per_shard: int | None, quiet: bool
) -> tuple[pd.DataFrame, dict[str, str], list[str]]:
    """Write the images; returns their table, {name before: name now}, and the shards."""
    rows, names = [], _published_names(kept)
    columns = _passed_on(kept)
    with Progress(len(kept), "publishing", quiet=quiet) as progress, _shard_writer(folder, per_shard) as shards:
        for index, before in kept.table["file_name"].items():
            row = {name: kept.table[name][index] for name in columns} | {"file_name": names[before]}
            content = _published_image(kept, index, row)
            row["sha256"] = sha256_bytes(content)
            if shards is None:
                write_bytes(folder / row["file_name"], content)
            else:
                shards.add(row["file_name"], content, {name: value for name, value in row.items() if value == value})
            rows.append(row)
            progress.advance()
    return pd.DataFrame(rows)[[*columns]], names, [] if shards is None else shards.names


@contextmanager
def _shard_writer(folder: Path, per_shard: int | None) -> Iterator[ShardWriter | None]:
    if per_shard is None:
        yield None
        return
    with ShardWriter(folder, per_shard) as writer:
        yield writer


def _published_image(kept: FundusDataset, index: int, row: dict) -> bytes:
    """The same pixels as PNG; of what the file says only the marks."""
    path = kept.image_path(index)
    content = path.read_bytes()
    # The fingerprint goes by the table's checksums, so that the audit is of this file only when they still hold.
    if sha256_bytes(content) != kept.image_digests[index]:
        raise UserError("was changed since the dataset was made; its checksum is not the one in metadata.csv", path=path,
                        hint="Generate and audit the images again.")  # fmt: skip
    said = read_marks(content)
    check_marks(said, kept.table.iloc[index], path)
    return encode_image(decode_image(content, path), ".png", marks_of(row, said))


def _published_names(kept: FundusDataset) -> dict[str, str]:
    """Names of `generate` as they are; any other may tell of a patient, and becomes <class>_<number>."""
    labels = kept.column("label").map(lambda label: slug(label) or "eye")
    before = kept.table["file_name"]
    if all(
        re.fullmatch(rf"images/{re.escape(label)}_\d+\.png", name) for name, label in zip(before, labels, strict=True)
    ):
        return dict(zip(before, before, strict=True))
    return {
        name: f"images/{label}_{index:06d}.png" for index, (name, label) in enumerate(zip(before, labels, strict=True))
    }


def _passed_on(dataset: FundusDataset) -> list[str]:
    """Columns of the schema that say something of the images, in its order; sha256 always."""
    table = dataset.table
    said = [name for name in COLUMNS if name in table and not table[name].isin(["", float("nan")]).all()]
    return [name for name in [*said, *({"sha256"} - set(said))] if name not in _LEFT_OUT]


def _write_tables(table: pd.DataFrame, folder: Path, parquet: bool) -> None:
    write_text(folder / "metadata.csv", table_to_csv(table))
    if not parquet:
        return
    try:
        table.assign(synthetic=True).to_parquet(folder / PARQUET, index=False)
    except ImportError as error:
        raise UserError("--parquet needs pyarrow", hint="pip install pyarrow") from error


def _write_descriptions(facts: Facts, dataset: FundusDataset, generator: Path | str | None, folder: Path) -> None:
    """Everything that describes the set, for people and for programs."""
    from .croissant import croissant

    write_text(folder / "README.md", card(facts))
    licence = facts.terms.licence
    write_text(
        folder / "LICENCE.txt", "\n".join(filter(None, [licence.name, licence.url, facts.terms.sentences()])) + "\n"
    )
    privacy_page(facts.audit).write(folder / "privacy.html")
    if facts.quality is not None:
        quality_page(facts.quality).write(folder / "quality.html")
    write_json(folder / "dataset.json", dataset_info(facts, dataset, generator))
    write_json(folder / "croissant.json", croissant(facts, folder))


def _size(dataset: FundusDataset) -> str:
    size = dataset.info.get("image_size")
    return f"{size} x {size} pixels" if isinstance(size, int) else ""
