"""The three commands: fundus-preprocess, fundus-synth, fundus-classify.

A command parses, calls one function of a room and prints. Rooms are imported inside the commands, so that `--help`
never waits for torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from ..runtime.errors import JobError, UserError
from .experiments import classify
from .preprocess import preprocess
from .synth import synth


def run_app(app: typer.Typer) -> None:
    """Run an app; user errors are one line and exit code 2, failures one line and exit code 1."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UserError as error:
        stop(str(error), 2)
    except JobError as error:
        stop(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        stop("stopped", 130)
    except Exception as error:
        # Usage errors: typer carries its own copy of click since 0.20 and used click before, so no class is common.
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
    run_app(preprocess)


def synth_main() -> None:
    """Entry point of fundus-synth."""
    run_app(synth)


def classify_main() -> None:
    """Entry point of fundus-classify."""
    run_app(classify)
