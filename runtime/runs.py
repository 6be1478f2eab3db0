"""Run folders: what every command that trains leaves behind, and what `--resume` continues from.

RUN/config.yaml        every option, resolved
RUN/environment.json   versions, machine kind, command line
RUN/metrics.csv        one row a logged step
RUN/checkpoints/       what `--resume` reads and later commands load
RUN/samples/           pictures made on the way
RUN/report.html        where the command writes one
"""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import sys
from datetime import datetime
from pathlib import Path

import yaml

from .errors import UserError
from .files import atomic_path, make_folder, refuse_existing, write_json, write_text

METRICS = "metrics.csv"
_PACKAGES = (
    "fundus-synth",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "opencv-python-headless",
    "scikit-learn",
)


def default_run_path(verb: str, name: str) -> Path:
    """`runs/<verb>-<time>-<name>` below the working folder."""
    return Path("runs") / f"{verb}-{datetime.now():%Y%m%d-%H%M%S}-{name}"


def latest_run_path(verb: str, name: str) -> Path:
    """The newest `runs/<verb>-*-<name>`.

    Raises:
        UserError: there is none.
    """
    found = sorted(Path("runs").glob(f"{verb}-*-{name}"))
    if not found:
        raise UserError(f"no run {verb}-*-{name} to resume", path="runs", hint="Name it with --out.")
    return found[-1]


class RunFolder:
    """One run's folder. Make it with `open_or_create`."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @classmethod
    def open_or_create(cls, path: Path | str, config: dict, resume: bool) -> RunFolder:
        """A new run folder, or, with `resume`, the existing one.

        Args:
            path: the folder.
            config: every option, resolved; plain YAML-able values.
            resume: continue what is there. The options must be those of the first start, except `steps`, `epochs`
                and `minutes`, which may grow.

        Raises:
            UserError: the folder holds something and `resume` is false, is no run folder, or its options differ.
        """
        run = cls(Path(path))
        if resume and run.path.exists():
            run._check_same(config)
        else:
            refuse_existing(run.path)
            make_folder(run.path)
            write_json(run.path / "environment.json", environment())
        # Again when resuming: the length may have grown.
        write_text(run.path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        make_folder(run.checkpoints)
        make_folder(run.samples)
        return run

    @property
    def config(self) -> dict:
        """The options the run was started with.

        Raises:
            UserError: the folder holds no readable config.yaml.
        """
        path = self.path / "config.yaml"
        try:
            config = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UserError("is not a run folder (no readable config.yaml)", path=self.path) from error
        if not isinstance(config, dict):
            raise UserError("holds no options", path=path)
        return config

    def _check_same(self, config: dict) -> None:
        before = self.config
        for key in config.keys() | before.keys():
            if key not in ("steps", "epochs", "minutes") and config.get(key) != before.get(key):
                raise UserError(
                    f"was started with {key}={before.get(key)!r}, now {config.get(key)!r}",
                    path=self.path,
                    hint="Resume with the same options, or start a new run.",
                )

    def log_metrics(self, row: dict, name: str = METRICS) -> None:
        """Append one row to the table `name`; the first row decides the columns."""
        path = self.path / name
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def truncate_metrics(self, step: int, name: str = METRICS) -> None:
        """Drop the rows of the table `name` with `step` greater than `step`: a resumed run logs them again."""
        path = self.path / name
        if not path.exists():
            return
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            # A kill can cut the last line short; a row without all its columns is dropped too.
            rows = [
                r for r in reader if None not in r.values() and (r["step"] or "").isdigit() and int(r["step"]) <= step
            ]
        with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, fieldnames=reader.fieldnames or ["step"])
            writer.writeheader()
            writer.writerows(rows)


def environment() -> dict:
    """Versions, the kind of machine and the command line (no user or host names)."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "packages": versions,
    }
