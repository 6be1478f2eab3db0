"""The dataset card: README.md of a published set, with the header that dataset hubs read."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from ...runtime.errors import counts
from ...version import __version__
from .licences import Terms

SYNTHETIC = "These are synthetic images. None is a photograph of a patient."
LIMITS = (
    "Not for diagnosis, and not for deciding about patients: a generator shows what its network learnt of its training "
    "images, artefacts and gaps included.",
    "A class label says what the generator was trained to make; it is not the finding of an ophthalmologist.",
    "Whatever the training data lack or have too much of (cameras, ages, origins, severities), these images lack or have "
    "too much of as well; rare findings within a class are likely to be missing.",
    "Figures measured only on synthetic images say nothing about photographs: keep them for training, and test on "
    "photographs of patients that the generator has not seen; those that it was trained on are not.",
)
PRIVACY = (
    "Before publication every image was compared with the training images, and what was found to be a copy was dropped. "
    "The set holds no file of the training data and no identifier of a patient or of a training image. That lowers the risk "
    "that somebody is recognised; it does not prove that there is none."
)
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True)
class Facts:
    """What card, Croissant description and dataset.json say of a published set.

    Attributes:
        name: of the set.
        images: how many.
        classes: {label: images}.
        image_size: pixels, width and height; "" when they differ.
        columns: {name: meaning} of metadata.csv.
        terms: its licence and where that is from.
        generators: their names.
        trained_on: what is recorded of the training data: name, licence, fingerprint.
        dropped: copies that the audit found, which are not in the set.
        quality: of the whole set before copies were dropped, as measured by `fundus-synth evaluate`; None when it was not.
        audit: what `fundus-synth audit` found.
        commands: (what it did, command line) in their order.
        shards: file names of its WebDataset shards; () when the images lie in images/.
        table: name of the same table as Parquet; "" when there is none.
        publisher, url: who publishes it and where; "" when not said.
        date: of publication, ISO 8601.
    """

    name: str
    images: int
    classes: dict[str, int]
    image_size: str
    columns: dict[str, str]
    terms: Terms
    generators: tuple[str, ...]
    trained_on: dict
    dropped: int
    quality: dict | None
    audit: dict
    commands: tuple[tuple[str, str], ...]
    shards: tuple[str, ...]
    table: str
    publisher: str
    url: str
    date: str

    @property
    def description(self) -> str:
        """The set in two sentences."""
        return f"{self.images} synthetic fundus images: {counts(self.classes)}. {SYNTHETIC}"

    @property
    def copies(self) -> str:
        """What the audit found, and what became of it, in two sentences."""
        dropped = f"{self.dropped} copies were dropped" if self.dropped != 1 else "1 copy was dropped"
        return f"Verdict of the audit: {self.audit['verdict']} ({self.audit['reason']}). {dropped}."


def card(facts: Facts) -> str:
    """README.md: the header as YAML, then what a stranger needs to know before using the images."""
    header = yaml.safe_dump(_header(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{header}---\n\n" + "\n\n".join(_sections(facts)) + "\n"


def _header(facts: Facts) -> dict:
    licence = facts.terms.licence
    files = list(facts.shards) or ["metadata.csv", "images/*.png"]
    other = {"license_name": licence.name, "license_link": "LICENCE.txt"} if licence.card == "other" else {}
    return {
        "pretty_name": facts.name,
        "license": licence.card,
        **other,
        "task_categories": _tasks(facts),
        "tags": ["synthetic", "medical", "fundus", "retina", "ophthalmology"],
        "size_categories": [next((name for limit, name in _SIZES if facts.images < limit), "n>10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": files}]}],
    }


def _tasks(facts: Facts) -> list[str]:
    return ["image-classification"] if len(facts.classes) > 1 else ["unconditional-image-generation"]


def _sections(facts: Facts) -> list[str]:
    return [
        f"# {_plain(facts.name)}",
        f"**{SYNTHETIC}** {facts.images} images: {_plain(counts(facts.classes))}; {facts.image_size or 'of several sizes'}.",
        *_origin(facts),
        "## Load it", _loading(facts),
        "## What is in it", _contents(facts),
        "## How good they are", _quality(facts),
        "## Privacy", f"{PRIVACY} {_plain(facts.copies)} Figures: privacy.html.",
        "## Limits", _points(LIMITS),
        "## Licence", f"{_licence(facts)} {_plain(facts.terms.sentences())}",
        "## Check it", "```\nfundus-synth verify .\n```\n\nIt looks at every checksum, row and mark, and with the generator "
        "(`--generator RUN`) makes the images again from their seeds. `sha256sum -c SHA256SUMS` checks the files alone.",
        "## The commands", _commands(facts),
    ]  # fmt: skip


def _origin(facts: Facts) -> list[str]:
    by = f", published by {_plain(facts.publisher)}" if facts.publisher else ""
    at = f", {facts.url}" if facts.url else ""
    known = facts.trained_on.get("name")
    seen = f" Trained on: {_plain(known)}." if known else ""
    made = f"Made by fundus-synth {__version__} with {', '.join(map(_code, facts.generators))}{by} on {facts.date}{at}."
    return [made + seen]


def _loading(facts: Facts) -> str:
    if not facts.shards:
        return ('```python\nfrom datasets import load_dataset\n\ndata = load_dataset("imagefolder", '
                'data_dir=".")["train"]\n```')  # fmt: skip
    return (
        "```python\nimport glob\nimport webdataset\n\n"
        'data = webdataset.WebDataset(sorted(glob.glob("shards/*.tar")), shardshuffle=False)\n'
        'data = data.decode("pil").to_tuple("png", "json")\n```'
    )


def _contents(facts: Facts) -> str:
    where = (
        "`shards/`: the images as WebDataset shards, each beside its row as JSON; file_name is its name in there."
        if facts.shards
        else "`images/`: one PNG an image."
    )
    table = [f"`{facts.table}`: the same table, typed."] if facts.table else []
    quality = ["`quality.json`, `quality.html`: measured quality."] if facts.quality is not None else []
    files = [
        f"{where} Every file says of itself that it is synthetic, of which class, by which generator and from which seed.",
        "`metadata.csv`: one row an image.", *table, *quality,
        "`audit.json`, `privacy.html`: the comparison with the training images, without pictures.",
        "`croissant.json`, `dataset.json`: the same facts for programs.", "`SHA256SUMS`: checksums of all files.",
    ]  # fmt: skip
    rows = "\n".join(f"| {name} | {meaning} |" for name, meaning in facts.columns.items())
    return f"{_points(files)}\n\n| column | |\n|---|---|\n{rows}"


def _quality(facts: Facts) -> str:
    if facts.quality is None:
        return "**Not measured.**"
    real, figures = facts.quality["against"], facts.quality.get("figures", {})
    used = figures.get("real_images", real.get("images", "?"))
    whole = " The figures are of the set before copies were dropped." if facts.dropped else ""
    measured = f"Measured against {used} images of {_plain(str(real.get('name')))}; all figures: quality.html.{whole}"
    rows = [
        f"| {_plain(space)} | {_plain(name)} | {_figure(one)} | {_figure(one.get('floor'))} | {_plain(one.get('verdict', ''))} |"
        for space, groups in figures.get("distances", {}).items()
        for name, one in groups.get("together", {}).get("measures", {}).items()
    ]
    header = "| features | measure | these images | real against real | verdict |\n|---|---|---|---|---|\n"
    return f"{measured}\n\n{header}" + "\n".join(rows) if rows else measured


def _figure(estimate: object) -> str:
    """A value with its interval, as `fundus-synth evaluate` writes one."""
    said = estimate if isinstance(estimate, dict) else {}
    value, low, high = (said.get(name) for name in ("value", "low", "high"))
    if not all(isinstance(part, int | float) for part in (value, low, high)):
        return "-"
    return f"{value:.3g} ({low:.3g} to {high:.3g})"


def _licence(facts: Facts) -> str:
    licence = facts.terms.licence
    named = f"[{licence.name}]({licence.url})" if licence.url else _plain(licence.name)
    asked = sorted(licence.conditions)
    return f"{named}{': ' + ', '.join(asked) if asked else ''}."


def _commands(facts: Facts) -> str:
    return "```\n" + "\n".join(f"# {what}\n{line}" for what, line in facts.commands) + "\n```"


def _points(texts: object) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _plain(text: str) -> str:
    """A foreign text as text: nothing in it is read as Markdown or HTML, and it stays on its line."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()))


def _code(text: str) -> str:
    return "`" + text.replace("`", "") + "`"
