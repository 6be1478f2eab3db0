"""What a person sees of a list of jobs: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from .progress import Progress, duration


class JobTable:
    """A context manager that shows, on standard error, which jobs run where and for how long, and the time left.

    Args:
        total: jobs in the list.
        description: what they are, e.g. "trainings".
        quiet: show nothing.
        done: how many were finished before.
    """

    def __init__(self, total: int, description: str, quiet: bool = False, done: int = 0):
        self._on_terminal = not quiet and sys.stderr.isatty()
        self._progress = Progress(total, description, "jobs", quiet=quiet or self._on_terminal, start=done)
        self._running: dict[str, tuple[str, float]] = {}
        self._live = None

    def __enter__(self) -> JobTable:
        self._progress.__enter__()
        if self._on_terminal:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=2, get_renderable=self._renderable)
            self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._progress.__exit__(*reason)

    def started(self, name: str, where: str) -> None:
        """Job `name` runs now, in a place described by `where`."""
        self._running.setdefault(name, (where, time.monotonic()))

    def again(self, name: str, reason: str) -> None:
        """The process of job `name` died; it waits to be begun again."""
        self._running.pop(name, None)
        self.note(f"{name}: its process {reason}; it is begun again")

    def finished(self, name: str) -> None:
        """Job `name` is over, well or not."""
        self._running.pop(name, None)
        self._progress.advance(1)

    def note(self, text: str) -> None:
        """Print a line of text without disturbing the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            self._progress.note(text)

    def _renderable(self) -> object:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0))
        for heading in ("running", "where", "for"):
            table.add_column(heading, justify="right" if heading == "for" else "left")
        for name, (where, since) in list(self._running.items()):
            table.add_row(Text(name), Text(where), duration(time.monotonic() - since))
        return Group(Text(self._progress.line()), table)
