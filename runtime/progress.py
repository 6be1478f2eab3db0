"""Progress with rate and time left: a live bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """A context manager that shows how far a long piece of work is, on standard error.

    Args:
        total: how many units there are in all.
        description: what is being done, e.g. "training anemic".
        unit: what is counted, e.g. "images".
        quiet: show nothing.
        start: how many were done before (a resumed run); the rate counts only what is done now.
    """

    def __init__(self, total: int, description: str, unit: str = "images", quiet: bool = False, start: int = 0):
        self.total, self.description, self.unit, self.quiet = total, description, unit, quiet
        self.done = self._start = start
        self._values: dict[str, object] = {}
        self._began = self._last_line = time.monotonic()
        self._shown: int | None = None
        self._live = None

    def __enter__(self) -> Progress:
        self._began = self._last_line = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, get_renderable=self._renderable)
            self._live.start()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if self._live is not None:
            self._live.stop()
        elif not self.quiet and kind is None and self._shown != self.done:
            self._print(self.line())

    def advance(self, n: int = 1, **values: object) -> None:
        """Count `n` more units as done and show `values` (e.g. losses) beside the rate."""
        self.done += n
        self._values.update(values)
        now = time.monotonic()
        if not self.quiet and self._live is None and now - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line, self._shown = now, self.done
            self._print(self.line())

    def note(self, text: str) -> None:
        """Print a line of text without disturbing the bar."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            self._print(text)

    @property
    def rate(self) -> float:
        """Units a second since this process began."""
        return (self.done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def line(self) -> str:
        """One plain line: description, how far, rate, time left, values."""
        rate = self.rate
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        pace = f"{duration(1 / rate)} each" if 0 < rate < 0.5 else f"{rate:.1f} {self.unit}/s"
        parts = [f"{self.description}: {self.done}/{self.total} {self.unit}", pace]
        parts.append(
            f"{duration(left)} left" if self.done < self.total else f"{duration(time.monotonic() - self._began)}"
        )
        parts += [f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in self._values.items()]
        return ", ".join(parts)

    def _renderable(self) -> object:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 1))
        grid.add_row(ProgressBar(total=max(self.total, 1), completed=self.done, width=24), self.line())
        return grid

    @staticmethod
    def _print(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as "45 s", "3 min 20 s" or "2 h 05 min"."""
    if seconds == float("inf"):
        return "unknown time"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
