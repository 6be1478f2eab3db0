"""The three commands: fundus-preprocess, fundus-synth, fundus-classify.

A command parses, calls one function of a room and prints. Rooms are imported inside the commands, so that `--help`
never waits for torch. Typer itself is imported where it is needed: a model file answers in the time that it takes to load.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.errors import JobError, UserError
from .model_file import answer, plain_request

if TYPE_CHECKING:
    import typer


def run_app(app: typer.Typer) -> None:
    """Run an app, see `run`."""
    run(lambda: app(standalone_mode=False))


def run(action: Callable[[], int | None]) -> None:
    """Do what a command line asks; user errors are one line and exit code 2, failures one line and exit code 1."""
    try:
        sys.exit(action() or 0)
    except UserError as error:
        stop(str(error), 2)
    except JobError as error:
        stop(str(error), 1)
    except KeyboardInterrupt:
        stop("stopped", 130)
    except Exception as error:
        # Typer's own: it carries its own copy of click since 0.20 and used click before, so no class is common.
        if type(error).__name__ == "Abort":
            stop("stopped", 130)
        # Usage errors.
        if not hasattr(error, "format_message"):
            raise
        message, context = error.format_message(), getattr(error, "ctx", None)
        if message.startswith("Usage:"):
            sys.exit(print(message))
        name = context.command_path if context else Path(sys.argv[0]).name
        stop(f"{message.rstrip('.')}. Try: {name} --help", 2)


def stop(message: str, code: int) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def preprocess_main() -> None:
    """Entry point of fundus-preprocess."""
    from .preprocess import preprocess

    run_app(preprocess)


def synth_main() -> None:
    """Entry point of fundus-synth."""
    from .synth import synth

    run_app(synth)


def classify_main() -> None:
    """Entry point of fundus-classify."""
    request = plain_request(sys.argv[1:])
    if request is not None:
        run(lambda: answer(request))
    # Each adds its commands to the same app.
    from . import deploy, experiments, explanations  # noqa: F401

    run_app(experiments.classify)
